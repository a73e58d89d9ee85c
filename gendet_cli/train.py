"""Recipe: a data set to a detector. Features once, heads out of fold for calibration, then the head that is kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gendet_cli import __version__
from gendet_cli.audit import leak_warning
from gendet_cli.config import TrainSettings
from gendet_cli.data.folds import whole_group_folds
from gendet_cli.data.layouts import Record
from gendet_cli.data.matrix import Matrix
from gendet_cli.data.store import Features
from gendet_cli.data.training_log import TrainingLog
from gendet_cli.detector.backbones import backbone_on
from gendet_cli.detector.calibration import calibrate, choose_thresholds, operating_points, printed, to_json
from gendet_cli.detector.detector import FORMAT, logits_of
from gendet_cli.detector.files import sha256_of
from gendet_cli.errors import SettingsError
from gendet_cli.export import export_head
from gendet_cli.features import features_of
from gendet_cli.model import parallel
from gendet_cli.model.training import Epoch, Fit, Speed, seeded
from gendet_cli.plugin.registry import Registry
from gendet_cli.plugin.specs import Backbone, MethodSpec

MIN_SIDE_PX = 64
FEW = 100
Progress = Callable[[str, int, int], None]


def train(
    records: Sequence[Record],
    settings: TrainSettings,
    registry: Registry,
    *,
    progress: Progress,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Train on ``records``, write the detector into ``settings.out``, return its manifest.

    Raises:
        SettingsError: the folder is in use, a setting does not exist, or the data cannot be learnt from.
    """
    spec = registry.method(settings.method)
    chosen = resolve_settings(spec, settings.overrides)
    if spec.pixels is not None:
        from gendet_cli.finetune import finetune

        return finetune(records, settings, spec, chosen, registry, progress=progress, note=note)
    device, backbone = backbone_on(
        settings.device, settings.backbone, registry, note, allow_network=settings.allow_network
    )
    work = settings.out / "work"
    if first_process():
        prepare_folder(settings, work)
    parallel.wait()
    warn(records, note)
    copies = [
        features_of(
            records,
            backbone,
            transform,
            settings.features,
            workers=settings.workers,
            progress=progress,
            skipped=lambda record, reason: note(f"left out: {record.path}: {reason}"),
            share=parallel.place(),
            wait=parallel.wait,
        )
        for transform in ([f"training:{copy}" for copy in range(settings.copies)] or ["raw"])
    ]
    fitter = Fitter(
        spec,
        chosen,
        settings.seed,
        work,
        progress,
        device=device,
        logs=settings.out / "log",
        tensorboard=settings.tensorboard,
    )
    held_out = _cross_fit(fitter, copies, settings.folds, note)
    head = fitter.fit("final", copies)
    manifest = manifest_of(settings, spec, chosen, backbone, copies, held_out)
    manifest["training"] |= fitter.facts
    if first_process():
        manifest = write_detector(settings.out, head, backbone.feature_shape, manifest)
        shutil.rmtree(work)
    parallel.wait()
    return manifest


def warn(records: Sequence[Record], note: Callable[[str], None]) -> None:
    """Tell when files alone give the class away, and when an error rate of 1% rests on less than one picture."""
    if first_process() and (leak := leak_warning(records)):
        note(leak)
    fakes = sum(record.label == "fake" for record in records)
    for name, number in (("real or art", len(records) - fakes), ("fake", fakes)):
        if number < FEW:
            note(f"{number} pictures are {name}: below {FEW}, thresholds and likelihood ratios say next to nothing")


def first_process() -> bool:
    """Whether this process writes the files: the only one, or the first of several."""
    return parallel.place()[0] == 0


def resolve_settings(spec: MethodSpec, overrides: Mapping[str, Any], problems: Sequence[str] = ()) -> Any:
    """The method's settings with ``overrides`` (text or values by name) put in.

    Raises:
        SettingsError: whatever is wrong with them, told at once, together with ``problems`` found before.
    """
    defaults = spec.settings()
    types = {field.name: type(getattr(defaults, field.name)) for field in fields(defaults)}
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for name, given in overrides.items():
        if name not in types:
            wrong.append(f"{name}: no such setting of {spec.name}")
            continue
        kind = types[name]
        try:
            if not (isinstance(given, str) or type(given) is kind or (kind is float and type(given) is int)):
                raise ValueError
            values[name] = kind(given)
        except ValueError:
            wrong.append(f"{name}: {given!r} is no {kind.__name__}")
    try:
        settings = replace(defaults, **values)
    except ValueError as error:
        wrong.append(str(error))
    if wrong or problems:
        known = f"settings of {spec.name}: {', '.join(sorted(types))}"
        raise SettingsError(
            "; ".join([*problems, *wrong]), hint=known if wrong else "correct the options or the --config file"
        )
    return settings


def prepare_folder(settings: TrainSettings, work: Path) -> None:
    """Make the folder of checkpoints. Raises SettingsError if ``settings.out`` is in use or cannot be written."""
    if settings.out.exists() and not settings.out.is_dir():
        raise SettingsError(f"{settings.out} is a file", hint="name a folder as --out")
    if settings.out.exists() and any(settings.out.iterdir()) and not settings.resume:
        raise SettingsError(f"{settings.out} is not empty", hint="use --resume, or another --out")
    if (settings.out / "detector.json").is_file():
        raise SettingsError(f"{settings.out} holds a finished detector", hint="scan with it, or use another --out")
    for folder, option in ((settings.features, "--features"), (work, "--out")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"{folder}: {error.strerror}", hint=f"name a writable {option}") from error


class StoredRows:
    """A matrix on disk as :class:`gendet_cli.model.training.Rows`."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix, self.shape = matrix, matrix.shape

    def __getitem__(self, index: torch.Tensor) -> torch.Tensor:
        """float32 (n, D)."""
        return torch.from_numpy(self._matrix[index.numpy()])


class Fitter:
    """Fits one head after another with the same method, settings and seed, each with its own checkpoint.

    Attributes:
        facts: what the method says of its last training, for the manifest.
    """

    def __init__(
        self,
        spec: MethodSpec,
        settings: Any,
        seed: int,
        work: Path,
        progress: Progress,
        *,
        device: str = "cpu",
        logs: Path | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.spec, self.settings, self.seed, self.work, self._progress = spec, settings, seed, work, progress
        self.device, self.logs, self.tensorboard = device, logs or work / "log", tensorboard
        self.facts: dict[str, Any] = {}

    def fit(self, name: str, copies: Sequence[Features]) -> torch.nn.Module:
        """A head trained on every copy of every picture."""
        torch.set_num_threads(1)  # the order of additions, and so the bits, do not depend on the machine's cores
        torch.use_deterministic_algorithms(True)
        torch.backends.mha.set_fastpath_enabled(False)  # one arithmetic for networks that learn and that are frozen
        x = StoredRows(Matrix.join([copy.x for copy in copies]))
        is_fake = torch.from_numpy(np.concatenate([copy.is_fake for copy in copies]).astype(np.float32))
        picture = np.unique(np.concatenate([copy.sha256 for copy in copies]), return_inverse=True)[1]
        head = seeded(lambda: self.spec.build(self.settings, x.shape[1]), self.seed, "head")

        log = TrainingLog(self.logs, name, tensorboard=self.tensorboard) if first_process() else None

        def tell(epoch: Epoch) -> None:
            self._progress(f"{name}: {epoch.stage}, loss {epoch.loss:.4f}", epoch.number, epoch.of)
            if log:
                log.write(epoch.number, epoch.stage, epoch.loss, epoch.measures)

        checkpoint, speed = self.work / f"{name}.safetensors", Speed.on(self.device)
        try:
            fit = Fit(x, is_fake, torch.from_numpy(picture), self.settings, head, self.seed, checkpoint, tell, speed)
            self.facts = dict(self.spec.fit(fit) or {})  # type: ignore[arg-type]
        except ValueError as error:
            raise SettingsError(str(error), hint="--resume needs the same settings; or use another --out") from error
        return head.cpu().eval()


def _cross_fit(fitter: Fitter, copies: Sequence[Features], folds: int, note: Callable[[str], None]) -> Any:
    """Logits (N,) of the first copy, each from a head that saw no picture of the same source."""
    first = copies[0]
    fold = whole_group_folds(first.label, first.group, folds, note)
    logit = np.full(len(first.x), np.nan)
    for index in range(folds):
        unseen = set(first.sha256[fold == index])
        kept = [copy.take(np.array([digest not in unseen for digest in copy.sha256])) for copy in copies]
        head = fitter.fit(f"fold-{index}", kept)
        logit[fold == index] = logits_of(head, first.x.take(fold == index))
    return logit


def manifest_of(
    settings: TrainSettings, spec: MethodSpec, chosen: Any, backbone: Backbone, copies: Sequence[Features], logit: Any
) -> dict[str, Any]:
    """Everything of a detector besides its tensors, from the held-out ``logit`` (N,) of ``copies[0]``'s rows."""
    from sklearn.metrics import roc_auc_score

    first = copies[0]
    calibration = calibrate(logit, first.is_fake)
    log10_lr = printed(calibration, logit)
    thresholds = choose_thresholds(log10_lr, first.is_fake, MIN_SIDE_PX)
    labels, counts = np.unique(first.label, return_counts=True)
    return {
        "format": FORMAT,
        "name": settings.out.name,
        "gendet_version": __version__,
        "method": spec.name,
        "has_discrepancy": spec.has_discrepancy,
        "settings": asdict(chosen),
        "seed": settings.seed,
        "backbone": {
            "name": backbone.name,
            "weights_sha256": backbone.weights_sha256,
            "dimension": backbone.dimension,
            "preprocessing": [part.to_json() for part in backbone.preprocessing],
        },
        "calibration": to_json(calibration),
        "thresholds": to_json(thresholds),
        "operating_points": operating_points(log10_lr, first.label, calibration),
        "training": {
            "data_sha256": first.digest(),
            "pictures": dict(zip(labels.tolist(), counts.tolist(), strict=True)),
            "groups": sorted(set(first.group.tolist())),
            "copies": settings.copies,
            "folds": settings.folds,
            "held_out_auc": round(float(roc_auc_score(first.is_fake, logit)), 4),
        },
    }


def write_detector(
    out: Path, head: torch.nn.Module, feature_shape: tuple[int, ...], manifest: dict[str, Any]
) -> dict[str, Any]:
    """Write tensors, graph and, last, the manifest with their hashes, which is returned."""
    from safetensors.torch import save

    tensors = save({name: tensor.contiguous() for name, tensor in head.state_dict().items()})
    (out / "model.safetensors").write_bytes(tensors)  # with the rights that any new file has here
    export_head(head, feature_shape, out / "model.onnx")
    files = {name: sha256_of(out / name) for name in ("model.onnx", "model.safetensors")}
    complete = {**manifest, "files": files}
    partial = out / "detector.json.partial"
    partial.write_text(json.dumps(complete, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, out / "detector.json")
    return complete
