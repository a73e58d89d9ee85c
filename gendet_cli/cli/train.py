"""``gendet train``: a data set in, a detector out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from gendet_cli.cli.guard import guarded, pinned_plugins, progress_on_stderr, stderr
from gendet_cli.cli.options import AllowNetwork, CsvFile, DataRoot, Fake, FeatureStore, Real, Workers, places_of
from gendet_cli.config import TrainSettings, merge_training, read_preset, read_training_file
from gendet_cli.errors import ExitCode, SettingsError


@guarded
def train(
    dataset: Annotated[
        str | None,
        typer.Option(help="open-set, folders, csv, genimage or universalfakedetect.", show_default=False),
    ] = None,
    data_root: DataRoot = None,
    real: Real = None,
    fake: Fake = None,
    table: CsvFile = None,
    out: Annotated[
        Path | None, typer.Option(help="The detector's folder [default: runs/DATASET-METHOD-SEED].", show_default=False)
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="The paper's: genimage, universalfakedetect.", show_default=False)
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file, over the preset.", show_default=False)] = None,
    method: Annotated[
        str | None, typer.Option(help="As `gendet plugins` lists it [default: gendet].", show_default=False)
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="family[:variant], joined by + [default: clip].", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same bits [default: 0].", show_default=False)] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE of the method's settings; repeatable.", show_default=False),
    ] = None,
    features: FeatureStore = Path("runs/features"),
    copies: Annotated[
        int | None,
        typer.Option(
            help="Degraded views of each picture; 0: as they are, format leak and all [default: 2].", show_default=False
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Of the cross-fitting that calibrates [default: 5].", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Workers = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoints in OUT.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log for TensorBoard too (extra).")] = False,
    allow_network: AllowNetwork = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> ExitCode:
    """Train a detector: features once, heads out of fold for thresholds and calibration, then the head that is kept.

    Options win over --config, which wins over --preset. OUT/log has a CSV file a head on stored features. Under
    torchrun several processes share the work.
    """
    given = {
        "dataset": dataset,
        "method": method,
        "backbone": backbone,
        "seed": seed,
        "copies": copies,
        "folds": folds,
        "settings": _pairs(set_ or []),
    }
    plan, problems = merge_training(
        [
            read_preset(preset) if preset else {},
            read_training_file(config) if config else {},
            {key: value for key, value in given.items() if value is not None},
        ]
    )
    place = {"out": out, "features": features, "device": device, "workers": workers, "resume": resume}
    flags = {"tensorboard": tensorboard, "allow_network": allow_network}
    _train(plan, problems, (data_root, real, fake, table), {**place, **flags}, quiet=quiet)
    return ExitCode.CLEAR


def _train(
    plan: dict[str, Any],
    problems: list[str],
    places: tuple[Path | None, Path | None, Path | None, Path | None],
    options: dict[str, Any],
    *,
    quiet: bool,
) -> None:
    from gendet_cli.data.layouts import read_layout
    from gendet_cli.plugin.registry import Registry
    from gendet_cli.train import resolve_settings
    from gendet_cli.train import train as run

    registry = Registry(pinned_plugins())
    resolve_settings(registry.method(plan["method"]), plan["settings"], problems)  # everything that is wrong, at once
    records = read_layout(plan["dataset"], places_of(plan["dataset"], *places), "train", plan["subsets"])
    named = {key: plan[key] for key in ("method", "backbone", "seed", "copies", "folds")}
    target = options.pop("out") or Path("runs") / f"{plan['dataset']}-{plan['method'].replace(':', '-')}-{plan['seed']}"
    console = stderr()
    with _processes(options["device"]) as (device, first):
        note: Callable[[str], None] = (lambda text: console.print(text, markup=False)) if first else (lambda text: None)
        settings = TrainSettings(**named, **{**options, "device": device}, out=target, overrides=plan["settings"])
        with progress_on_stderr(quiet=quiet or not first) as progress:
            manifest = run(records, settings, registry, progress=progress, note=note)
    if not quiet and first:
        console.print(
            f"{target}: held-out AUC {manifest['training']['held_out_auc']}, seed {plan['seed']}", markup=False
        )


@contextmanager
def _processes(device: str) -> Iterator[tuple[str, bool]]:
    """(device of this process, whether it is the first); inside, the process group of ``torchrun`` if there is one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device, True
        return
    from gendet_cli.detector.runtimes import choose_device
    from gendet_cli.model import parallel

    chosen = choose_device(device)
    chosen = f"cuda:{os.environ['LOCAL_RANK']}" if chosen == "cuda" else chosen
    parallel.join(chosen)
    try:
        yield chosen, parallel.place()[0] == 0
    finally:
        parallel.leave()


def _pairs(texts: list[str]) -> dict[str, str]:
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise SettingsError(f"not NAME=VALUE: {', '.join(wrong)}", hint="for example --set rotations=20")
    return dict(text.split("=", 1) for text in texts)
