"""Recipe: is a data set what it says, and do its files give the class away before a pixel is looked at?"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gendet_cli.data.folds import whole_group_folds
from gendet_cli.data.headers import Header, as_columns, read_header
from gendet_cli.data.layouts import Record
from gendet_cli.engine.job import Job
from gendet_cli.engine.pool import DecoderPool
from gendet_cli.errors import SettingsError
from gendet_cli.evaluation.metrics import Figure, separation
from gendet_cli.types import Failure, Source

LEAK_AUC = 0.6
"""Above it, files alone tell the classes apart far enough to warn."""

MOST_AUDITED = 2000
FOLDS = 5
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a data set: ``kind`` in a few words, the file or set it is about, and the details."""

    kind: str
    where: str
    detail: str


@dataclass(frozen=True, slots=True)
class Check:
    """Counts by (split, subset, label, group), and what is wrong."""

    counts: Mapping[tuple[str, str, str, str], int]
    problems: tuple[Problem, ...]


def check(splits: Mapping[str, Sequence[Record]], *, workers: int, progress: Progress) -> Check:
    """Decode every file of every split in the guarded children; count, compare hashes, look at labels."""
    records = [record for part in splits.values() for record in part]
    counts: Counter[tuple[str, str, str, str]] = Counter((r.split, r.subset, r.label, r.group) for r in records)
    problems, places = [], defaultdict[str, list[Record]](list)
    by_path = defaultdict[Path, list[Record]](list)
    for record in records:
        by_path[record.path].append(record)
    unique = [same[0] for same in by_path.values()]
    job = Job((), evidence=False)
    with DecoderPool(job, workers) as pool:
        outcomes = pool.run(Source(str(record.path), str(record.path)) for record in unique)
        for number, (record, outcome) in enumerate(zip(unique, outcomes, strict=True), 1):
            progress("checking", number, len(unique))
            if isinstance(outcome, Failure):
                kind = "empty file" if _is_empty(record.path) else "unreadable"
                problems.append(Problem(kind, str(record.path), outcome.reason))
            empty = not record.path.is_file() or _is_empty(record.path)  # all of them have one hash, and say nothing
            places[str(record.path) if empty or not outcome.sha256 else outcome.sha256] += by_path[record.path]
    problems += [problem for same in places.values() for problem in _duplicates(same)]
    problems += _one_class(records)
    return Check(counts, tuple(problems))


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _duplicates(same: Sequence[Record]) -> list[Problem]:
    """Files of equal bytes that lie in two splits, or have two labels."""
    problems = []
    for what, values in (("in two splits", {r.split for r in same}), ("with two labels", {r.label for r in same})):
        if len(values) > 1:
            detail = f"{', '.join(sorted(values))}: {', '.join(str(r.path) for r in same[1:])}"
            problems.append(Problem(f"same bytes {what}", str(same[0].path), detail))
    return problems


def _one_class(records: Sequence[Record]) -> list[Problem]:
    classes = defaultdict[tuple[str, str], set[bool]](set)
    for record in records:
        classes[record.split, record.subset].add(record.label == "fake")
    return [
        Problem("one class only", f"{split} {subset}".strip(), "fake" if True in kinds else "not fake")
        for (split, subset), kinds in classes.items()
        if len(kinds) == 1
    ]


@dataclass(frozen=True, slots=True)
class Leak:
    """How far files alone give the class away.

    Attributes:
        pictures: how many were looked at.
        auc: of a gradient-boosted classifier on everything in the headers, out of fold over whole sources.
        single: AUC of each column alone (the larger of both directions), the largest first.
        formats: share of each format by class: (real and art, fake).
        quantiles: of each number by class: (10%, 50%, 90%) of real and art, then of fakes.
    """

    pictures: int
    auc: Figure
    single: Mapping[str, float]
    formats: Mapping[str, tuple[float, float]]
    quantiles: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]

    @property
    def warning(self) -> str:
        """One line where the leak exceeds :data:`LEAK_AUC`, else empty."""
        if self.auc.value <= LEAK_AUC:
            return ""
        return (
            f"format, size and metadata alone tell the classes apart (AUC {self.auc}, {self.pictures} files): a"
            " detector may learn or be credited with that; see `gendet data audit`"
        )


def leak_of(records: Sequence[Record], *, most: int = MOST_AUDITED, progress: Progress = lambda *_: None) -> Leak:
    """The audit of ``records``, or of ``most`` of them drawn by the hash of their paths; headers only are read.

    Raises:
        SettingsError: too few files to hold whole sources out.
    """
    unique = list({record.path: record for record in records}.values())
    drawn = sorted(unique, key=_drawn_by)[:most]
    kept, headers = [], []
    for number, record in enumerate(drawn, 1):
        progress("reading headers", number, len(drawn))
        try:
            headers.append(read_header(record.path))
        except OSError:  # counted: fewer pictures are told than were asked for
            continue
        kept.append(record)
    fake = np.array([record.label == "fake" for record in kept])
    if min(int(fake.sum()), int((~fake).sum())) < FOLDS:
        raise SettingsError("too few files for an audit", hint=f"at least {FOLDS} of each class are needed")
    columns, names = as_columns(headers)
    group = np.array([record.group for record in kept])
    score = _out_of_fold(columns, fake, group)
    return Leak(
        len(kept),
        separation(score, group, ~fake, fake)["auc"],
        _single(columns, names, fake),
        _formats(headers, fake),
        {name: _quantiles(columns[:, names.index(name)], fake) for name in ("width_px", "height_px", "file_bytes")}
        | {name: _quantiles(columns[:, names.index(name)], fake) for name in ("bytes_per_pixel", "luma_step")},
    )


def _drawn_by(record: Record) -> bytes:
    """Moving a data set draws no other files."""
    return hashlib.sha256(f"{record.label}/{record.group}/{record.path.name}".encode("utf-8", "replace")).digest()


def leak_warning(records: Sequence[Record]) -> str:
    """One line where files alone give the class away, or where too few are there to tell; else empty."""
    try:
        return leak_of(records).warning
    except SettingsError as error:
        return f"whether the files alone give the class away was not audited: {error.message}"


def _out_of_fold(columns: Any, fake: Any, group: Any) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    label = np.where(fake, "fake", "not fake")
    fold = whole_group_folds(label, group, FOLDS, lambda _: None)
    score = np.zeros(len(fake))
    with threadpool_limits(1):
        for number in range(FOLDS):
            smallest = max(1, min(20, len(fake) // 20))  # of a leaf; the library's 20 sees nothing in a small set
            model = HistGradientBoostingClassifier(max_iter=50, min_samples_leaf=smallest, random_state=0)
            model.fit(columns[fold != number], fake[fold != number])
            score[fold == number] = model.predict_proba(columns[fold == number])[:, 1]
    return score


def _single(columns: Any, names: Sequence[str], fake: Any) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    areas = {name: float(roc_auc_score(fake, column)) for name, column in zip(names, columns.T, strict=True)}
    return dict(sorted(((n, max(a, 1 - a)) for n, a in areas.items()), key=lambda pair: -pair[1]))


def _formats(headers: Sequence[Header], fake: Any) -> dict[str, tuple[float, float]]:
    formats = np.array([header.format for header in headers])
    return {
        str(name): (float((formats[~fake] == name).mean()), float((formats[fake] == name).mean()))
        for name in np.unique(formats)
    }


def _quantiles(column: Any, fake: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    real, generated = (tuple(map(float, np.quantile(column[rows], [0.1, 0.5, 0.9]))) for rows in (~fake, fake))
    return real, generated
