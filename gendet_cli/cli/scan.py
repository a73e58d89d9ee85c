"""``gendet scan``: pictures in, one row each out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console

from gendet_cli import __version__
from gendet_cli.cli.guard import guarded, pinned_plugins, progress_on_stderr, stderr
from gendet_cli.cli.options import AllowNetwork
from gendet_cli.cli.writing import Reports, open_reports
from gendet_cli.config import ScanSettings
from gendet_cli.errors import ExitCode, SettingsError
from gendet_cli.report import table
from gendet_cli.report.run import RunInfo


@guarded
def scan(
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders, globs; - reads names from stdin.", show_default=False)
    ],
    report: Annotated[
        list[Path] | None,
        typer.Option(help="Write .csv, .json or .jsonl; repeatable. Without it: a table.", show_default=False),
    ] = None,
    detector: Annotated[str, typer.Option(help="Name, folder, or FILE.onnx.")] = "gendet",
    runtime: Annotated[str, typer.Option(help="auto, onnx or torch.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pictures scored together; changes no score [default: 1 on a CPU, 32 on a GPU].",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Decoding processes; changes no score.")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the reports of an interrupted scan; rows are known by name.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume: scan failed rows again.")
    ] = False,
    show_private: Annotated[
        bool, typer.Option("--show-private", help="Show serial numbers, positions and owners' names.")
    ] = False,
    allow_network: AllowNetwork = False,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit 0 whatever the verdicts.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> ExitCode:
    """Scan pictures: flagged, unclear or clear, with a likelihood ratio and the evidence found in the file.

    Exit codes: 0 all clear, 1 something flagged, 2 wrong settings, 3 undecided (unclear, unreadable or no picture),
    4 plugin or weights, 5 report, 70 bug, 130 interrupted, 143 terminated.
    """
    if (resume or retry_failed) and not report:
        raise SettingsError("--resume goes on with reports, and none is named", hint="add --report FILE")
    if runtime not in ("auto", "onnx", "torch"):
        raise SettingsError(f"unknown runtime {runtime!r}", hint="use auto, onnx or torch")
    settings = ScanSettings(detector, runtime, device, batch_size, workers, show_private, allow_network)
    counts = _scan(inputs, list(report or []), settings, resume=resume, retry_failed=retry_failed, quiet=quiet)
    return ExitCode.CLEAR if exit_zero else exit_code_of(counts)


def exit_code_of(counts: Mapping[str, int]) -> ExitCode:
    """1 something flagged; 3 something unclear or failed, or no row at all; 0 everything clear."""
    if counts["flagged"]:
        return ExitCode.FLAGGED
    return ExitCode.UNDECIDED if counts["unclear"] or counts["failed"] or not counts["clear"] else ExitCode.CLEAR


def _scan(
    inputs: Sequence[str],
    paths: Sequence[Path],
    settings: ScanSettings,
    *,
    resume: bool,
    retry_failed: bool,
    quiet: bool,
) -> Mapping[str, int]:
    from gendet_cli.detector.detector import load_detector
    from gendet_cli.detector.runtimes import on_device
    from gendet_cli.intake.find import Census
    from gendet_cli.plugin.registry import Registry
    from gendet_cli.scan import count
    from gendet_cli.scan import scan as run

    started, pinned, census = datetime.now(UTC), pinned_plugins(), Census()
    registry = Registry(pinned)
    detector = on_device(
        settings.device,
        lambda device: load_detector(
            settings.detector, settings.runtime, device, registry, allow_network=settings.allow_network
        ),
        lambda text: stderr().print(text, markup=False),
    )
    listing = _names_on_stdin() if "-" in inputs else None
    with (
        open_reports(
            paths,
            detector=detector.manifest.identity,
            resume=resume,
            retry_failed=retry_failed,
            show_private=settings.show_private,
        ) as reports,
        progress_on_stderr(quiet=quiet or (not paths and sys.stdout.isatty())) as progress,
    ):
        show = _table(settings.show_private) if not paths else None
        total = None if listing or quiet or not stderr().is_terminal else count(inputs)
        outcomes = run(
            inputs, detector, settings, listing=listing, census=census, is_done=reports.done.take, plugins=pinned
        )
        for number, outcome in enumerate(outcomes, 1):
            reports.write(outcome)
            if show:
                show(outcome)
            progress("scanning", number, total)
        _finish(reports, detector, registry, started)
        counts = dict(reports.counts)
    if not quiet:
        hidden = (
            f"; passed over: {census.hidden} hidden, {census.not_images} no pictures"
            if census.hidden or census.not_images
            else ""
        )
        stderr().print(table.summary(counts) + hidden)
    return counts


def _names_on_stdin() -> BinaryIO:
    """Standard input. Raises SettingsError where a picture comes in its place of names."""
    from gendet_cli.intake.signature import signature

    stream = sys.stdin.buffer
    head = stream.peek(64) if isinstance(stream, BufferedReader) else b""
    if signature(head):
        raise SettingsError("stdin holds a picture, not names of pictures", hint="give the file's name instead of `-`")
    return stream


def _table(show_private: bool) -> Callable[..., None]:
    console = Console(highlight=False)
    console.print(table.heading(console.width))
    return lambda outcome: console.print(table.line(outcome, console.width, show_private=show_private))


def _finish(reports: Reports, detector: object, registry: object, started: datetime) -> None:
    from gendet_cli.detector.detector import Detector
    from gendet_cli.plugin.registry import Registry

    assert isinstance(detector, Detector)
    assert isinstance(registry, Registry)
    values = detector.manifest.values
    reports.finish(
        RunInfo(
            version=__version__,
            detector=detector.manifest.identity,
            detector_sha256=detector.manifest.sha256,
            backbone=values["backbone"]["name"],
            weights_sha256=values["backbone"]["weights_sha256"],
            thresholds=values["thresholds"],
            plugins={name: info.version for name, info in registry.plugins.items() if not info.broken},
            command=tuple(sys.argv),
            started=started.isoformat(timespec="seconds"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            counts=reports.counts,
        )
    )
