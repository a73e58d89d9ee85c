"""Folds that keep a source whole: no picture of a source is ever on both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gendet_cli.errors import SettingsError


def whole_group_folds(label: Any, group: Any, folds: int, note: Callable[[str], None]) -> Any:
    """A fold number in [0, folds) for every row (N,); each label's groups are spread evenly, the largest first.

    A label with fewer groups than folds cannot be held out by whole groups; its pictures are dealt out singly then, and
    ``note`` is told, since error rates are optimistic in that case.

    Raises:
        SettingsError: fewer than 2 folds, or a label with fewer pictures than folds.
    """
    if folds < 2:
        raise SettingsError(f"{folds} folds", hint="calibration needs at least 2")
    fold = np.zeros(len(label), int)
    for name in sorted(set(label)):
        rows = np.flatnonzero(label == name)
        if len(rows) < folds:
            raise SettingsError(f"{len(rows)} pictures are {name}, fewer than {folds} folds", hint="more pictures")
        groups, sizes = np.unique(group[rows], return_counts=True)
        if len(groups) < folds:
            note(f"{name}: {len(groups)} sources for {folds} folds: held out by picture, error rates are optimistic")
            fold[rows] = np.arange(len(rows)) % folds
            continue
        for one, number in zip(groups, _spread(sizes.tolist(), folds), strict=True):
            fold[rows[group[rows] == one]] = number
    return fold


def _spread(sizes: Sequence[int], folds: int) -> list[int]:
    """Greedy: the largest first, each into the fold that holds least."""
    load = [0] * folds
    numbers = [0] * len(sizes)
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        numbers[index] = load.index(min(load))
        load[numbers[index]] += int(sizes[index])
    return numbers
