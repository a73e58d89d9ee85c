"""Figures of a detector on labelled scores, with bootstrap intervals over whole sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

RESAMPLES = 1000
SOURCE_RESAMPLES = 200
PAIRED_RESAMPLES = 500
FPRS = (0.01, 0.05)


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and its 95% bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def tpr_at_fpr(negative: Any, positive: Any, fpr: float) -> float:
    """Share of ``positive`` scores above the (1 - fpr) quantile of ``negative`` scores."""
    return float((positive > np.quantile(negative, 1 - fpr)).mean())


def auc(negative: Any, positive: Any) -> float:
    """Area under the ROC curve."""
    truth = np.r_[np.zeros(len(negative)), np.ones(len(positive))]
    return float(roc_auc_score(truth, np.r_[negative, positive]))


def _figures(negative: Any, positive: Any) -> list[float]:
    return [auc(negative, positive), *(tpr_at_fpr(negative, positive, fpr) for fpr in FPRS)]


def separation(score: Any, group: Any, negative: Any, positive: Any, seed: int = 0) -> dict[str, Figure]:
    """AUC, TPR at 1% and at 5% FPR of two sets of rows, each with an interval.

    Args:
        score: (N,) larger means more like a fake.
        group: (N,) sources; a bootstrap draw takes whole ones, negatives' and positives' apart.
        negative: bool (N,).
        positive: bool (N,).
        seed: of the bootstrap.
    """
    draw = np.random.default_rng(seed)
    sides = [_by_group(score[mask], group[mask]) for mask in (negative, positive)]
    samples = np.array([_figures(*(_resampled(side, draw) for side in sides)) for _ in range(RESAMPLES)])
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)
    values = _figures(score[negative], score[positive])
    names = ("auc", *(f"tpr@{fpr:g}" for fpr in FPRS))
    return {n: Figure(*map(float, row)) for n, *row in zip(names, values, low, high, strict=True)}


def one_source(score: Any, group: Any, mine: Any, negative: Any, positive: Any, seed: int = 0) -> dict[str, Figure]:
    """AUC of one source's rows against the other class, and its share above the pooled thresholds of 1% and 5% FPR.

    For a generator the shares are its true-positive rates, for a real or art source its false-positive rates. A
    bootstrap draw takes pictures of the source itself and whole sources of everything else.

    Args:
        score: (N,) larger means more like a fake.
        group: (N,) sources.
        mine: bool (N,), the source's rows, all of one class.
        negative: bool (N,), the pooled negatives that set the thresholds.
        positive: bool (N,).
        seed: of the bootstrap.
    """
    is_fake = bool(positive[mine].all())
    others = _by_group(score[negative if is_fake else positive], group[negative if is_fake else positive])
    pool = _by_group(score[negative], group[negative])
    draw = np.random.default_rng(seed)

    def figures(own: Any, other: Any, negatives: Any) -> list[float]:
        area = auc(other, own) if is_fake else auc(own, other)
        return [area, *(tpr_at_fpr(negatives, own, fpr) for fpr in FPRS)]

    samples = []
    for _ in range(SOURCE_RESAMPLES):
        other = _resampled(others, draw)
        own = draw.choice(score[mine], size=int(mine.sum()))
        samples.append(figures(own, other, other if is_fake else _resampled(pool, draw)))
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)
    values = figures(score[mine], np.concatenate(others), score[negative])
    names = ("auc", *(f"share@{fpr:g}" for fpr in FPRS))
    return {n: Figure(*map(float, row)) for n, *row in zip(names, values, low, high, strict=True)}


def paired_difference(one: Any, other: Any, label: Any, group: Any, seed: int = 0) -> Figure:
    """AUC (fake against everything else) of one scorer less another's, mean over training seeds, paired.

    One bootstrap draw of whole sources serves both scorers and all their seeds.

    Args:
        one: (seeds, N) scores.
        other: (seeds, N) scores of the same pictures.
        label: (N,) ``real``, ``art`` or ``fake``.
        group: (N,) sources.
        seed: of the bootstrap.
    """
    draw = np.random.default_rng(seed)
    fake = label == "fake"
    sides = [[np.flatnonzero(side & (group == name)) for name in np.unique(group[side])] for side in (~fake, fake)]

    def difference(negative: Any, positive: Any) -> float:
        areas = [np.mean([auc(row[negative], row[positive]) for row in scorer]) for scorer in (one, other)]
        return float(areas[0] - areas[1])

    samples = [difference(*(_resampled(side, draw) for side in sides)) for _ in range(PAIRED_RESAMPLES)]
    low, high = np.quantile(samples, [0.025, 0.975])
    return Figure(difference(*map(np.concatenate, sides)), float(low), float(high))


def _by_group(score: Any, group: Any) -> list[Any]:
    return [score[group == name] for name in np.unique(group)]


def _resampled(sources: list[Any], draw: np.random.Generator) -> Any:
    return np.concatenate([sources[i] for i in draw.integers(len(sources), size=len(sources))])
