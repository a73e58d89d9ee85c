"""From a logit to a likelihood ratio and a verdict. All constants come from scores out of fold, over whole sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gendet_cli.errors import SettingsError
from gendet_cli.types import Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Scores = NDArray[np.float64]

LOG10_LR_DECIMALS = 3
FIT_DIGITS = 5  # significant: finer than a fit on thousands of scores knows, and the same on every machine
FLAGGED_FPR = 0.01
CLEAR_FNR = 0.10
OPERATING_FPRS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.10, 0.20)


@dataclass(frozen=True, slots=True)
class Calibration:
    """ln LR = slope * logit + intercept, capped at what the number of held-out pictures supports.

    Attributes:
        slope: > 0.
        intercept: natural logarithm of the likelihood ratio at logit 0.
        cap_low: smallest log10 LR that is ever stated, < 0.
        cap_high: largest log10 LR that is ever stated, > 0.
    """

    slope: float
    intercept: float
    cap_low: float
    cap_high: float

    def log10_lr(self, logit: float) -> float:
        """log10 likelihood ratio generated : not generated, rounded as printed."""
        value = (self.slope * logit + self.intercept) / math.log(10)
        return round(min(max(value, self.cap_low), self.cap_high), LOG10_LR_DECIMALS) + 0.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Verdicts in log10 LR as printed: flagged at or above ``flagged``, clear below ``clear``, unclear between.

    Attributes:
        flagged: set where at most ``flagged_fpr`` of held-out real photographs and human art lie at or above it.
        clear: set where at most ``clear_fnr`` of held-out fakes lie below it.
        flagged_fpr: the rate ``flagged`` was set at.
        clear_fnr: the rate ``clear`` was set at.
        min_side_px: smaller pictures are unclear whatever their score; nothing was measured there.
    """

    flagged: float
    clear: float
    flagged_fpr: float
    clear_fnr: float
    min_side_px: int

    def decide(self, log10_lr: float, side_px: int) -> tuple[Verdict, str]:
        """The verdict on a picture whose shorter side is ``side_px``, and the reason if it is unclear."""
        if side_px < self.min_side_px:
            return Verdict.UNCLEAR, f"smaller than {self.min_side_px} px, where the detector was not measured"
        if log10_lr >= self.flagged:
            return Verdict.FLAGGED, ""
        if log10_lr < self.clear:
            return Verdict.CLEAR, ""
        return Verdict.UNCLEAR, f"log10_lr between the thresholds {self.clear:g} (clear) and {self.flagged:g} (flagged)"


def p_generated(log10_lr: float) -> float:
    """LR / (1 + LR): the probability of *generated* if both were equally likely beforehand."""
    return 1 / (1 + math.pow(10, -log10_lr))


def calibrate(logit: Scores, is_fake: NDArray[np.bool_]) -> Calibration:
    """Logistic calibration of held-out logits (N,), classes balanced.

    The caps are the rule of three: having seen n negatives and none above a score bounds their rate there by 3/n, so
    no likelihood ratio above n/3 is stated, nor one below 3/n of the fakes.

    Raises:
        SettingsError: a larger logit does not mean more like a fake.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        model = LogisticRegression(C=1e6, class_weight="balanced", max_iter=1000).fit(logit[:, None], is_fake)
    slope, intercept = (float(f"{v:.{FIT_DIGITS}g}") for v in (model.coef_[0, 0], model.intercept_[0]))
    if slope <= 0:
        raise SettingsError("held-out fakes score no higher than held-out reals", hint="more data, or other settings")
    fakes = int(is_fake.sum())
    reals = len(is_fake) - fakes
    caps = (round(math.log10(max(count / 3, 1.1)), LOG10_LR_DECIMALS) for count in (fakes, reals))
    cap_low, cap_high = caps
    return Calibration(slope, intercept, -cap_low, cap_high)


def printed(calibration: Calibration, logit: Scores) -> Scores:
    """log10 LR of every logit, as printed."""
    import numpy as np

    return np.array([calibration.log10_lr(float(value)) for value in logit])


def threshold_at_fpr(negatives: Scores, fpr: float) -> float:
    """The smallest printed value with at most ``fpr`` of ``negatives`` at or above it."""
    allowed = int(fpr * len(negatives))
    step = 10.0**-LOG10_LR_DECIMALS
    ordered = sorted(negatives, reverse=True)
    return round(float(ordered[allowed]) + step, LOG10_LR_DECIMALS)


def choose_thresholds(log10_lr: Scores, is_fake: NDArray[np.bool_], min_side_px: int) -> Thresholds:
    """Both thresholds from held-out scores as printed; if they cross, both are the flagged one."""
    flagged = threshold_at_fpr(log10_lr[~is_fake], FLAGGED_FPR)
    fakes = sorted(log10_lr[is_fake])
    clear = min(round(float(fakes[int(CLEAR_FNR * len(fakes))]), LOG10_LR_DECIMALS), flagged)
    return Thresholds(flagged, clear, FLAGGED_FPR, CLEAR_FNR, min_side_px)


def operating_points(
    log10_lr: Scores, label: Sequence[str], calibration: Calibration, fprs: Sequence[float] = OPERATING_FPRS
) -> list[dict[str, Any]]:
    """What other thresholds would do on the held-out scores: FPR asked for, FPR on reals and art, TPR."""
    import numpy as np

    labels = np.asarray(label)
    points = []
    for fpr in fprs:
        threshold = threshold_at_fpr(log10_lr[labels != "fake"], fpr)
        rates = {name: round(float((log10_lr[labels == name] >= threshold).mean()), 4) for name in sorted(set(labels))}
        supported = threshold <= calibration.cap_high
        points.append({"fpr": fpr, "log10_lr": threshold, "flagged_share": rates, "supported": supported})
    return points


def to_json(value: Calibration | Thresholds) -> dict[str, Any]:
    """Plain values for a manifest."""
    return asdict(value)
