"""Runs stages of one epoch each, saves after every epoch, and goes on from there with the same bits.

All randomness of an epoch comes from a seed derived of the run's seed and the epoch's own name, so a checkpoint needs
no generator state: parameters, optimizer moments and the number of finished epochs say everything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendet_cli.model.checkpoint import load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class Fit:
    """One training: the data, the settings, the seed, and where its state is kept.

    Attributes:
        x: features (N, D) float32.
        is_fake: (N,) float32, 1 for fake, 0 for real or human art.
        picture: (N,) int64, equal for views of one picture.
        settings: the method's settings dataclass.
        head: the network that ``MethodSpec.build`` made under :func:`seeded`.
        seed: of initialisation and order.
        checkpoint: file of the state after the last finished epoch.
        progress: called with (stage, epoch, epochs, mean loss) after each epoch.
    """

    x: Tensor
    is_fake: Tensor
    picture: Tensor
    settings: Any
    head: nn.Module
    seed: int
    checkpoint: Path
    progress: Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class Stage:
    """A pass over some rows that moves some parameters.

    Attributes:
        name: for seeds, logs and progress, e.g. ``student-real``.
        rows: indices into the data (K,).
        loss: (features (B, D), is_fake (B,)) -> scalar.
        optimizer: what moves; several stages may share one.
        moves: the network that learns; every other one is frozen and in evaluation mode, as at inference.
        before: called once, before the stage's first epoch of the plan.
    """

    name: str
    rows: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    moves: nn.Module
    before: Callable[[], object] | None = None


@dataclass
class Run:
    """Networks and optimizers by name, a plan of stages, and the count of finished epochs."""

    fit: Fit
    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]
    batch_size: int
    _plan: list[str] = field(default_factory=list)

    def execute(self, plan: list[Stage]) -> None:
        """Run what is not yet finished of ``plan``, saving after each epoch."""
        self._check(plan)
        self._plan = [stage.name for stage in plan]
        done = self._load()
        for index in range(done, len(plan)):
            stage = plan[index]
            if stage.before and self._plan.index(stage.name) == index:
                stage.before()
            loss = self._epoch(stage, index)
            self._save(index + 1)
            self.fit.progress(stage.name, index + 1, len(plan), loss)

    def _epoch(self, stage: Stage, index: int) -> float:
        torch.manual_seed(derived_seed(self.fit.seed, stage.name, index))
        for network in self.networks.values():
            network.eval()
            network.requires_grad_(False)
        stage.moves.train()
        stage.moves.requires_grad_(True)
        total = torch.zeros(())
        for batch in _batches(stage.rows, self.batch_size):
            stage.optimizer.zero_grad()
            loss = stage.loss(self.fit.x[batch], self.fit.is_fake[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            stage.optimizer.step()
            total += loss.detach() * len(batch)
        return float(total / len(stage.rows))

    def _save(self, finished: int) -> None:
        save_checkpoint(self.fit.checkpoint, self.networks, self.optimizers, finished, self._settings())

    def _settings(self) -> str:
        data = hashlib.sha256(self.fit.x.numpy().tobytes() + self.fit.is_fake.numpy().tobytes()).hexdigest()
        return json.dumps([repr(self.fit.settings), self.fit.seed, list(self.fit.x.shape), data, self._plan])

    def _check(self, plan: list[Stage]) -> None:
        """Raises ValueError if a stage would have nothing to learn from."""
        if not 0 < self.fit.is_fake.sum() < len(self.fit.is_fake):
            raise ValueError("the training data must hold both real and fake pictures")
        if any(len(stage.rows) == 0 for stage in plan):
            raise ValueError("a stage has no real or no fake picture to learn from")

    def _load(self) -> int:
        return load_checkpoint(self.fit.checkpoint, self.networks, self.optimizers, self._settings())


def _batches(rows: Tensor, size: int) -> Iterator[Tensor]:
    """Shuffled by torch's current seed; the last one may be smaller."""
    yield from torch.split(rows[torch.randperm(len(rows))], size)


def derived_seed(*parts: object) -> int:
    """A 63-bit seed from anything that has a text."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


def seeded(build: Callable[[], nn.Module], *parts: object) -> nn.Module:
    """What ``build`` makes, initialised from a seed of its own; torch's global state is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(*parts))
        return build()
