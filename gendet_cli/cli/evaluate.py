"""``gendet evaluate``: a detector's error rates on labelled pictures, by a protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gendet_cli.cli.evaluation_tables import tables
from gendet_cli.cli.guard import guarded, pinned_plugins, progress_on_stderr, stderr
from gendet_cli.cli.options import AllowNetwork, CsvFile, DataRoot, Fake, FeatureStore, Real, Workers, places_of
from gendet_cli.config import EvaluateSettings, TrainSettings, merge_training, read_preset, read_training_file
from gendet_cli.errors import ExitCode, SettingsError

if TYPE_CHECKING:
    from gendet_cli.data.layouts import Places
    from gendet_cli.evaluation.predictions import Predictions


@guarded
def evaluate(
    protocol: Annotated[
        str | None,
        typer.Option(
            help="open-set, folders, universalfakedetect, genimage, degraded, sweep or cross "
            "[default: as the data set; else open-set].",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="open-set, folders, csv, genimage or universalfakedetect [default: the protocol's].",
            show_default=False,
        ),
    ] = None,
    data_root: DataRoot = None,
    real: Real = None,
    fake: Fake = None,
    table: CsvFile = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the data set [default: the protocol's].", show_default=False)
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(help="Only this one of the protocol's conditions; repeatable.", show_default=False),
    ] = None,
    detector: Annotated[
        list[str] | None, typer.Option(help="Name or folder; repeatable [default: gendet].", show_default=False)
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Figures anew from what --out wrote: no pictures, no weights.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Sweep without --detector: a TOML file, over the preset, of the trainings.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for predictions, figures, plots and report.html.", show_default=False),
    ] = None,
    plots: Annotated[bool, typer.Option(help="Plots in OUT (matplotlib, the extra `plots`).")] = True,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Of the bootstrap, and of the pictures drawn [default: 0; --from: as it was].",
            show_default=False,
        ),
    ] = None,
    features: FeatureStore = Path("runs/features"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; of the backbone.")] = "auto",
    workers: Workers = 1,
    allow_network: AllowNetwork = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> ExitCode:
    """Measure a detector: raw, fakes aligned, both aligned, web, hard; real, fake and human art apart."""
    from gendet_cli.evaluate import write
    from gendet_cli.evaluation.figures import figures_of
    from gendet_cli.evaluation.paper import beside
    from gendet_cli.evaluation.plots import require_matplotlib
    from gendet_cli.evaluation.predictions import read_predictions

    if from_ and protocol:
        raise SettingsError("--from has a protocol of its own", hint="leave --protocol out")
    if out and plots:
        require_matplotlib()
    with progress_on_stderr(quiet=quiet) as progress:
        if from_ is not None:
            predictions = read_predictions(from_)
        else:
            settings = EvaluateSettings(features, seed or 0, device, workers, allow_network)
            chosen = _protocol(protocol, dataset, condition or [])
            layout = dataset or chosen.layout
            places = places_of(layout, data_root, real, fake, table)
            detectors = detector or ["gendet"]
            if chosen.name == "sweep" and not detector:
                detectors = _train_sweep(layout, places, config, out, settings, progress)
            predictions = _predict(chosen, layout, split, places, detectors, settings, progress)
        figures = figures_of(predictions, predictions.about["seed"] if seed is None else seed, progress)
        paper = beside(figures)
        written = write(out, predictions, figures, paper, plots=plots) if out else []
    console = Console(highlight=False)
    for part in tables(figures, paper):
        console.print(part)
    for path in () if quiet else written:
        stderr().print(str(path), markup=False)
    return ExitCode.CLEAR


def _train_sweep(
    layout: str, places: Places, config: Path | None, out: Path | None, settings: EvaluateSettings, progress: Any
) -> list[str]:
    """The detectors of Table 5 in OUT/detectors, trained where they are not there yet."""
    from gendet_cli.data.layouts import read_layout
    from gendet_cli.plugin.registry import Registry
    from gendet_cli.sweep import train_sweep

    if out is None:
        raise SettingsError("a sweep trains detectors and needs a place for them", hint="use --out DIR, or --detector")
    plan, problems = merge_training(
        [read_preset("universalfakedetect"), read_training_file(config) if config else {}, {"dataset": layout}]
    )
    if problems:
        raise SettingsError("; ".join(problems), hint="correct the --config file")
    plan_of = {key: plan[key] for key in ("method", "backbone", "seed", "copies", "folds")}
    place: dict[str, Any] = {"features": settings.features, "device": settings.device, "workers": settings.workers}
    training = TrainSettings(
        **plan_of, **place, out=out / "detectors", overrides=plan["settings"], allow_network=settings.allow_network
    )
    folders = train_sweep(
        read_layout(layout, places, "train", plan["subsets"]),
        training,
        Registry(pinned_plugins()),
        progress=progress,
        note=lambda text: stderr().print(text, markup=False),
    )
    return [str(folder) for folder in folders]


def _protocol(name: str | None, dataset: str | None, conditions: list[str]) -> Any:
    from gendet_cli.evaluation.protocols import PROTOCOLS, read_protocol

    layout = dataset or "open-set"
    protocol = read_protocol(name or (layout if layout in PROTOCOLS else "folders"))
    return protocol.restricted(conditions) if conditions else protocol


def _predict(
    protocol: Any,
    layout: str,
    split: str | None,
    places: Places,
    detectors: list[str],
    settings: EvaluateSettings,
    progress: Any,
) -> Predictions:
    from gendet_cli.audit import leak_warning
    from gendet_cli.data.layouts import read_layout
    from gendet_cli.evaluate import open_detectors, predict
    from gendet_cli.evaluation.protocols import kept
    from gendet_cli.plugin.registry import Registry

    console, tested = stderr(), split or protocol.split
    own = layout == protocol.layout
    records = kept(read_layout(layout, places, tested, protocol.subsets if own else ()), protocol, settings.seed)

    def note(text: str) -> None:
        console.print(text, markup=False)

    opened = open_detectors(detectors, Registry(pinned_plugins()), settings, note)
    leak = leak_warning(records)
    if protocol.validation_split and own:
        if tested == protocol.validation_split:
            raise SettingsError(f"split {tested} is the one thresholds are chosen on", hint="test another --split")
        try:
            records += kept(read_layout(layout, places, protocol.validation_split), protocol, settings.seed)
        except SettingsError as error:
            note(f"no split to choose thresholds on: {error.message}")
    if leak:
        note(leak)
    return predict(
        records,
        protocol,
        opened,
        settings,
        dataset=layout,
        split=tested,
        progress=progress,
        leak=leak,
        note=note,
    )
