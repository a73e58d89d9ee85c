"""Recipe: a detector for every pair of margin M and weight alpha of the paper's Table 5, on the same features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gendet_cli.config import TrainSettings
from gendet_cli.data.layouts import Record
from gendet_cli.detector.detector import read_manifest
from gendet_cli.errors import SettingsError
from gendet_cli.evaluation.paper import sweep_pairs
from gendet_cli.features import Progress
from gendet_cli.plugin.registry import Registry
from gendet_cli.train import resolve_settings, train


def train_sweep(
    records: Sequence[Record],
    settings: TrainSettings,
    registry: Registry,
    *,
    progress: Progress,
    note: Callable[[str], None],
) -> list[Path]:
    """Train into ``settings.out/M<margin>-alpha<alpha>``, a folder a pair, and return the folders.

    A finished detector of the same settings is taken as it is; a training that was broken off goes on.

    Raises:
        SettingsError: the method has no margin and alpha, or a folder holds a detector of other settings.
    """
    spec, folders = registry.method(settings.method), []
    for margin, alpha in sweep_pairs():
        folder = settings.out / f"M{margin:g}-alpha{alpha:g}"
        folders.append(folder)
        overrides = {**settings.overrides, "margin": margin, "alpha": alpha}
        wanted = asdict(resolve_settings(spec, overrides))
        if (folder / "detector.json").is_file():
            _require_same(folder, settings, wanted)
            note(f"{folder}: trained already")
            continue
        one = replace(settings, out=folder, overrides=overrides, resume=folder.exists())
        train(records, one, registry, progress=progress, note=note)
    return folders


def _require_same(folder: Path, settings: TrainSettings, wanted: Mapping[str, Any]) -> None:
    values = read_manifest(folder).values
    if (values["method"], values["seed"], values["settings"]) != (settings.method, settings.seed, wanted):
        raise SettingsError(f"{folder} holds a detector of other settings", hint="use another --out")
