"""Recipe: a detector on a labelled split: raw, fakes aligned, both aligned; real, art and fake apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gendet_cli.data.layouts import Record
from gendet_cli.detector.backbones import open_backbone, runtime_for
from gendet_cli.detector.detector import Manifest, logits_of, torch_module
from gendet_cli.detector.runtimes import on_device
from gendet_cli.detector.whole import LogitOfScore, ScoredPixels
from gendet_cli.errors import WeightsError
from gendet_cli.evaluation.metrics import Figure, one_source, separation
from gendet_cli.features import Progress, features_of
from gendet_cli.plugin.registry import Registry
from gendet_cli.plugin.specs import Runtime

COLUMNS = ("raw", "fakes aligned", "both aligned")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured, by column (``COLUMNS``).

    Attributes:
        figures: then by comparison: AUC, TPR at 1% and 5% FPR.
        sources: then by ``label/source``: AUC against the other class, share above the pooled thresholds.
        flagged: then by label and ``label/source``: how many, and the share flagged at the detector's own threshold
            (as scored: the rule for small pictures is not applied).
        pictures: how many of each label.
    """

    figures: dict[str, dict[str, dict[str, Figure]]]
    sources: dict[str, dict[str, dict[str, Figure]]]
    flagged: dict[str, dict[str, tuple[int, float]]]
    pictures: dict[str, int]


def evaluate(
    records: Sequence[Record],
    folder: Path,
    manifest: Manifest,
    registry: Registry,
    store: Path,
    *,
    device: str,
    workers: int,
    allow_network: bool,
    progress: Progress,
    note: Callable[[str], None],
) -> Evaluation:
    """Measure the detector in ``folder`` on ``records``; features go through the store like a training's."""
    name = manifest.values["backbone"]["name"]
    kind = runtime_for(name, "auto", registry)
    backbone = on_device(device, lambda d: open_backbone(name, Runtime(kind, d, allow_network), registry), note)
    expected = manifest.values["backbone"]["weights_sha256"]
    if backbone.weights_sha256 != expected or backbone.preprocessing != manifest.preprocessing:
        raise WeightsError(f"{folder}: was trained on other weights of {name}", hint="train it again")
    head = torch_module(folder, manifest, registry).eval()
    if len(backbone.feature_shape) != 1:
        pixels, network = backbone, head
        backbone = on_device(device, lambda d: ScoredPixels(pixels, network, manifest, d), note)
        head = LogitOfScore()
    views = {
        transform: features_of(
            records,
            backbone,
            transform,
            store,
            workers=workers,
            progress=progress,
            skipped=lambda record, reason: note(f"left out: {record.path}: {reason}"),
        )
        for transform in ("raw", "aligned")
    }
    both = np.intersect1d(views["raw"].sha256, views["aligned"].sha256)
    views = {name: view.take(np.isin(view.sha256, both)) for name, view in views.items()}
    scores = {name: logits_of(head, view.x) for name, view in views.items()}
    rows = views["raw"]
    columns = {
        "raw": scores["raw"],
        "fakes aligned": np.where(rows.is_fake, scores["aligned"], scores["raw"]),
        "both aligned": scores["aligned"],
    }
    labels, counts = np.unique(rows.label, return_counts=True)
    return Evaluation(
        {name: compare(score, rows.label, rows.group, rows.content) for name, score in columns.items()},
        {name: by_source(score, rows.label, rows.group) for name, score in columns.items()},
        {name: _flagged(score, rows.label, rows.group, manifest) for name, score in columns.items()},
        dict(zip(labels.tolist(), counts.tolist(), strict=True)),
    )


def compare(score: Any, label: Any, group: Any, content: Any) -> dict[str, dict[str, Figure]]:
    """The headline (real + art against fake), and beside it the comparisons that show what it hides."""
    fake, real, art = (label == name for name in ("fake", "real", "art"))
    sets = {"real + art v fake": (real | art, fake), "real v fake": (real, fake)}
    if (content == "photo").any():
        sets["real v photo-like fake"] = (real, fake & (content == "photo"))
        sets["art v art-like fake"] = (art, fake & (content == "art"))
    return {name: separation(score, group, *pair) for name, pair in sets.items() if pair[0].any() and pair[1].any()}


def by_source(score: Any, label: Any, group: Any) -> dict[str, dict[str, Figure]]:
    """Every generator against real + art, every real and art source against all fakes."""
    fake = label == "fake"
    return {
        f"{name}/{source}": one_source(score, group, (label == name) & (group == source), ~fake, fake)
        for name in ("fake", "real", "art")
        for source in np.unique(group[label == name])
    }


def _flagged(score: Any, label: Any, group: Any, manifest: Manifest) -> dict[str, tuple[int, float]]:
    calibration, thresholds = manifest.calibration, manifest.thresholds
    flagged = np.array([calibration.log10_lr(float(value)) >= thresholds.flagged for value in score])
    shares: dict[str, tuple[int, float]] = {}
    for name in ("real", "art", "fake"):
        for key, rows in [(f"{name}", label == name)] + [
            (f"{name}/{g}", (label == name) & (group == g)) for g in np.unique(group[label == name])
        ]:
            if rows.any():
                shares[key] = (int(rows.sum()), float(flagged[rows].mean()))
    return shares
