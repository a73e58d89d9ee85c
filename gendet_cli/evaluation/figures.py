"""Every figure, from the table of predictions alone: plain values, ready for JSON, tables and plots."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gendet_cli.evaluation.metrics import (
    RESAMPLES,
    Sampled,
    best_threshold,
    mean_of,
    one_source,
    separation,
    set_figures,
)
from gendet_cli.evaluation.predictions import Predictions
from gendet_cli.evaluation.thresholds import ORACLE, Threshold, thresholds_of

Progress = Callable[[str, int, int], None]
"""(what, done, total)."""

MEAN = "mean"


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of the table as columns (N,)."""

    columns: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.columns[name]

    @property
    def is_fake(self) -> Any:
        """Bool (N,)."""
        return self.columns["label"] == "fake"

    def where(self, mask: Any) -> Rows:
        """The rows where ``mask`` (N,) is true."""
        return Rows({name: values[mask] for name, values in self.columns.items()})


def figures_of(predictions: Predictions, seed: int, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """What ``figures.json`` holds.

    ``thresholds`` by detector: every rule, its logit and how it was set. ``results``: one entry per detector and
    condition with ``comparisons`` (AUC, TPR at 1% and 5% FPR), ``sources`` (each source apart, and the share flagged),
    ``sets`` (average precision, AUC, and by threshold rule accuracy, TPR and TNR) and their ``mean``. A figure is
    ``value``, ``low``, ``high``: 95% bootstrap over whole sources.

    Args:
        predictions: the table.
        seed: of the bootstrap.
        progress: told of every detector and condition.
    """
    about, rows = predictions.about, Rows(predictions.columns())
    results, thresholds = [], {}
    total = len(about["detectors"]) * len(about["conditions"])
    for identity, detector in about["detectors"].items():
        mine = rows.where(rows.detector == identity)
        rules = thresholds_of(detector, _validation(mine, about))
        thresholds[identity] = [_plain_threshold(rule) for rule in rules]
        for condition in about["conditions"]:
            shown = under(mine, condition, about["split"])
            result = {
                "detector": identity,
                "condition": condition["name"],
                **_result(shown, rules, about, detector, seed),
            }
            results.append(result)
            progress("figures", len(results), total)
    return {
        **{key: about[key] for key in about if key != "format"},
        "format": 1,
        "bootstrap": {"seed": seed, "draws": RESAMPLES, "interval": "95%, over whole sources"},
        "thresholds": thresholds,
        "results": results,
    }


def under(rows: Rows, condition: Mapping[str, str], split: str) -> Rows:
    """The rows of ``split`` as a condition shows them: fakes under its one transform, the others under its other."""
    transform = np.where(rows.is_fake, condition["fake"], condition["other"])
    return rows.where((rows.transform == transform) & (rows.split == split))


def sets_of(rows: Rows, kind: str, name: str) -> Iterator[tuple[str, Rows]]:
    """(name, rows) of every test set: the layout's subsets, each generator against all others, or all as ``name``."""
    subsets = [subset for subset in dict.fromkeys(rows.subset) if subset]
    if subsets:
        yield from ((subset, rows.where(rows.subset == subset)) for subset in subsets)
    elif kind == "generator":
        for group in dict.fromkeys(rows.group[rows.is_fake]):
            yield str(group).removeprefix("fake/"), rows.where(~rows.is_fake | (rows.group == group))
    else:
        yield name, rows


def _validation(rows: Rows, about: Mapping[str, Any]) -> tuple[Any, Any] | None:
    if not about["validation_split"]:
        return None
    condition = next(c for c in about["conditions"] if c["name"] == about["headline"])
    shown = under(rows, condition, about["validation_split"])
    return (shown.logit, shown.is_fake) if len(shown.logit) else None


def _result(
    rows: Rows, rules: tuple[Threshold, ...], about: Mapping[str, Any], detector: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    sets = {
        name: _one_set(part, rules, seed)
        for name, part in sets_of(rows, about["sets"], f"{about['dataset']} {about['split']}")
    }
    # a photograph that several sets share counts once where sets are not told apart
    once = rows.where(np.unique(rows.path.astype(str), return_index=True)[1])
    return {
        "pictures": _counts(once),
        "comparisons": comparisons(once, seed),
        "sources": sources(once, detector["thresholds"]["flagged"], seed),
        "sets": {name: _plain(values) for name, values in sets.items()},
        MEAN: _plain(_mean(list(sets.values()))),
    }


def comparisons(rows: Rows, seed: int) -> dict[str, Any]:
    """The headline (real + art against fake), and beside it what it hides: content-matched, and art's false alarms."""
    fake, real, art = (rows.label == name for name in ("fake", "real", "art"))
    photo, painted = rows.content == "photo", rows.content == "art"
    pairs = {
        "real + art v fake": (real | art, fake),
        "real v fake": (real, fake),
        "real v photo-like fake": (real, fake & photo),
        "art v art-like fake": (art, fake & painted),
        "real v art: false alarms": (real, art),
    }
    if not art.any():
        del pairs["real + art v fake"]
    return {
        name: {key: asdict(figure) for key, figure in separation(rows.logit, rows.group, *pair, seed).items()}
        for name, pair in pairs.items()
        if pair[0].any() and pair[1].any()
    }


def sources(rows: Rows, flagged: float, seed: int) -> dict[str, Any]:
    """By label and ``label/source``: pictures, share flagged at the detector's own threshold; for a source also ranks.

    A source's ``auc`` is against the other class; its ``share@`` the share above the pooled thresholds. The rule for
    small pictures is not applied to ``flagged``.
    """
    found: dict[str, Any] = {}
    is_flagged = rows.log10_lr >= flagged
    for label in ("real", "art", "fake"):
        mine = rows.label == label
        if not mine.any():
            continue
        found[label] = {"pictures": int(mine.sum()), "flagged": float(is_flagged[mine].mean())}
        for group in np.unique(rows.group[mine].astype(str)):
            own = mine & (rows.group == group)
            ranks = one_source(rows.logit, rows.group, own, ~rows.is_fake, rows.is_fake, seed)
            name = group if group.startswith(f"{label}/") else f"{label}/{group}"
            found[name] = {
                "pictures": int(own.sum()),
                "flagged": float(is_flagged[own].mean()),
                **{key: asdict(figure) for key, figure in ranks.items()},
            }
    return found


def _one_set(rows: Rows, rules: tuple[Threshold, ...], seed: int) -> dict[str, Any]:
    is_fake = rows.is_fake
    counts = _counts(rows)
    if not is_fake.any() or is_fake.all():
        return {"pictures": counts}
    oracle = best_threshold(rows.logit, is_fake, balanced=False)
    applied = {rule.rule: oracle if rule.logit is None else rule.logit for rule in rules}
    ranking, decided = set_figures(rows.logit, rows.group, is_fake, applied, seed)
    art = rows.label == "art"
    by_rule: dict[str, dict[str, Any]] = {
        rule: {"threshold": applied[rule], **figures} for rule, figures in decided.items()
    }
    if art.any():
        for rule, figures in by_rule.items():
            figures["art_flagged"] = float((rows.logit[art] >= applied[rule]).mean())
    return {"pictures": counts, **ranking, "thresholds": by_rule}


def _mean(sets: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the sets that have both classes; by threshold rule too."""
    whole = [values for values in sets if "auc" in values]
    if not whole:
        return {}
    return {
        **{key: mean_of([values[key] for values in whole]) for key in ("average_precision", "auc")},
        "thresholds": {
            rule: {
                key: mean_of([values["thresholds"][rule][key] for values in whole])
                for key in ("accuracy", "tpr", "tnr")
            }
            for rule in whole[0]["thresholds"]
        },
    }


def _counts(rows: Rows) -> dict[str, int]:
    names, counts = np.unique(rows.label.astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _plain_threshold(rule: Threshold) -> dict[str, Any]:
    return {**asdict(rule), "logit": _finite(rule.logit), "oracle": rule.rule == ORACLE}


def _plain(values: Any) -> Any:
    """Figures and infinite numbers as JSON has them."""
    if isinstance(values, Sampled):
        return asdict(values.figure)
    if isinstance(values, Mapping):
        return {key: _plain(value) for key, value in values.items()}
    return _finite(values) if isinstance(values, float) else values


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None
