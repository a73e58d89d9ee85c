"""The networks of GenDet (METHOD: teacher N_t, student N_s, augmenter G, classifier N_c). T tokens of width 196."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

WIDTH = 196
HEADS = 4
EXPANSION = 4
FEATURE_NORMS = ("unit", "standard", "none")


@dataclass(frozen=True, slots=True)
class Structure:
    """What the paper leaves open about the networks; our choices.

    Attributes:
        tokens: T, the number of width-196 tokens a feature is projected to. One would make attention void. Each token
            has a bias of its own in that projection, which is a learned position.
        dropout: inside the blocks, 0 to 1.
        feature_norm: ``unit`` scales each feature to length sqrt(D), ``standard`` subtracts the training set's mean and
            divides by its deviation per element, ``none`` leaves it.
        augmenter_form: ``residual`` is x + g(x), g's last projection starting at zero; ``plain`` is g(x).
        z_form: what teacher and student give: ``tokens`` the block's T output tokens, ``mean`` their mean as one token.
        pooling: before a linear layer makes the logit: ``mean`` over tokens, or ``flatten``.
    """

    tokens: int = 4
    dropout: float = 0.0
    feature_norm: str = "unit"
    augmenter_form: str = "residual"
    z_form: str = "tokens"
    pooling: str = "mean"

    @property
    def z_tokens(self) -> int:
        """Tokens of z."""
        return self.tokens if self.z_form == "tokens" else 1


def block(dropout: float) -> nn.TransformerEncoderLayer:
    """One transformer block: width 196, four heads, feed-forward expansion 4, norm first. (B, T, 196) -> the same."""
    return nn.TransformerEncoderLayer(
        WIDTH, HEADS, WIDTH * EXPANSION, dropout, activation="gelu", batch_first=True, norm_first=True
    )


class Normalise(nn.Module):
    """Feature scale, the same for every network. (B, D) -> (B, D). ``standard`` keeps mean and deviation as tensors."""

    def __init__(self, rule: str, dimension: int) -> None:
        super().__init__()
        if rule not in FEATURE_NORMS:
            raise ValueError(f"feature_norm is {rule!r}, not one of {', '.join(FEATURE_NORMS)}")
        self.rule = rule
        self.mean: Tensor
        self.deviation: Tensor
        if rule == "standard":
            self.register_buffer("mean", torch.zeros(dimension))
            self.register_buffer("deviation", torch.ones(dimension))

    def fit(self, chunks: Iterable[Tensor]) -> None:
        """Take mean and deviation from the training features, in chunks (n, D); the other rules need none."""
        if self.rule != "standard":
            return
        count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
        for chunk in chunks:
            count, total = count + len(chunk), total + chunk.double().sum(dim=0)
            squares = squares + chunk.double().square().sum(dim=0)
        mean = total / count  # (D,)
        self.mean = mean.float()
        variance = (squares / count - mean.square()) * count / max(count - 1, 1)
        self.deviation = variance.clamp(min=1e-12).sqrt().float()  # (D,)

    def forward(self, x: Tensor) -> Tensor:
        """Rows of length sqrt(D), or standardised, or as they are."""
        if self.rule == "unit":
            return nn.functional.normalize(x, dim=1) * math.sqrt(x.shape[1])
        return (x - self.mean) / self.deviation if self.rule == "standard" else x


class Tokens(nn.Module):
    """The body of teacher and student: (B, D) -> linear -> (B, T, 196) -> block -> z (B, T, 196), or (B, 1, 196)."""

    def __init__(self, dimension: int, structure: Structure) -> None:
        super().__init__()
        self.tokens = structure.tokens
        self.embed = nn.Linear(dimension, structure.tokens * WIDTH)
        self.block = block(structure.dropout)
        self.averaged = structure.z_form == "mean"

    def forward(self, x: Tensor) -> Tensor:
        """Output tokens z."""
        z: Tensor = self.block(self.embed(x).view(-1, self.tokens, WIDTH))  # (B, T, 196)
        return z.mean(dim=1, keepdim=True) if self.averaged else z


class Pooled(nn.Module):
    """Mean over tokens (or all of them side by side) and a linear layer: (B, T, 196) -> logit (B,)."""

    def __init__(self, structure: Structure) -> None:
        super().__init__()
        self.flat = structure.pooling == "flatten"
        self.linear = nn.Linear(WIDTH * (structure.z_tokens if self.flat else 1), 1)

    def forward(self, z: Tensor) -> Tensor:
        """One logit a picture."""
        logit: Tensor = self.linear(z.flatten(1) if self.flat else z.mean(dim=1)).squeeze(1)  # (B,)
        return logit


class Classifier(nn.Module):
    """N_c: the discrepancy (z_t - z_s)^2 (B, T, 196) -> block -> logit (B,)."""

    def __init__(self, structure: Structure) -> None:
        super().__init__()
        self.block = block(structure.dropout)
        self.pooled = Pooled(structure)

    def forward(self, discrepancy: Tensor) -> Tensor:
        """One logit a picture; larger means more like a fake."""
        logit: Tensor = self.pooled(self.block(discrepancy))
        return logit


class Augmenter(nn.Module):
    """G: x + g(x), (B, D) -> (B, D). g's last projection starts at zero, so G starts as the identity.

    With ``augmenter_form`` ``plain`` it is g(x), started at random.
    """

    def __init__(self, dimension: int, structure: Structure) -> None:
        super().__init__()
        self.body = Tokens(dimension, replace(structure, z_form="tokens"))
        self.project = nn.Linear(structure.tokens * WIDTH, dimension)
        self.residual = structure.augmenter_form == "residual"
        if self.residual:
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Augmented fake features."""
        generated: Tensor = self.project(self.body(x).flatten(1))  # (B, D)
        return x + generated if self.residual else generated


class TeacherHead(nn.Module):
    """The ablation ``teacher``: the binary classifier alone. (B, D) -> (discrepancy, always 0, (B,); logit (B,))."""

    def __init__(self, dimension: int, structure: Structure) -> None:
        super().__init__()
        self.normalise = Normalise(structure.feature_norm, dimension)
        self.teacher = Tokens(dimension, structure)
        self.pooled = Pooled(structure)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's own logit."""
        logit: Tensor = self.pooled(self.teacher(self.normalise(x)))
        return torch.zeros_like(logit), logit


class GenDetHead(nn.Module):
    """Inference, Y = N_c((N_t(x) - N_s(x))^2). (B, D) -> (mean discrepancy (B,), logit (B,)). There is no G."""

    def __init__(self, dimension: int, structure: Structure) -> None:
        super().__init__()
        self.normalise = Normalise(structure.feature_norm, dimension)
        self.teacher = Tokens(dimension, structure)
        self.student = Tokens(dimension, structure)
        self.classifier = Classifier(structure)

    def discrepancy(self, x: Tensor) -> Tensor:
        """D = (z_t - z_s)^2, element-wise, of normalised features. (B, D) -> (B, T, 196)."""
        difference: Tensor = self.teacher(x) - self.student(x)  # (B, T, 196)
        return difference.square()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of D, and N_c(D)."""
        difference = self.discrepancy(self.normalise(x))  # (B, T, 196)
        return difference.mean(dim=(1, 2)), self.classifier(difference)


class LinearHead(nn.Module):
    """The linear probe. (B, D) -> (0 (B,), logit (B,)). ``unit`` scales features to length 1, ``none`` leaves them."""

    def __init__(self, dimension: int, feature_norm: str = "unit") -> None:
        super().__init__()
        self.linear = nn.Linear(dimension, 1)
        self.unit = feature_norm == "unit"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """W . x/|x| + b, or W . x + b."""
        logit = self.linear(nn.functional.normalize(x, dim=1) if self.unit else x).squeeze(1)
        return torch.zeros_like(logit), logit
