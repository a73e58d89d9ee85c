"""A detector on disk and in memory: a manifest, a head, a backbone behind one ``score``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gendet_cli.detector.backbones import open_backbone, runtime_for
from gendet_cli.detector.calibration import Calibration, Thresholds, p_generated
from gendet_cli.detector.files import detector_folder, read_json, require_hash
from gendet_cli.detector.runtimes import OnnxRunner, TorchRunner
from gendet_cli.errors import SettingsError, WeightsError
from gendet_cli.plugin.specs import Runtime
from gendet_cli.types import Finding, Prepared, Preprocessing, Score

if TYPE_CHECKING:
    from gendet_cli.plugin.registry import Registry
    from gendet_cli.types import Float32Array

FORMAT = 1
METADATA_KEY = "gendet"
LOGIT_DECIMALS = 4
ROWS_AT_ONCE = 8192
Views = tuple["Float32Array", ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """``detector.json``: everything that turns pixels into a verdict, besides the tensors.

    Attributes:
        values: the JSON object.
        sha256: of its text; it holds the tensors' hashes, so it names the whole detector.
    """

    values: dict[str, Any]
    sha256: str

    @property
    def name(self) -> str:
        """The detector's name."""
        return str(self.values["name"])

    @property
    def identity(self) -> str:
        """``name@`` and 12 digits of the hash, as on every row."""
        return f"{self.name}@{self.sha256[:12]}"

    @property
    def preprocessing(self) -> tuple[Preprocessing, ...]:
        """How pixels become views."""
        return tuple(Preprocessing.from_json(part) for part in self.values["backbone"]["preprocessing"])

    @property
    def calibration(self) -> Calibration:
        """From logit to log10 LR."""
        return Calibration(**self.values["calibration"])

    @property
    def thresholds(self) -> Thresholds:
        """From log10 LR to a verdict."""
        return Thresholds(**self.values["thresholds"])


def parse_manifest(text: str, where: str, sha256: str = "") -> Manifest:
    """A manifest from its text. Raises WeightsError if it is not one this version reads."""
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise WeightsError(f"{where}: format {values['format']}, this gendet reads {FORMAT}", hint="update gendet")
        manifest = Manifest(values, sha256 or hashlib.sha256(text.encode()).hexdigest())
        _ = (manifest.name, manifest.preprocessing, manifest.calibration, manifest.thresholds, values["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{where}: not a detector's manifest ({error})", hint="name a detector of gendet") from error
    return manifest


class Detector:
    """Scores pictures. ``discrepancy_and_logit`` maps views to two arrays (B,)."""

    def __init__(
        self, manifest: Manifest, runtime: Runtime, discrepancy_and_logit: Callable[[Views], tuple[Float32Array, ...]]
    ) -> None:
        self.manifest = manifest
        self.runtime = runtime
        self._calibration, self._thresholds = manifest.calibration, manifest.thresholds
        self._has_discrepancy = bool(manifest.values["has_discrepancy"])
        self.outputs = discrepancy_and_logit

    def score(self, prepared: list[Prepared]) -> list[Score]:
        """One score a picture, in order; a score depends on its own picture alone."""
        if not prepared:
            return []
        views = tuple(np.stack(column) for column in zip(*(picture.views for picture in prepared), strict=True))
        discrepancy, logit = self.outputs(views)
        return [
            Score(round(float(y), LOGIT_DECIMALS), _significant(float(d)) if self._has_discrepancy else None)
            for d, y in zip(discrepancy, logit, strict=True)
        ]

    def find(self, prepared: list[Prepared]) -> list[Finding]:
        """Score, calibrate, decide."""
        return [self._finding(p, s) for p, s in zip(prepared, self.score(prepared), strict=True)]

    def _finding(self, picture: Prepared, score: Score) -> Finding:
        log10_lr = self._calibration.log10_lr(score.logit)
        verdict, reason = self._thresholds.decide(log10_lr, min(picture.width_px, picture.height_px))
        return Finding(
            source=picture.source,
            sha256=picture.sha256,
            format=picture.format,
            width_px=picture.width_px,
            height_px=picture.height_px,
            logit=score.logit,
            discrepancy=score.discrepancy,
            log10_lr=log10_lr,
            p_generated=round(p_generated(log10_lr), 4),
            verdict=verdict,
            reason=reason,
            evidence=picture.evidence,
        )


def _significant(value: float) -> float:
    return float(f"{value:.6g}")


def load_detector(
    where: str, runtime: str, device: str, registry: Registry, *, allow_network: bool = False
) -> Detector:
    """A detector by the name of one that ships, its folder, or its exported ``.onnx`` file.

    Args:
        where: name, folder or file.
        runtime: ``auto``, ``onnx`` or ``torch``.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        registry: of the plugins that offer its backbone and method.
        allow_network: whether a foreign backbone's weights may be downloaded.

    Raises:
        WeightsError: missing, damaged, or of another backbone.
    """
    if where.endswith(".onnx"):
        if runtime == "torch":
            raise SettingsError(
                f"{where} runs with onnx only", hint="drop --runtime torch, or name the detector's folder"
            )
        return _load_file(Path(where), device)
    folder = detector_folder(where)
    manifest = read_manifest(folder)
    backbone_values = manifest.values["backbone"]
    kind = runtime_for(backbone_values["name"], runtime, registry)
    resolved = Runtime(kind, device, allow_network)
    backbone = open_backbone(backbone_values["name"], resolved, registry)
    if backbone.weights_sha256 != backbone_values["weights_sha256"] or backbone.preprocessing != manifest.preprocessing:
        raise WeightsError(f"{folder}: was trained on other weights of {backbone.name}", hint="train it again")
    head = _onnx_head(folder, manifest, device) if kind == "onnx" else _torch_head(folder, manifest, device, registry)
    return Detector(manifest, resolved, lambda views: head(backbone.features(views)))


def read_manifest(folder: Path) -> Manifest:
    """The manifest in ``folder``. Raises WeightsError."""
    path = folder / "detector.json"
    read_json(path)
    return parse_manifest(path.read_text(encoding="utf-8"), str(path))


def _checked(folder: Path, manifest: Manifest, file: str) -> Path:
    require_hash(folder / file, manifest.values["files"][file])
    return folder / file


def _onnx_head(folder: Path, manifest: Manifest, device: str) -> Callable[[Float32Array], tuple[Float32Array, ...]]:
    return OnnxRunner(_checked(folder, manifest, "model.onnx").read_bytes(), device).run


def torch_module(folder: Path, manifest: Manifest, registry: Registry) -> Any:
    """The head as a ``torch.nn.Module`` with its weights: (B, D) -> (discrepancy (B,), logit (B,))."""
    from safetensors.torch import load_file

    spec = registry.method(manifest.values["method"])
    head = spec.build(replace(spec.settings(), **manifest.values["settings"]), manifest.values["backbone"]["dimension"])
    head.load_state_dict(load_file(_checked(folder, manifest, "model.safetensors")), strict=True)
    return head


def outputs_of(head: Any, x: Any) -> tuple[Any, Any]:
    """(mean discrepancy, logit), float64 (N,), of features (N, D), by a torch head.

    Rows are read :data:`ROWS_AT_ONCE` at a time, or as the head's own ``rows_at_once`` says.
    """
    import torch

    rows = getattr(head, "rows_at_once", ROWS_AT_ONCE)
    with torch.inference_mode():
        parts = [head(torch.from_numpy(x[start : start + rows])) for start in range(0, len(x), rows)]
    discrepancy, logit = (torch.cat(column).numpy().astype(np.float64) for column in zip(*parts, strict=True))
    return discrepancy, logit


def logits_of(head: Any, x: Any) -> Any:
    """The logits of :func:`outputs_of`."""
    return outputs_of(head, x)[1]


def _torch_head(
    folder: Path, manifest: Manifest, device: str, registry: Registry
) -> Callable[[Float32Array], tuple[Float32Array, ...]]:
    return TorchRunner(torch_module(folder, manifest, registry), device).run


def _load_file(path: Path, device: str) -> Detector:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}", hint="name a file that `gendet export-onnx` wrote") from error
    runner = OnnxRunner(data, device)
    text = runner.metadata.get(METADATA_KEY, "")
    if not text:
        raise WeightsError(
            f"{path}: a graph without a manifest", hint="name the detector's folder, or a file of `gendet export-onnx`"
        )
    manifest = parse_manifest(text, str(path), hashlib.sha256(data).hexdigest())
    return Detector(
        manifest,
        Runtime("onnx", device),
        lambda views: runner.run(views[0][:, 0] if len(views[0].shape) > runner.rank else views[0]),
    )
