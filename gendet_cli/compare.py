"""Recipe: several methods, several seeds, the same features: figures on another split, and paired differences."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gendet_cli.config import TrainSettings
from gendet_cli.data.layouts import Record
from gendet_cli.data.store import Features
from gendet_cli.detector.detector import outputs_of
from gendet_cli.errors import ReportError, SettingsError
from gendet_cli.evaluation.metrics import Figure, auc, paired_difference, tpr_at_fpr
from gendet_cli.finetune import scores_once
from gendet_cli.plugin.registry import Registry
from gendet_cli.train import Fitter, Progress, resolve_settings

FIGURES = ("AUC", "TPR at 1% FPR", "TPR at 5% FPR", "AUC, real v fake", "art flagged at 5% FPR", "AUC(D)")
COLUMNS = ("method", "seed", "sha256", "label", "group", "content", "logit", "discrepancy")


@dataclass(frozen=True, slots=True)
class Run:
    """One method trained with one seed, and what it says of every test picture (N,)."""

    method: str
    seed: int
    logit: Any
    discrepancy: Any


@dataclass(frozen=True, slots=True)
class Line:
    """One method: mean and deviation over seeds of each of :data:`FIGURES`, and its AUC less the one before it."""

    method: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    to_previous: Figure | None
    to_first: Figure | None


@dataclass(frozen=True, slots=True)
class Data:
    """What every method is trained on and applied to.

    Attributes:
        train: copies of the training pictures, as features.
        test: pictures of other sources and generators, as features.
        pictures: the same two sets as files, for methods that read pixels.
        transform: what the tested pictures went through.
        settings: device, workers and the rest, for methods that read pixels.
    """

    train: Sequence[Features]
    test: Features
    pictures: tuple[Sequence[Record], Sequence[Record]]
    transform: str
    settings: TrainSettings


def train_all(
    data: Data,
    methods: Sequence[tuple[str, dict[str, Any]]],
    seeds: int,
    registry: Registry,
    progress: Progress,
    note: Callable[[str], None],
) -> list[Run]:
    """Every method with every seed, trained on all views of ``data.train``, applied to ``data.test``.

    Args:
        data: both sets.
        methods: (name, settings by name).
        seeds: 0 to this number.
        registry: of the plugins that offer the methods.
        progress: told of each epoch.
        note: told of pictures that cannot be read.
    """
    runs = []
    for name, overrides in methods:
        spec = registry.method(name)
        chosen = resolve_settings(spec, overrides)
        label = " ".join([name, *(f"{key}={value}" for key, value in overrides.items())])
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as work:
                settings = replace(data.settings, seed=seed, out=Path(work))
                if spec.pixels is None:
                    head = Fitter(spec, chosen, seed, settings.out, progress).fit(f"{label}, seed {seed}", data.train)
                    discrepancy, logit = outputs_of(head, data.test.x)
                else:
                    logits = scores_once(
                        *data.pictures, data.transform, settings, spec, chosen, registry, progress=progress, note=note
                    )
                    logit = np.array([logits[digest] for digest in data.test.sha256])
                    discrepancy = np.zeros_like(logit)
            runs.append(Run(label, seed, logit, discrepancy))
    return runs


def write(path: Path, runs: Sequence[Run], test: Features) -> None:
    """Every prediction as Parquet, a row a method, seed and picture; :func:`read` gives it back.

    Raises:
        ReportError: the file cannot be written.
    """
    rows = len(test.label)
    fixed = {name: [*getattr(test, name)] * len(runs) for name in ("sha256", "label", "group", "content")}
    own = {
        "method": [run.method for run in runs for _ in range(rows)],
        "seed": [run.seed for run in runs for _ in range(rows)],
        "logit": np.concatenate([run.logit for run in runs]),
        "discrepancy": np.concatenate([run.discrepancy for run in runs]),
    }
    columns = {**own, **fixed}
    partial = path.with_name(f"{path.name}.partial")
    try:
        pq.write_table(pa.table({name: columns[name] for name in COLUMNS}), partial)
        partial.replace(path)
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}", hint="name a file that can be written") from error


def read(path: Path) -> tuple[list[Run], Any, Any]:
    """(runs, label (N,), group (N,)) of a file that :func:`write` made. Raises SettingsError if it is none."""
    hint = "name a file that `gendet compare --out` wrote"
    if not path.is_file():
        raise SettingsError(f"{path}: no such file", hint=hint)
    try:
        columns = pq.read_table(path, columns=list(COLUMNS)).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise SettingsError(f"{path}: cannot be read ({str(error).splitlines()[0]})", hint=hint) from error
    table = {name: np.array(values) for name, values in columns.items()}
    keys = list(dict.fromkeys(zip(columns["method"], columns["seed"], strict=True)))
    parts = {key: (table["method"] == key[0]) & (table["seed"] == key[1]) for key in keys}
    runs = [Run(*key, table["logit"][rows], table["discrepancy"][rows]) for key, rows in parts.items()]
    first = parts[keys[0]]
    return runs, table["label"][first], table["group"][first]


def lines(runs: Sequence[Run], label: Any, group: Any) -> list[Line]:
    """The table: fake against real + art unless said; differences are paired by picture and averaged over seeds."""
    names = list(dict.fromkeys(run.method for run in runs))
    scores = {name: np.stack([run.logit for run in runs if run.method == name]) for name in names}  # (seeds, N)
    table: list[Line] = []
    for place, name in enumerate(names):
        mine = [run for run in runs if run.method == name]
        values = np.array([_figures(run, label) for run in mine])
        table.append(
            Line(
                name,
                tuple(values.mean(axis=0)),
                tuple(values.std(axis=0, ddof=1) if len(mine) > 1 else np.zeros(len(FIGURES))),
                paired_difference(scores[name], scores[names[place - 1]], label, group) if place else None,
                paired_difference(scores[name], scores[names[0]], label, group) if place else None,
            )
        )
    return table


def _figures(run: Run, label: Any) -> list[float]:
    fake, real, art = (label == name for name in ("fake", "real", "art"))
    negative = run.logit[~fake]
    rates = [tpr_at_fpr(negative, run.logit[fake], fpr) for fpr in (0.01, 0.05)]
    alarms = tpr_at_fpr(negative, run.logit[art], 0.05) if art.any() else float("nan")
    has_discrepancy = bool(np.any(run.discrepancy))
    mean_d = auc(run.discrepancy[~fake], run.discrepancy[fake]) if has_discrepancy else float("nan")
    return [auc(negative, run.logit[fake]), *rates, auc(run.logit[real], run.logit[fake]), alarms, mean_d]
