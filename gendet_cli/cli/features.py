"""``gendet features``: a data set's features, computed once, in Parquet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gendet_cli.cli.guard import guarded, pinned_plugins, progress_on_stderr, stderr
from gendet_cli.cli.options import (
    AllowNetwork,
    BackboneName,
    CsvFile,
    DataRoot,
    Dataset,
    Fake,
    FeatureStore,
    Real,
    Workers,
    places_of,
)
from gendet_cli.errors import ExitCode, SettingsError

if TYPE_CHECKING:
    from gendet_cli.data.layouts import Record
    from gendet_cli.plugin.specs import Backbone


@guarded
def features(
    dataset: Dataset = "open-set",
    data_root: DataRoot = None,
    real: Real = None,
    fake: Fake = None,
    table: CsvFile = None,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "train",
    transform: Annotated[
        list[str] | None, typer.Option(help="raw, aligned, training:N, ...; repeatable [default: raw].")
    ] = None,
    backbone: BackboneName = "clip",
    store: FeatureStore = Path("runs/features"),
    verify: Annotated[
        int | None,
        typer.Option(
            min=0, help="Check the store, computing so many rows again; nothing is added.", show_default=False
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Workers = 1,
    allow_network: AllowNetwork = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> ExitCode:
    """Compute features into a store of Parquet files that training and evaluation read; only what is missing.

    Exit code 3 when a picture could not be read or --verify found something.
    """
    from gendet_cli.data.layouts import read_layout
    from gendet_cli.detector.backbones import backbone_on
    from gendet_cli.plugin.registry import Registry

    names = transform or ["raw"]
    _require_known(names)
    registry = Registry(pinned_plugins())
    records = read_layout(dataset, places_of(dataset, data_root, real, fake, table), split)
    console = stderr()
    _, opened = backbone_on(
        device, backbone, registry, lambda text: console.print(text, markup=False), allow_network=allow_network
    )
    problems: list[str] = []
    with progress_on_stderr(quiet=quiet) as progress:
        for name in names:
            told, problem = _one(records, opened, name, store, workers=workers, progress=progress, sample=verify)
            problems.extend(problem)
            if not quiet:
                console.print(told, markup=False)
    for text in problems:
        console.print(text, markup=False)
    return ExitCode.UNDECIDED if problems else ExitCode.CLEAR


def _require_known(transforms: Sequence[str]) -> None:
    from gendet_cli.data.degrade import transform

    wrong = []
    for name in transforms:
        try:
            transform(name)
        except (KeyError, ValueError):
            wrong.append(name)
    if wrong:
        raise SettingsError(
            f"unknown transform: {', '.join(wrong)}",
            hint="use raw, aligned, web, hard, training:N, wide:N, lr-N, jpeg-N, blur-N or centre-N",
        )


def _one(
    records: Sequence[Record],
    backbone: Backbone,
    transform: str,
    folder: Path,
    *,
    workers: int,
    progress: Callable[[str, int, int | None], None],
    sample: int | None,
) -> tuple[str, list[str]]:
    """Compute or verify one transform: a line of summary, and what is wrong."""
    from gendet_cli.features import features_of, store_of, verify

    problems: list[str] = []
    place = store_of(folder, backbone, transform).folder
    if sample is not None:
        problems = verify(records, backbone, transform, folder, sample=sample, workers=workers, progress=progress)
        return f"{place}: {'damaged' if problems else 'sound'}", problems
    found = features_of(
        records,
        backbone,
        transform,
        folder,
        workers=workers,
        progress=progress,
        skipped=lambda record, reason: problems.append(f"{record.path}: {reason}"),
    )
    return f"{place}: {len(found.x)} x {found.x.shape[1]}", problems
