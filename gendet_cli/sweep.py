"""Recipe: a detector for every pair of margin M and weight alpha of the paper's Table 5, on the same features."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gendet_cli.config import TrainSettings
from gendet_cli.data.layouts import Record
from gendet_cli.detector.detector import read_manifest
from gendet_cli.errors import SettingsError
from gendet_cli.evaluation.paper import sweep_pairs
from gendet_cli.features import Progress, hashed
from gendet_cli.plugin.registry import Registry
from gendet_cli.train import resolve_settings, train

PLAN = "sweep.json"


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
        SettingsError: the method has no margin and alpha, or a folder holds detectors of other settings or data.
    """
    spec, folders = registry.method(settings.method), []
    _require_same_data(records, settings)
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


def _require_same_data(records: Sequence[Record], settings: TrainSettings) -> None:
    """Note in ``settings.out`` what is trained on. Raises SettingsError if its detectors were on something else."""
    lines = [f"{digest} {r.label} {r.group}" for r, digest in hashed(records, settings.features, lambda *_: None)]
    data = hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    plan = {key: getattr(settings, key) for key in ("method", "backbone", "seed", "copies", "folds")}
    text = json.dumps({**plan, "data_sha256": data}, indent=1) + "\n"
    path = settings.out / PLAN
    try:
        if path.is_file():
            if path.read_text(encoding="utf-8") != text:
                raise SettingsError(f"{settings.out} holds a sweep of other data or settings", hint="use another --out")
            return
        settings.out.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", hint="name a writable --out") from error


def _require_same(folder: Path, settings: TrainSettings, wanted: Mapping[str, Any]) -> None:
    values = read_manifest(folder).values
    if (values["method"], values["seed"], values["settings"]) != (settings.method, settings.seed, wanted):
        raise SettingsError(f"{folder} holds a detector of other settings", hint="use another --out")
