"""Figures of a detector on labelled scores, with bootstrap intervals over whole sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from gendet_cli.evaluation.bootstrap import Weighted, in_portions, multiplicities, units

RESAMPLES = 1000
SOURCE_RESAMPLES = 200
PAIRED_RESAMPLES = 500
FPRS = (0.01, 0.05)
INTERVAL = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and its 95% bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Sampled:
    """A value and what it was in every bootstrap draw (draws,)."""

    value: float
    draws: Any

    @property
    def figure(self) -> Figure:
        """The value with its interval."""
        low, high = np.quantile(self.draws, INTERVAL)
        return Figure(float(self.value), float(low), float(high))


def mean_of(figures: list[Sampled]) -> Sampled:
    """The mean over several sets, draw by draw."""
    value = float(np.mean([figure.value for figure in figures]))
    return Sampled(value, np.mean([figure.draws for figure in figures], axis=0))


def tpr_at_fpr(negative: Any, positive: Any, fpr: float) -> float:
    """Share of ``positive`` scores above the (1 - fpr) quantile of ``negative`` scores."""
    return float((positive > np.quantile(negative, 1 - fpr)).mean())


def auc(negative: Any, positive: Any) -> float:
    """Area under the ROC curve."""
    truth = np.r_[np.zeros(len(negative)), np.ones(len(positive))]
    return float(roc_auc_score(truth, np.r_[negative, positive]))


def best_threshold(score: Any, is_fake: Any, *, balanced: bool) -> float:
    """The score at or above which calling a picture fake is right most often.

    Args:
        score: (N,).
        is_fake: bool (N,).
        balanced: whether both classes weigh the same, whatever their sizes.
    """
    fpr, tpr, thresholds = roc_curve(is_fake, score, drop_intermediate=False)
    share = 0.5 if balanced else float(np.mean(is_fake))
    best = int(np.argmax(share * tpr + (1 - share) * (1 - fpr)))
    return float(thresholds[best]) if np.isfinite(thresholds[best]) else float(np.max(score) + 1)


def _sampled(
    sides: tuple[Any, Any],
    drawn: tuple[Any, Any],
    metrics: Mapping[str, Callable[[Weighted], Any]],
) -> dict[str, Any]:
    """Every metric for every draw, from the scores (N,) and weights (draws, N) of negatives and positives."""
    score = np.concatenate(sides)
    positive = np.arange(len(score)) >= len(sides[0])
    parts: dict[str, list[Any]] = {name: [] for name in metrics}
    for portion in in_portions(len(drawn[0]), len(score)):
        weighted = Weighted(score, positive, np.concatenate([side[portion] for side in drawn], axis=1))
        for name, metric in metrics.items():
            parts[name].append(metric(weighted))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _ranking(prefix: str) -> dict[str, Callable[[Weighted], Any]]:
    rates = {f"{prefix}@{fpr:g}": partial(Weighted.tpr_at_fpr, fpr=fpr) for fpr in FPRS}
    return {"auc": Weighted.auc, **rates}


def separation(score: Any, group: Any, negative: Any, positive: Any, seed: int = 0) -> dict[str, Figure]:
    """AUC, TPR at 1% and at 5% FPR of two sets of rows, each with an interval.

    Args:
        score: (N,) larger means more like a fake.
        group: (N,) sources; a bootstrap draw takes whole ones, negatives' and positives' apart.
        negative: bool (N,).
        positive: bool (N,).
        seed: of the bootstrap.
    """
    sides = score[negative], score[positive]
    samples = _sampled(sides, _drawn(group, negative, positive, RESAMPLES, seed), _ranking("tpr"))
    values = {"auc": auc(*sides), **{f"tpr@{fpr:g}": tpr_at_fpr(*sides, fpr) for fpr in FPRS}}
    return {name: Sampled(value, samples[name]).figure for name, value in values.items()}


def _drawn(group: Any, negative: Any, positive: Any, draws: int, seed: int) -> tuple[Any, Any]:
    codes = [units(group[mask]) for mask in (negative, positive)]
    counts = multiplicities([int(code.max()) + 1 for code in codes], draws, seed)
    first, second = (count[:, code] for count, code in zip(counts, codes, strict=True))
    return first, second


def set_figures(
    score: Any, group: Any, is_fake: Any, thresholds: Mapping[str, float], seed: int = 0
) -> tuple[dict[str, Sampled], dict[str, dict[str, Sampled]]]:
    """What the benchmarks print of one test set: AP and AUC; and by threshold: accuracy, TPR and TNR.

    Args:
        score: (N,) larger means more like a fake.
        group: (N,) sources.
        is_fake: bool (N,).
        thresholds: by the rule's name; a draw does not choose them anew.
        seed: of the bootstrap.
    """
    share = float(is_fake.mean())
    metrics: dict[str, Callable[[Weighted], Any]] = {
        "average_precision": Weighted.average_precision,
        "auc": Weighted.auc,
        **{name: partial(Weighted.shares, threshold=threshold) for name, threshold in thresholds.items()},
    }
    drawn = _drawn(group, ~is_fake, is_fake, RESAMPLES, seed)
    parts = _sampled((score[~is_fake], score[is_fake]), drawn, {n: _rows(m) for n, m in metrics.items()})
    ranking = {
        "average_precision": Sampled(float(average_precision_score(is_fake, score)), parts["average_precision"][:, 0]),
        "auc": Sampled(float(roc_auc_score(is_fake, score)), parts["auc"][:, 0]),
    }
    decided = {}
    for name, threshold in thresholds.items():
        said, (tpr, fpr) = score >= threshold, parts[name].T
        decided[name] = {
            "accuracy": Sampled(float((said == is_fake).mean()), share * tpr + (1 - share) * (1 - fpr)),
            "tpr": Sampled(float(said[is_fake].mean()), tpr),
            "tnr": Sampled(float(1 - said[~is_fake].mean()), 1 - fpr),
        }
    return ranking, decided


def _rows(metric: Callable[[Weighted], Any]) -> Callable[[Weighted], Any]:
    """The metric as (draws, values), so that portions can be joined."""
    return lambda weighted: np.atleast_2d(metric(weighted)).T


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
    own, others, pool = score[mine], negative if is_fake else positive, negative
    codes = [units(group[others]), np.arange(len(own)), *([] if is_fake else [units(group[pool])])]
    counts = multiplicities([int(code.max()) + 1 for code in codes], SOURCE_RESAMPLES, seed)
    other, mine_drawn, *rest = (count[:, code] for count, code in zip(counts, codes, strict=True))
    shares = _sampled((score[pool], own), (rest[0] if rest else other, mine_drawn), _ranking("share"))
    if not is_fake:
        shares["auc"] = _sampled((own, score[others]), (mine_drawn, other), {"auc": Weighted.auc})["auc"]
    area = auc(score[others], own) if is_fake else auc(own, score[others])
    values = {"auc": area, **{f"share@{fpr:g}": tpr_at_fpr(score[pool], own, fpr) for fpr in FPRS}}
    return {name: Sampled(value, shares[name]).figure for name, value in values.items()}


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
    fake = label == "fake"
    drawn = _drawn(group, ~fake, fake, PAIRED_RESAMPLES, seed)

    def area(row: Any) -> Sampled:
        sides = row[~fake], row[fake]
        return Sampled(auc(*sides), _sampled(sides, drawn, {"auc": Weighted.auc})["auc"])

    first, second = (mean_of([area(row) for row in scorer]) for scorer in (one, other))
    return Sampled(first.value - second.value, first.draws - second.draws).figure
