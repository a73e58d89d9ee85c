"""The four rules by which a logit becomes real or fake in the tables, and how each threshold was set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gendet_cli.evaluation.metrics import best_threshold

ORACLE = "oracle"
HALF_A_STEP = 0.0005
"""A log10_lr is compared as printed, with three decimals."""

RULES = ("0.5", "validation", "shipped", ORACLE)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Fake is what lies at or above ``logit``. None for the oracle, which every test set chooses anew."""

    rule: str
    logit: float | None
    how: str


def thresholds_of(detector: Mapping[str, Any], validation: tuple[Any, Any] | None) -> tuple[Threshold, ...]:
    """All four, for one detector.

    Args:
        detector: its ``calibration`` and ``thresholds``, as in its manifest.
        validation: logits (N,) and is_fake (N,) of the validation split under the headline's condition, or None.
    """
    flagged, rate = detector["thresholds"]["flagged"], detector["thresholds"]["flagged_fpr"]
    if validation is None:
        chosen = logit_at(detector["calibration"], 0.0)
        how = "log10_lr 0: calibrated on training sources held out of the scoring network (no validation split)"
    else:
        score, is_fake = validation
        chosen = best_threshold(score, is_fake, balanced=True)
        how = f"best balanced accuracy on the validation split ({len(score)} pictures)"
    return (
        Threshold("0.5", 0.0, "the classifier's own probability of fake is 0.5: logit 0"),
        Threshold("validation", chosen, how),
        Threshold(
            "shipped",
            logit_at(detector["calibration"], flagged - HALF_A_STEP),
            f"log10_lr {flagged:g}: `flagged` of the manifest, set at {rate:.1%} FPR",
        ),
        Threshold(ORACLE, None, "*oracle*: best accuracy on the test set itself; an upper bound, not a result"),
    )


def logit_at(calibration: Mapping[str, float], log10_lr: float) -> float:
    """The logit that is calibrated to ``log10_lr``; infinite where the calibration's cap lies below it."""
    if log10_lr > calibration["cap_high"]:
        return math.inf
    return float((log10_lr * np.log(10) - calibration["intercept"]) / calibration["slope"])
