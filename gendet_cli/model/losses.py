"""The losses of GenDet. z is (B, T, 196) and is compared flattened.

Each is the mean over a batch, or the sum with ``weight`` (B,), which lets several processes share one batch. The paper
leaves open whether the elements of z are averaged or summed, and whether the hinge of equation 2 is taken per sample or
of the batch's mean distance: ``reduction`` and ``hinge`` name both, our choice first.
"""

from __future__ import annotations

from torch import Tensor, nn

REDUCTIONS = ("mean", "sum")
HINGES = ("sample", "batch")


def _over_batch(values: Tensor, weight: Tensor | None) -> Tensor:
    return values.mean() if weight is None else (values * weight).sum()


def _squared_difference(z_teacher: Tensor, z_student: Tensor, reduction: str) -> Tensor:
    squared = (z_teacher - z_student).square().flatten(1)  # (B, T*196)
    return squared.mean(dim=1) if reduction == "mean" else squared.sum(dim=1)  # (B,)


def student_real_loss(
    z_teacher: Tensor, z_student: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """L_r, equation 1: (z_t - z_s)^2 on real features, mean (or ``sum``) over elements; in [0, inf)."""
    return _over_batch(_squared_difference(z_teacher, z_student, reduction), weight)


def student_fake_loss(
    z_teacher: Tensor, z_student: Tensor, margin: float, hinge: str = "sample", weight: Tensor | None = None
) -> Tensor:
    """L_f, equation 2: max(0, M - || z_t/||z_t|| - z_s/||z_s|| ||^2) on augmented fakes, hinge per sample.

    The squared distance of two unit vectors lies in [0, 4]; M = 2 asks for orthogonal outputs. With ``hinge`` ``batch``
    the mean distance of the batch is held against M.
    """
    teacher, student = (nn.functional.normalize(z.flatten(1), dim=1) for z in (z_teacher, z_student))  # (B, T*196)
    distance = (teacher - student).square().sum(dim=1)  # (B,)
    if hinge == "batch":
        return (margin - _over_batch(distance, weight)).clamp(min=0)
    return _over_batch((margin - distance).clamp(min=0), weight)


def augmenter_loss(
    z_teacher: Tensor, z_student: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """L_g, equation 3: (N_t(G(x)) - N_s(G(x)))^2 on fakes, which G makes small; in [0, inf)."""
    return _over_batch(_squared_difference(z_teacher, z_student, reduction), weight)


def class_weights(is_fake: Tensor) -> Tensor:
    """Weights (B,) that sum to 1 and give each class that occurs in ``is_fake`` (B,) the same."""
    fakes = is_fake.sum().clamp(min=1)
    reals = (1 - is_fake).sum().clamp(min=1)
    weight = is_fake / fakes + (1 - is_fake) / reals
    return weight / weight.sum()


def classification_loss(logit: Tensor, is_fake: Tensor, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of logits (B,) against 1 for fake, 0 for real, each class given half the weight."""
    loss = nn.functional.binary_cross_entropy_with_logits(logit, is_fake, reduction="none")  # (B,)
    return (loss * (class_weights(is_fake) if weight is None else weight)).sum()
