"""``univfd-knn`` (Ojha et al. 2023, "Towards universal fake image detectors", section 4.2): nearest neighbours.

A picture is compared with every training feature by cosine distance. The paper decides for the class of the nearer
neighbour; the logit here is the distance to the nearest real one minus that to the nearest fake one, whose sign is that
decision for k = 1. For k > 1 the paper lets k neighbours vote; here the mean distance to the k nearest of each class is
taken, which is a score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gendet_cli.model.training import Epoch, Fit, Rows, chunks

SCALE = 100.0
"""From cosine distance to logit: CLIP's own, so that four decimals of a logit tell neighbours apart."""

STORED = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class NeighbourSettings:
    """Settings of ``univfd-knn``.

    Attributes:
        k: neighbours of each class, at least 1.
        stored: ``float16`` or ``float32``, of the training features in the detector.
    """

    k: int = 1
    stored: str = "float16"

    def __post_init__(self) -> None:
        rules = {
            "k must be at least 1": self.k >= 1,
            f"stored is {self.stored!r}, not one of {', '.join(STORED)}": self.stored in STORED,
        }
        if problems := [rule for rule, holds in rules.items() if not holds]:
            raise ValueError("; ".join(problems))


class NeighbourHead(nn.Module):
    """Training features of unit length as buffers ``real`` (R, D) and ``fake`` (F, D). (B, D) -> (0, logit), (B,) each.

    The buffers are empty at first; they take whatever number of rows is stored in them or loaded.
    """

    def __init__(self, dimension: int, settings: NeighbourSettings) -> None:
        super().__init__()
        self.k = settings.k
        self.real: Tensor
        self.fake: Tensor
        for name in ("real", "fake"):
            self.register_buffer(name, torch.zeros(0, dimension, dtype=STORED[settings.stored]))

    def store(self, x: Rows, is_fake: Tensor) -> None:
        """Keep the features (N, D) with their classes (N,). Raises ValueError for fewer than k of a class."""
        unit = torch.cat([nn.functional.normalize(part, dim=1).to(self.real.dtype) for part in chunks(x)])  # (N, D)
        for name, label in (("real", 0), ("fake", 1)):
            rows = unit[is_fake == label]
            if len(rows) < self.k:
                raise ValueError(f"{len(rows)} {name} features, fewer than k = {self.k}")
            setattr(self, name, rows)

    @property
    def rows_at_once(self) -> int:
        """How many features to hand over together, so that their similarities to what is stored take 256 MiB."""
        return max(1, (64 << 20) // max(1, len(self.real), len(self.fake)))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("real", "fake"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], dtype=getattr(self, name).dtype))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _similarity(self, x: Tensor, stored: Tensor) -> Tensor:
        """Mean cosine similarity to the k nearest, (B,), in [-1, 1]."""
        cosine = x @ stored.to(x.dtype).T  # (B, rows)
        return cosine.topk(self.k, dim=1).values.mean(dim=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled difference of the distances; a cosine distance is 1 minus the similarity."""
        x = nn.functional.normalize(x, dim=1)
        logit = SCALE * (self._similarity(x, self.fake) - self._similarity(x, self.real))
        return torch.zeros_like(logit), logit


def build_neighbours(settings: NeighbourSettings, dimension: int) -> nn.Module:
    """A head that has stored nothing yet."""
    return NeighbourHead(dimension, settings)


def fit_neighbours(fit: Fit) -> None:
    """Store the training features."""
    head: Any = fit.head
    head.store(fit.x, fit.is_fake)
    fit.progress(Epoch("features stored", 1, 1, float("nan"), {}))
