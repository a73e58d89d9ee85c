"""The losses of GenDet, each the mean over a batch. z is (B, T, 196) and is compared flattened."""

from __future__ import annotations

from torch import Tensor, nn


def student_real_loss(z_teacher: Tensor, z_student: Tensor) -> Tensor:
    """L_r, equation 1: (z_t - z_s)^2 on real features, mean over elements and batch; in [0, inf)."""
    return (z_teacher - z_student).square().mean()


def student_fake_loss(z_teacher: Tensor, z_student: Tensor, margin: float) -> Tensor:
    """L_f, equation 2: max(0, M - || z_t/||z_t|| - z_s/||z_s|| ||^2) on augmented fakes, hinge per sample.

    The squared distance of two unit vectors lies in [0, 4]; M = 2 asks for orthogonal outputs.
    """
    teacher, student = (nn.functional.normalize(z.flatten(1), dim=1) for z in (z_teacher, z_student))  # (B, T*196)
    distance = (teacher - student).square().sum(dim=1)  # (B,)
    return (margin - distance).clamp(min=0).mean()


def augmenter_loss(z_teacher: Tensor, z_student: Tensor) -> Tensor:
    """L_g, equation 3: (N_t(G(x)) - N_s(G(x)))^2 on fakes, which G makes small; in [0, inf)."""
    return (z_teacher - z_student).square().mean()


def classification_loss(logit: Tensor, is_fake: Tensor) -> Tensor:
    """Binary cross-entropy of logits (B,) against 1 for fake, 0 for real, each class given half the weight."""
    fakes = is_fake.sum().clamp(min=1)
    reals = (1 - is_fake).sum().clamp(min=1)
    weight = is_fake / fakes + (1 - is_fake) / reals
    loss = nn.functional.binary_cross_entropy_with_logits(logit, is_fake, reduction="none")
    return (loss * weight).sum() / weight.sum()
