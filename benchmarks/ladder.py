"""The ablation ladder on the gendet open set: every method, several seeds, dev both aligned, as a Markdown table.

    GENDET_DATA=DIR python benchmarks/ladder.py runs/features [seeds] [copies]

Trains on split train, measures on split dev (no source or generator in common). Differences are to the linear probe
on the same features, paired: one bootstrap draw of whole sources serves both, seed 0 against seed 0.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from gendet_cli.data.layouts import Places, read_layout
from gendet_cli.data.store import Features
from gendet_cli.detector.backbones import open_backbone
from gendet_cli.detector.detector import logits_of
from gendet_cli.evaluation.metrics import auc, tpr_at_fpr
from gendet_cli.features import features_of
from gendet_cli.plugin.registry import Registry
from gendet_cli.plugin.specs import Runtime
from gendet_cli.train import Fitter

METHODS = ("univfd-linear", "teacher", "ts-ad", "ts-ad-fake", "gendet")
RESAMPLES = 1000


def figures(score: np.ndarray, dev: Features) -> list[float]:
    """AUC, TPR at 1% and 5% FPR of fake v real + art; AUC v real; art flagged where 5% of real + art are."""
    fake, real, art = (dev.label == name for name in ("fake", "real", "art"))
    negative = score[~fake]
    alarms = float((score[art] > np.quantile(negative, 0.95)).mean())
    rates = [tpr_at_fpr(negative, score[fake], fpr) for fpr in (0.01, 0.05)]
    return [auc(negative, score[fake]), *rates, auc(score[real], score[fake]), alarms]


def paired_difference(one: np.ndarray, other: np.ndarray, dev: Features) -> str:
    """Difference of AUC (fake against real + art), one minus other, and its 95% interval over whole sources."""
    draw = np.random.default_rng(0)
    rows = {
        side: [np.flatnonzero((dev.is_fake == side) & (dev.group == g)) for g in groups(dev, side)] for side in (0, 1)
    }

    def difference(index: dict[int, np.ndarray]) -> float:
        return auc(one[index[0]], one[index[1]]) - auc(other[index[0]], other[index[1]])

    samples = [
        difference({s: np.concatenate([r[i] for i in draw.integers(len(r), size=len(r))]) for s, r in rows.items()})
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(samples, [0.025, 0.975])
    value = difference({side: np.concatenate(parts) for side, parts in rows.items()})
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def groups(dev: Features, side: int) -> list[str]:
    """Sources of the negatives (0) or the fakes (1)."""
    return sorted(set(dev.group[dev.is_fake == side]))


def main(store: Path, seeds: int, copies: int) -> None:
    """Print the table."""
    registry = Registry()
    backbone = open_backbone("clip", Runtime("onnx", "cpu"), registry)
    places = Places(Path(os.environ["GENDET_DATA"]))

    def views(split: str, transform: str) -> Features:
        return features_of(
            read_layout("open-set", places, split), backbone, transform, store, workers=1, progress=quiet, skipped=print
        )

    train = [views("train", f"training:{copy}") for copy in range(copies)]
    dev = views("dev", "aligned")
    print("| method | AUC | TPR at 1% FPR | TPR at 5% FPR | AUC, real v fake | art flagged | AUC - probe, paired |")
    print("|---|---|---|---|---|---|---|")
    probe = np.empty(0)
    for name in METHODS:
        spec = registry.method(name)
        scores = []
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as work:
                head = Fitter(spec, spec.settings(), seed, Path(work), quiet).fit("ladder", train)
            scores.append(logits_of(head, dev.x))
        probe = scores[0] if name == "univfd-linear" else probe
        values = np.array([figures(score, dev) for score in scores])
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(values.mean(0), values.std(0), strict=True)]
        print("|", " | ".join([name, *cells, paired_difference(scores[0], probe, dev)]), "|", flush=True)


def quiet(*_: object) -> None:
    """No progress."""


if __name__ == "__main__":
    main(Path(sys.argv[1]), int((sys.argv[2:3] or ["3"])[0]), int((sys.argv[3:4] or ["1"])[0]))
