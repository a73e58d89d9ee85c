"""The settings of each command, as the command line, a TOML file and a preset resolve them."""

from __future__ import annotations

import importlib.resources
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from gendet_cli.errors import SettingsError

TRAINING_KEYS: Mapping[str, type] = {
    "dataset": str,
    "subsets": list,
    "method": str,
    "backbone": str,
    "seed": int,
    "copies": int,
    "folds": int,
    "settings": dict,
}
"""What a training's TOML file may say; ``settings`` is a table of the method's own."""

TRAINING_DEFAULTS: Mapping[str, Any] = {
    "subsets": [],
    "method": "gendet",
    "backbone": "clip",
    "seed": 0,
    "copies": 2,
    "folds": 5,
    "settings": {},
}


def read_training_file(path: Path) -> dict[str, Any]:
    """A TOML file's values, unchecked. Raises SettingsError if it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}", hint="name a TOML file; README shows one") from error


def _presets() -> Traversable:
    return importlib.resources.files("gendet_cli") / "presets"


def presets() -> list[str]:
    """The names of the presets that ship."""
    return sorted(e.name.removesuffix(".toml") for e in _presets().iterdir() if e.name.endswith(".toml"))


def read_preset(name: str) -> dict[str, Any]:
    """The values of a preset that ships. Raises SettingsError if there is none of this name."""
    if name not in presets():
        raise SettingsError(f"unknown preset {name!r}", hint=f"known: {', '.join(presets())}")
    return tomllib.loads((_presets() / f"{name}.toml").read_text(encoding="utf-8"))


def _all_text(key: str, value: Any) -> bool:
    return key != "subsets" or all(isinstance(name, str) for name in value)


def merge_training(layers: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """The later layer's values over the earlier one's, ``settings`` by name; and everything that is wrong with them."""
    merged: dict[str, Any] = dict(TRAINING_DEFAULTS)
    problems = []
    method = next((layer["method"] for layer in reversed(layers) if "method" in layer), merged["method"])
    for layer in layers:
        for key, value in layer.items():
            if key == "settings" and layer.get("method", method) != method:
                continue  # a preset's settings are those of its own method
            kind: Any = TRAINING_KEYS.get(key)
            if kind is None:
                problems.append(f"{key}: no such key; known: {', '.join(TRAINING_KEYS)}")
            elif not isinstance(value, kind) or isinstance(value, bool) or not _all_text(key, value):
                problems.append(f"{key}: {value!r} is no {kind.__name__}")
            else:
                merged[key] = {**merged[key], **dict(value)} if key == "settings" else value
    smallest = {"seed": 0, "copies": 0, "folds": 2}
    problems += [f"{key}: {merged[key]} is below {low}" for key, low in smallest.items() if merged[key] < low]
    if "dataset" not in merged:
        problems.append("dataset: not given, neither as --dataset nor in a preset or file")
    return merged, problems


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """What a scan needs to know besides its inputs.

    Attributes:
        detector: name, folder or ``.onnx`` file.
        runtime: ``auto``, ``onnx`` or ``torch``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: pictures handed to the detector together, >= 1, or None for what suits the device; changes no score.
        workers: decoding processes, >= 1; changes no score.
        show_private: whether serial numbers, positions and owners' names are shown.
        allow_network: whether a foreign backbone's weights may be downloaded.
    """

    detector: str = "gendet"
    runtime: str = "auto"
    device: str = "auto"
    batch_size: int | None = None
    workers: int = 1
    show_private: bool = False
    allow_network: bool = False


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What a training needs to know besides its data.

    Attributes:
        method: as ``gendet plugins`` lists it.
        backbone: ``family[:variant]``, joined by ``+``.
        seed: of everything random.
        out: folder of the detector.
        features: folder of the feature store.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; of backbone and heads.
        workers: decoding processes.
        copies: degraded views of each training picture; 0 takes the pictures as they are.
        folds: of the cross-fitting over whole sources; 0 trains without calibration and writes no detector.
        overrides: method settings by name, as text or as values.
        resume: go on from the checkpoints in ``out``.
        allow_network: whether a foreign backbone's weights may be downloaded.
        tensorboard: whether the log is written for TensorBoard too.
    """

    method: str
    backbone: str
    seed: int
    out: Path
    features: Path
    device: str = "auto"
    workers: int = 1
    copies: int = 2
    folds: int = 5
    overrides: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    allow_network: bool = False
    tensorboard: bool = False


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """What an evaluation needs to know besides protocol, data and detectors.

    Attributes:
        features: folder of the feature store.
        seed: of the bootstrap, and of the choice of pictures where a protocol limits their number.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; of the backbone.
        workers: decoding processes.
        allow_network: whether a foreign backbone's weights may be downloaded.
    """

    features: Path
    seed: int = 0
    device: str = "auto"
    workers: int = 1
    allow_network: bool = False
