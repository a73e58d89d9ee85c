"""``gendet compare``: methods side by side on the same features, over several seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

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
from gendet_cli.config import presets, read_preset
from gendet_cli.errors import ExitCode, SettingsError

if TYPE_CHECKING:
    from gendet_cli.compare import Line
    from gendet_cli.data.layouts import Record

LADDER = ("univfd-linear", "teacher", "ts-ad", "ts-ad-fake", "gendet")
NAME_WIDTH = 16


@guarded
def compare(
    dataset: Dataset = "open-set",
    data_root: DataRoot = None,
    real: Real = None,
    fake: Fake = None,
    table: CsvFile = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="NAME[,SETTING=VALUE...]; repeatable [default: the paper's ladder].", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each method.")] = 5,
    train_split: Annotated[str, typer.Option(help="Split that is trained on.")] = "train",
    test_split: Annotated[
        str | None, typer.Option(help="Split that is measured [default: the data set's own].", show_default=False)
    ] = None,
    transform: Annotated[str, typer.Option(help="What the measured pictures went through.")] = "aligned",
    backbone: BackboneName = "clip",
    features: FeatureStore = Path("runs/features"),
    copies: Annotated[int, typer.Option(min=0, help="Degraded views of each training picture; 0: as they are.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Write every prediction as Parquet.", show_default=False)] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Only print the table of such a file.", show_default=False)
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="The table as Markdown.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; of the backbone.")] = "auto",
    workers: Workers = 1,
    allow_network: AllowNetwork = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> ExitCode:
    """Train methods with several seeds on the same features; mean, deviation and paired differences of AUC.

    Fake against real + art unless said. Intervals are 95%, bootstrap over whole sources.
    """
    from gendet_cli.compare import lines, read

    if from_:
        runs, label, group = read(from_)
        _show(lines(runs, label, group), markdown=markdown)
        return ExitCode.CLEAR
    if method and len(set(method)) < len(method):
        raise SettingsError("the same method twice", hint="name each --method once")
    chosen = [_method(text) for text in method or LADDER]
    options: dict[str, Any] = {
        "dataset": dataset,
        "places": places_of(dataset, data_root, real, fake, table),
        "splits": (train_split, test_split or _tested(dataset)),
        "transform": transform,
        "backbone": backbone,
        "features": features,
        "copies": copies,
        "device": device,
        "workers": workers,
        "allow_network": allow_network,
    }
    _show(_compared(chosen, seeds, out, options, quiet=quiet), markdown=markdown)
    return ExitCode.CLEAR


def _sides(
    dataset: str, places: Any, splits: tuple[str, str], note: Callable[[str], None]
) -> tuple[list[Record], list[Record]]:
    """What is trained on, by the data set's preset if it has one, and what is measured, by its protocol."""
    from gendet_cli.data.layouts import each_once, read_layout
    from gendet_cli.evaluation.protocols import PROTOCOLS, kept

    subsets = read_preset(dataset).get("subsets", []) if dataset in presets() else []
    known, unseen = read_layout(dataset, places, splits[0], subsets), read_layout(dataset, places, splits[1])
    if subsets:
        note(f"trained on {', '.join(subsets)}, as in the preset {dataset}")
    if dataset in PROTOCOLS:
        unseen = kept(unseen, PROTOCOLS[dataset], 0)
    # sets are pooled here, so a photograph that several of them share counts once
    return known, each_once([replace(record, subset="") for record in unseen], note)


def _tested(dataset: str) -> str:
    """The split that the data set's own protocol measures."""
    from gendet_cli.evaluation.protocols import PROTOCOLS

    return PROTOCOLS[dataset].split if dataset in PROTOCOLS else "dev"


def _method(text: str) -> tuple[str, dict[str, str]]:
    """``gendet,alpha=1`` as a name and its settings."""
    name, *pairs = text.split(",")
    if any("=" not in pair for pair in pairs):
        raise SettingsError(f"not NAME[,SETTING=VALUE...]: {text}", hint="for example --method gendet,alpha=1")
    return name, dict(pair.split("=", 1) for pair in pairs)


def _compared(
    methods: Sequence[tuple[str, dict[str, str]]], seeds: int, out: Path | None, o: dict[str, Any], *, quiet: bool
) -> list[Line]:
    from gendet_cli.audit import leak_warning
    from gendet_cli.compare import Data, lines, train_all, write
    from gendet_cli.config import TrainSettings
    from gendet_cli.detector.backbones import backbone_on
    from gendet_cli.features import features_of
    from gendet_cli.plugin.registry import Registry

    registry, console = Registry(pinned_plugins()), stderr()

    def note(text: str) -> None:
        console.print(text, markup=False)

    _, backbone = backbone_on(o["device"], o["backbone"], registry, note, allow_network=o["allow_network"])
    with progress_on_stderr(quiet=quiet) as progress:

        def views(records: Sequence[Record], transform: str) -> Any:
            return features_of(
                records,
                backbone,
                transform,
                o["features"],
                workers=o["workers"],
                progress=progress,
                skipped=lambda record, reason: note(f"left out: {record.path}: {reason}"),
            )

        names = [f"training:{copy}" for copy in range(o["copies"])] or ["raw"]
        known, unseen = _sides(o["dataset"], o["places"], o["splits"], note)
        if leak := leak_warning(unseen):
            note(leak)
        train, test = [views(known, name) for name in names], views(unseen, o["transform"])
        if same := sorted({record.group for record in known} & {record.group for record in unseen}):
            note(f"sources of these names are on both sides: {', '.join(same)}")
        if twice := set(train[0].sha256) & set(test.sha256):
            raise SettingsError(
                f"{len(twice)} measured files are the same as files trained on", hint="`gendet data check` names them"
            )
        settings = TrainSettings("", o["backbone"], 0, Path(), o["features"], o["device"], o["workers"])
        settings = replace(settings, allow_network=o["allow_network"])
        data = Data(train, test, (known, unseen), o["transform"], settings)
        runs = train_all(data, methods, seeds, registry, progress, note)
    if out:
        write(out, runs, test)
    return lines(runs, test.label, test.group)


def _show(table: Sequence[Line], *, markdown: bool) -> None:
    from gendet_cli.compare import FIGURES

    heads = ["method", *FIGURES, "AUC - previous", "AUC - first"]
    rows = [[line.method, *_cells(line), str(line.to_previous or ""), str(line.to_first or "")] for line in table]
    if markdown:
        for cells in (heads, ["---"] * len(heads), *rows):
            print("|", " | ".join(cells), "|")
        return
    figures, console = len(FIGURES) + 1, Console(highlight=False)
    console.print(_drawn(heads[:figures], [[cell.replace(" ± ", "\n± ") for cell in row[:figures]] for row in rows]))
    if len(table) > 1:
        console.print()
        console.print(_drawn(["method", *heads[figures:]], [[row[0], *row[figures:]] for row in rows]))


def _drawn(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table for a terminal of 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(heads[0], min_width=min(NAME_WIDTH, max(len(row[0]) for row in rows)), overflow="fold")
    for head in heads[1:]:
        table.add_column(escape(head), overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _cells(line: Line) -> list[str]:
    pairs = zip(line.mean, line.deviation, strict=True)
    return ["" if math.isnan(mean) else f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in pairs]
