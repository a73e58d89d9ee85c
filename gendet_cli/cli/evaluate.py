"""``gendet evaluate``: a detector's error rates on labelled pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from gendet_cli.cli.guard import guarded, pinned_plugins, progress_on_stderr, stderr
from gendet_cli.errors import ExitCode

if TYPE_CHECKING:
    from gendet_cli.evaluate import Evaluation
    from gendet_cli.evaluation.metrics import Figure


@guarded
def evaluate(
    dataset: Annotated[str, typer.Option(help="Layout: open-set or folders.")] = "open-set",
    data_root: Annotated[
        Path | None, typer.Option(help="Root of the data set (open-set: or GENDET_DATA).", show_default=False)
    ] = None,
    real: Annotated[Path | None, typer.Option(help="Layout folders: real pictures.", show_default=False)] = None,
    fake: Annotated[Path | None, typer.Option(help="Layout folders: generated pictures.", show_default=False)] = None,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "dev",
    detector: Annotated[str, typer.Option(help="Name or folder.")] = "gendet",
    features: Annotated[Path, typer.Option(help="The feature store.")] = Path("runs/features"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; of the backbone.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Decoding processes.")] = 1,
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Allow the download of a backbone's weights.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> ExitCode:
    """Measure a detector: raw, fakes aligned, both aligned; real, fake and human art apart."""
    from gendet_cli.data.layouts import Places, read_layout
    from gendet_cli.detector.detector import read_manifest
    from gendet_cli.detector.files import weights_folder
    from gendet_cli.evaluate import evaluate as run
    from gendet_cli.plugin.registry import Registry

    root = data_root or (Path(os.environ["GENDET_DATA"]) if "GENDET_DATA" in os.environ else None)
    records = read_layout(dataset, Places(root, real, fake), split)
    folder = Path(detector) if (Path(detector) / "detector.json").is_file() else weights_folder(detector)
    manifest = read_manifest(folder)
    with progress_on_stderr(quiet=quiet) as progress:
        result = run(
            records,
            folder,
            manifest,
            Registry(pinned_plugins()),
            features,
            device=device,
            workers=workers,
            allow_network=allow_network,
            progress=progress,
            note=lambda text: stderr().print(text, markup=False),
        )
    _show(result, f"{manifest.identity}, {dataset} {split}, {result.pictures}")
    return ExitCode.CLEAR


def _show(result: Evaluation, title: str) -> None:
    console = Console(highlight=False)
    console.print(title, markup=False)
    table = Table("column", "comparison", "AUC", "TPR at 1% FPR", "TPR at 5% FPR", box=None, pad_edge=False)
    for column, comparisons in result.figures.items():
        for name, figures in comparisons.items():
            table.add_row(column, name, *(str(figure) for figure in figures.values()))
    console.print(table)
    for column, sources in result.sources.items():
        console.print(_source_table(column, sources, result.flagged[column]))


def _source_table(column: str, sources: dict[str, dict[str, Figure]], flagged: dict[str, tuple[int, float]]) -> Table:
    """One line a source: generators' shares are true positives, those of real and art sources false ones."""
    heads = ("pictures", "AUC", "above 1% FPR", "above 5% FPR", "flagged")
    table = Table(f"source, {column}", *heads, box=None, pad_edge=False)
    for name, (pictures, share) in flagged.items():
        figures = [str(figure) for figure in sources[name].values()] if name in sources else ["", "", ""]
        table.add_row(name, str(pictures), *figures, f"{share:.3f}")
    return table
