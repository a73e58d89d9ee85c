"""``gendet train``: a data set in, a detector out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gendet_cli.cli.guard import guarded, pinned_plugins, progress_on_stderr, stderr
from gendet_cli.config import TrainSettings
from gendet_cli.errors import ExitCode, SettingsError


@guarded
def train(
    dataset: Annotated[str, typer.Option(help="Layout: open-set or folders.", show_default=False)],
    data_root: Annotated[
        Path | None, typer.Option(help="Root of the data set (open-set: or GENDET_DATA).", show_default=False)
    ] = None,
    real: Annotated[Path | None, typer.Option(help="Layout folders: real pictures.", show_default=False)] = None,
    fake: Annotated[Path | None, typer.Option(help="Layout folders: generated pictures.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="The detector's folder [default: runs/DATASET-METHOD-SEED].", show_default=False)
    ] = None,
    method: Annotated[str, typer.Option(help="As `gendet plugins` lists it.")] = "gendet",
    backbone: Annotated[str, typer.Option(help="family[:variant], joined by +.")] = "clip",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bits.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE of the method's settings; repeatable.", show_default=False),
    ] = None,
    features: Annotated[Path, typer.Option(help="The feature store.")] = Path("runs/features"),
    copies: Annotated[int, typer.Option(min=1, help="Degraded views of each training picture.")] = 2,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-fitting that calibrates.")] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; of the backbone.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Decoding processes.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoints in OUT.")] = False,
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Allow the download of a backbone's weights.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> ExitCode:
    """Train a detector: features once, heads out of fold for thresholds and calibration, then the head that is kept."""
    from gendet_cli.data.layouts import Places, read_layout
    from gendet_cli.plugin.registry import Registry
    from gendet_cli.train import train as run

    registry = Registry(pinned_plugins())
    root = data_root or (Path(os.environ["GENDET_DATA"]) if "GENDET_DATA" in os.environ else None)
    records = read_layout(dataset, Places(root, real, fake), "train")
    target = out or Path("runs") / f"{dataset}-{method.replace(':', '-')}-{seed}"
    settings = TrainSettings(
        method=method,
        backbone=backbone,
        seed=seed,
        out=target,
        features=features,
        device=device,
        workers=workers,
        copies=copies,
        folds=folds,
        overrides=_pairs(set_ or []),
        resume=resume,
        allow_network=allow_network,
    )
    console = stderr()
    with progress_on_stderr(quiet=quiet) as progress:
        manifest = run(
            records, settings, registry, progress=progress, note=lambda text: console.print(text, markup=False)
        )
    if not quiet:
        console.print(f"{target}: held-out AUC {manifest['training']['held_out_auc']}, seed {seed}", markup=False)
    return ExitCode.CLEAR


def _pairs(texts: list[str]) -> dict[str, str]:
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise SettingsError(f"not NAME=VALUE: {', '.join(wrong)}", hint="for example --set rotations=20")
    return dict(text.split("=", 1) for text in texts)
