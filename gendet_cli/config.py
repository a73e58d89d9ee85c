"""The settings of each command, as the command line resolves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """What a scan needs to know besides its inputs.

    Attributes:
        detector: name, folder or ``.onnx`` file.
        runtime: ``auto``, ``onnx`` or ``torch``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: pictures handed to the detector together, >= 1; changes no score.
        workers: decoding processes, >= 1; changes no score.
        show_private: whether serial numbers, positions and owners' names are shown.
        allow_network: whether a foreign backbone's weights may be downloaded.
    """

    detector: str = "gendet"
    runtime: str = "auto"
    device: str = "auto"
    batch_size: int = 16
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
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; of the backbone.
        workers: decoding processes.
        copies: degraded views of each training picture.
        folds: of the cross-fitting over whole sources; 0 trains without calibration and writes no detector.
        overrides: method settings by name, as text.
        resume: go on from the checkpoints in ``out``.
        allow_network: whether a foreign backbone's weights may be downloaded.
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
    overrides: Mapping[str, str] = field(default_factory=dict)
    resume: bool = False
    allow_network: bool = False
