"""``gendet data``: look at a data set before it is trained on."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gendet_cli.cli.guard import guarded, progress_on_stderr, stderr
from gendet_cli.cli.options import CsvFile, DataRoot, Dataset, Fake, Real, Workers, places_of
from gendet_cli.errors import ExitCode

if TYPE_CHECKING:
    from gendet_cli.audit import Check, Leak

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check a data set, and what its files give away.")
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write everything found as JSON.", show_default=False)]
Splits = Annotated[list[str] | None, typer.Option(help="Repeatable [default: all of the layout].", show_default=False)]


@app.command("check")
@guarded
def check(
    dataset: Dataset = "open-set",
    data_root: DataRoot = None,
    real: Real = None,
    fake: Fake = None,
    table: CsvFile = None,
    split: Splits = None,
    json_: JsonFile = None,
    workers: Workers = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> ExitCode:
    """Count, decode and compare every file: unreadable, empty, doubled between splits or labels, one class only.

    Exit code 3 when something was found.
    """
    from gendet_cli.audit import check as run
    from gendet_cli.data.layouts import layout, read_layout, splits_of

    places = places_of(dataset, data_root, real, fake, table)
    names = split or list(layout(dataset).splits) or splits_of(dataset, places)
    splits = {name: read_layout(dataset, places, name) for name in names}
    with progress_on_stderr(quiet=quiet) as progress:
        found = run(splits, workers=workers, progress=progress)
    _show_check(found)
    if json_:
        counts = [[*key, number] for key, number in found.counts.items()]
        _write(json_, {"counts": counts, "problems": [asdict(problem) for problem in found.problems]})
    return ExitCode.UNDECIDED if found.problems else ExitCode.CLEAR


def _show_check(found: Check) -> None:
    console = Console(highlight=False)
    table = Table("split", "set", "source", "real", "art", "fake", box=None, pad_edge=False)
    rows: dict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
    for (split, subset, label, group), number in found.counts.items():
        rows[split, subset, group][label] = number
    for key, numbers in rows.items():
        table.add_row(*map(escape, key), *(str(numbers.get(label, "")) for label in ("real", "art", "fake")))
    console.print(table)
    for problem in found.problems:
        console.print(f"{problem.kind}: {problem.where}: {problem.detail}", markup=False, soft_wrap=True)
    console.print(f"{sum(found.counts.values())} pictures, {len(found.problems)} problems")


@app.command("audit")
@guarded
def audit(
    dataset: Dataset = "open-set",
    data_root: DataRoot = None,
    real: Real = None,
    fake: Fake = None,
    table: CsvFile = None,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "train",
    most: Annotated[int, typer.Option(min=10, help="Files looked at, drawn by the hash of their names.")] = 100_000,
    json_: JsonFile = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> ExitCode:
    """How far format, size, JPEG tables and metadata alone separate the classes: an AUC, and what lies behind it.

    A small classifier reads file headers, held out over whole sources; interval: 95%, bootstrap over whole sources.
    """
    from gendet_cli.audit import leak_of
    from gendet_cli.data.layouts import read_layout

    records = read_layout(dataset, places_of(dataset, data_root, real, fake, table), split)
    with progress_on_stderr(quiet=quiet) as progress:
        leak = leak_of(records, most=most, progress=progress)
    _show_leak(leak)
    if json_:
        _write(json_, asdict(leak))
    return ExitCode.CLEAR


def _show_leak(leak: Leak) -> None:
    console = Console(highlight=False)
    console.print(
        f"headers alone, {leak.pictures} files: AUC {leak.auc} (0.5 is none, 1 gives the class away)", markup=False
    )
    single = Table("alone", "AUC", box=None, pad_edge=False)
    for name, area in list(leak.single.items())[:8]:
        single.add_row(escape(name), f"{area:.3f}")
    formats = Table("format", "real + art", "fake", box=None, pad_edge=False)
    for name, (negative, positive) in leak.formats.items():
        formats.add_row(escape(name), f"{negative:.1%}", f"{positive:.1%}")
    numbers = Table("10%, 50%, 90%", "real + art", "fake", box=None, pad_edge=False)
    for name, sides in leak.quantiles.items():
        numbers.add_row(name, *(", ".join(f"{value:.4g}" for value in side) for side in sides))
    for part in (single, formats, numbers):
        console.print(part)
    if leak.warning:
        console.print(leak.warning, markup=False, soft_wrap=True)


@app.command("fetch")
@guarded
def fetch(
    manifest: Annotated[Path, typer.Argument(help="A manifest, e.g. weights/gendet/data.csv.")],
    out: Annotated[Path, typer.Option(help="The data set's folder; what is there is kept.")],
    repositories: Annotated[
        Path | None,
        typer.Option(help="Bare git repositories, owner+name [default: OUT/repositories].", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option(help="Where repositories are fetched from.")] = "https://github.com",
    open_set: Annotated[
        Path | None, typer.Option(envvar="GENDET_DATA", help="The gendet open set.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> ExitCode:
    """Fetch the pictures that a manifest names, by git and apt; each is checked by its hash, nothing is run.

    Train on the folder by --dataset open-set --data-root OUT. OUT/missing.csv names what could not be had: exit code 3.
    """
    from gendet_cli.collect import collect
    from gendet_cli.data.sources import read_manifest

    entries = read_manifest(manifest)
    with progress_on_stderr(quiet=quiet) as progress:
        missing = collect(
            entries,
            out,
            host=host,
            repositories=repositories or out / "repositories",
            open_set=open_set,
            progress=progress,
        )
    if not quiet:
        text = f"{out / 'index.csv'}: {len(entries) - len(missing)} pictures; {out / 'missing.csv'}: {len(missing)}"
        stderr().print(text, markup=False)
    return ExitCode.UNDECIDED if missing else ExitCode.CLEAR


def _write(path: Path, values: Any) -> None:
    from gendet_cli.errors import ReportError

    try:
        path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}", hint="name a file that can be written") from error
