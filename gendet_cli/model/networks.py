"""The networks of GenDet (METHOD: teacher N_t, student N_s, augmenter G, classifier N_c). T tokens of width 196."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

WIDTH = 196
HEADS = 4
EXPANSION = 4


@dataclass(frozen=True, slots=True)
class Structure:
    """What the paper leaves open about the networks; our choices.

    Attributes:
        tokens: T, the number of width-196 tokens a feature is projected to. One would make attention void.
        dropout: inside the blocks, 0 to 1.
        feature_norm: ``unit`` scales each feature to length sqrt(D), ``none`` leaves it.
    """

    tokens: int = 4
    dropout: float = 0.0
    feature_norm: str = "unit"


def block(dropout: float) -> nn.TransformerEncoderLayer:
    """One transformer block: width 196, four heads, feed-forward expansion 4, norm first. (B, T, 196) -> the same."""
    return nn.TransformerEncoderLayer(
        WIDTH, HEADS, WIDTH * EXPANSION, dropout, activation="gelu", batch_first=True, norm_first=True
    )


class Normalise(nn.Module):
    """Feature scale, the same for every network. (B, D) -> (B, D)."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        if rule not in ("unit", "none"):
            raise ValueError(f"feature_norm is {rule!r}, not unit or none")
        self.rule = rule

    def forward(self, x: Tensor) -> Tensor:
        """Rows of length sqrt(D), or as they are."""
        return nn.functional.normalize(x, dim=1) * x.shape[1] ** 0.5 if self.rule == "unit" else x


class Tokens(nn.Module):
    """The body of teacher and student: (B, D) -> linear -> (B, T, 196) -> block -> z (B, T, 196)."""

    def __init__(self, dimension: int, structure: Structure) -> None:
        super().__init__()
        self.tokens = structure.tokens
        self.embed = nn.Linear(dimension, structure.tokens * WIDTH)
        self.block = block(structure.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Output tokens z."""
        z: Tensor = self.block(self.embed(x).view(-1, self.tokens, WIDTH))  # (B, T, 196)
        return z


class Pooled(nn.Module):
    """Mean over tokens and a linear layer: (B, T, 196) -> logit (B,)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, 1)

    def forward(self, z: Tensor) -> Tensor:
        """One logit a picture."""
        logit: Tensor = self.linear(z.mean(dim=1)).squeeze(1)  # (B,)
        return logit


class Classifier(nn.Module):
    """N_c: the discrepancy (z_t - z_s)^2 (B, T, 196) -> block -> logit (B,)."""

    def __init__(self, structure: Structure) -> None:
        super().__init__()
        self.block = block(structure.dropout)
        self.pooled = Pooled()

    def forward(self, discrepancy: Tensor) -> Tensor:
        """One logit a picture; larger means more like a fake."""
        logit: Tensor = self.pooled(self.block(discrepancy))
        return logit


class Augmenter(nn.Module):
    """G: x + g(x), (B, D) -> (B, D). g's last projection starts at zero, so G starts as the identity."""

    def __init__(self, dimension: int, structure: Structure) -> None:
        super().__init__()
        self.body = Tokens(dimension, structure)
        self.project = nn.Linear(structure.tokens * WIDTH, dimension)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Augmented fake features."""
        augmented: Tensor = x + self.project(self.body(x).flatten(1))  # (B, D)
        return augmented


class TeacherHead(nn.Module):
    """The ablation ``teacher``: the binary classifier alone. (B, D) -> (discrepancy, always 0, (B,); logit (B,))."""

    def __init__(self, dimension: int, structure: Structure) -> None:
        super().__init__()
        self.normalise = Normalise(structure.feature_norm)
        self.teacher = Tokens(dimension, structure)
        self.pooled = Pooled()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's own logit."""
        logit: Tensor = self.pooled(self.teacher(self.normalise(x)))
        return torch.zeros_like(logit), logit


class GenDetHead(nn.Module):
    """Inference, Y = N_c((N_t(x) - N_s(x))^2). (B, D) -> (mean discrepancy (B,), logit (B,)). There is no G."""

    def __init__(self, dimension: int, structure: Structure) -> None:
        super().__init__()
        self.normalise = Normalise(structure.feature_norm)
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
    """The linear probe on a unit-length feature. (B, D) -> (0 (B,), logit (B,))."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dimension, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """W . x/|x| + b."""
        logit = self.linear(nn.functional.normalize(x, dim=1)).squeeze(1)
        return torch.zeros_like(logit), logit
