"""The bootstrap, all draws at once: how often each row is drawn, and every metric for every draw.

A draw takes whole sources, since pictures of one source are alike; a side with one source alone is drawn by picture.
The metrics are scikit-learn's and numpy's with the draws as sample weights; the tests compare them draw by draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

ROWS_AT_ONCE = 2_000_000
"""Weights (draws x rows) held in memory together."""

REMEMBERED_UNITS = 200


def units(group: Any) -> Any:
    """What every row is drawn with, int (N,): its source, or itself where there is but one source."""
    names, codes = np.unique(group, return_inverse=True)
    return codes if len(names) > 1 else np.arange(len(group))


def multiplicities(sizes: Sequence[int], draws: int, seed: int) -> list[Any]:
    """For each of several sets of ``sizes`` units: int32 (draws, size), how often a unit is in a draw of that size."""
    drawn = _remembered if sum(sizes) <= REMEMBERED_UNITS else _drawn
    return drawn(tuple(sizes), draws, seed)


def _drawn(sizes: tuple[int, ...], draws: int, seed: int) -> list[Any]:
    generator = np.random.default_rng(seed)
    counts = [np.empty((draws, size), np.int32) for size in sizes]
    for draw in range(draws):
        for count, size in zip(counts, sizes, strict=True):
            count[draw] = np.bincount(generator.integers(size, size=size), minlength=size)
    return counts


_remembered = lru_cache(maxsize=128)(_drawn)
"""The same few sources are drawn for every condition and detector."""


class Weighted:
    """Metrics of scores whose rows count as often as they were drawn, for every draw.

    Args:
        score: (N,) larger means more like a fake.
        positive: bool (N,).
        weights: (draws, N), how often a row is in a draw.
    """

    def __init__(self, score: Any, positive: Any, weights: Any) -> None:
        order = np.argsort(score, kind="stable")
        self.values, starts = np.unique(score[order], return_index=True)
        drawn = weights[:, order].astype(np.float64)
        self.positive = np.add.reduceat(drawn * positive[order], starts, axis=1)  # (draws, K), by distinct score
        self.negative = np.add.reduceat(drawn * ~positive[order], starts, axis=1)
        self.positives, self.negatives = self.positive.sum(axis=1), self.negative.sum(axis=1)

    def auc(self) -> Any:
        """Area under the ROC curve, (draws,)."""
        below = np.cumsum(self.negative, axis=1) - self.negative / 2
        return (self.positive * below).sum(axis=1) / (self.positives * self.negatives)

    def average_precision(self) -> Any:
        """Average precision, (draws,)."""
        hits, alarms = (np.cumsum(side[:, ::-1], axis=1)[:, ::-1] for side in (self.positive, self.negative))
        precision = hits / np.maximum(hits + alarms, 1)
        return (self.positive * precision).sum(axis=1) / self.positives

    def tpr_at_fpr(self, fpr: float) -> Any:
        """Share of positives above the (1 - fpr) quantile of the negatives, (draws,)."""
        place = (self.negatives - 1) * (1 - fpr)
        counted = np.cumsum(self.negative, axis=1)
        low, high = (
            self.values[(counted <= np.minimum(rank, self.negatives - 1)[:, None]).sum(axis=1)]
            for rank in (np.floor(place), np.floor(place) + 1)
        )
        quantile = low + (high - low) * (place - np.floor(place))
        above = self.values > quantile[:, None]
        return (self.positive * above).sum(axis=1) / self.positives

    def shares(self, threshold: float) -> tuple[Any, Any]:
        """Shares of positives and of negatives at or above ``threshold``, each (draws,)."""
        above = self.values >= threshold
        return self.positive[:, above].sum(axis=1) / self.positives, self.negative[:, above].sum(
            axis=1
        ) / self.negatives


def in_portions(draws: int, rows: int) -> list[slice]:
    """The draws, in portions that fit in memory."""
    step = max(1, ROWS_AT_ONCE // max(rows, 1))
    return [slice(start, start + step) for start in range(0, draws, step)]
