"""Runs stages of one epoch each, saves after every epoch, and goes on from there with the same bits.

All randomness of an epoch comes from a seed derived of the run's seed and the epoch's own name, so a checkpoint needs
no generator state: parameters, optimizer moments and the number of finished epochs say everything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gendet_cli.model import parallel
from gendet_cli.model.checkpoint import load_checkpoint, save_checkpoint
from gendet_cli.model.losses import class_weights

BLOCK_ROWS = 512
WINDOW_BYTES = 64 << 20


class Rows(Protocol):
    """Features (N, D): a tensor is one; a store on disk is read by index."""

    @property
    def shape(self) -> Sequence[int]:
        """(N, D)."""

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Rows (n, D) float32 of an index (n,)."""


def chunks(x: Rows, rows: int = 8192) -> Iterator[Tensor]:
    """All of ``x``, some rows at a time, in order."""
    for index in torch.split(torch.arange(x.shape[0]), rows):
        yield x[index]


@dataclass(frozen=True)
class Epoch:
    """What is told of a finished epoch.

    Attributes:
        stage: its stage's name.
        number: from 1.
        of: epochs of the whole plan.
        loss: mean over the rows.
        measures: what the method measures after each epoch, by name.
    """

    stage: str
    number: int
    of: int
    loss: float
    measures: Mapping[str, float]


@dataclass(frozen=True)
class Speed:
    """How the arithmetic is done: on a GPU in mixed precision, compiled, from pinned memory; on a CPU plainly.

    Attributes:
        device: of networks and batches.
        mixed_precision: bfloat16 where autocast allows it.
        compiled: transformer blocks through ``torch.compile`` with this backend, or empty for none.
        pinned: batches copied from page-locked memory, while the last one is still at work.
    """

    device: str = "cpu"
    mixed_precision: bool = False
    compiled: str = ""
    pinned: bool = False

    @classmethod
    def on(cls, device: str) -> Speed:
        """What suits ``device``."""
        return cls(device, True, "inductor", True) if device.startswith("cuda") else cls(device)


@dataclass(frozen=True)
class Fit:
    """One training: the data, the settings, the seed, and where its state is kept.

    Attributes:
        x: features (N, D): a float32 tensor, or anything with ``shape`` that gives one for an index, from disk.
        is_fake: (N,) float32, 1 for fake, 0 for real or human art.
        picture: (N,) int64, equal for views of one picture.
        settings: the method's settings dataclass.
        head: the network that ``MethodSpec.build`` made under :func:`seeded`.
        seed: of initialisation and order.
        checkpoint: file of the state after the last finished epoch.
        progress: called after each epoch.
        speed: device and arithmetic.
    """

    x: Rows
    is_fake: Tensor
    picture: Tensor
    settings: Any
    head: nn.Module
    seed: int
    checkpoint: Path
    progress: Callable[[Epoch], None]
    speed: Speed = Speed()


@dataclass(frozen=True)
class Stage:
    """A pass over some rows that moves some parameters.

    Attributes:
        name: for seeds, logs and progress, e.g. ``student-real``.
        rows: indices into the data (K,).
        loss: (features (B, D), is_fake (B,), weight (B,) that sums to 1 over the batch) -> scalar.
        optimizer: what moves; several stages may share one.
        moves: the network that learns; every other one is frozen and in evaluation mode, as at inference.
        before: called once, before the stage's first epoch of the plan.
        balanced: whether each class of a batch has half the weight, or each row the same.
        whole_batch: the loss is no sum over rows, so several processes cannot share a batch.
    """

    name: str
    rows: Tensor
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    moves: nn.Module
    before: Callable[[], object] | None = None
    balanced: bool = False
    whole_batch: bool = False


@dataclass
class Run:
    """Networks and optimizers by name, a plan of stages, and the count of finished epochs.

    Attributes:
        fit: the data, the settings, the seed.
        networks: everything that is saved, and frozen unless its stage moves it.
        optimizers: everything that is saved beside them.
        batch_size: rows a step, over all processes.
        measure: measured after each epoch, for the log.
    """

    fit: Fit
    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]
    batch_size: int
    measure: Callable[[], Mapping[str, float]] = dict
    _plan: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for network in self.networks.values():
            network.to(self.fit.speed.device)
            for part in network.modules():
                if self.fit.speed.compiled and isinstance(part, nn.TransformerEncoderLayer):
                    part.compile(backend=self.fit.speed.compiled)

    @cached_property
    def _data(self) -> str:
        digest = hashlib.sha256(self.fit.is_fake.numpy().tobytes())
        for chunk in chunks(self.fit.x):
            digest.update(chunk.numpy().tobytes())
        return digest.hexdigest()

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
            if parallel.place()[0] == 0:
                self._save(index + 1)
            measures = self._measured()
            self.fit.progress(Epoch(stage.name, index + 1, len(plan), loss, measures))

    def _measured(self) -> Mapping[str, float]:
        for network in self.networks.values():
            network.eval()
        with torch.no_grad():
            return self.measure()

    def _epoch(self, stage: Stage, index: int) -> float:
        torch.manual_seed(derived_seed(self.fit.seed, stage.name, index))
        for network in self.networks.values():
            network.eval()
            network.requires_grad_(False)
        stage.moves.train()
        stage.moves.requires_grad_(True)
        total = torch.zeros((), device=self.fit.speed.device)
        for x, is_fake in _batches(self.fit, stage.rows, self.batch_size):
            stage.optimizer.zero_grad()
            total += self.backward(stage, x, is_fake) * len(x)
            stage.optimizer.step()
        return float(total / len(stage.rows))

    def backward(self, stage: Stage, x: Tensor, is_fake: Tensor) -> Tensor:
        """Gradients of one batch (B, D), summed over the processes, each of which takes its share; gives the loss."""
        speed = self.fit.speed
        weight = class_weights(is_fake) if stage.balanced else torch.full((len(x),), 1 / len(x))  # (B,)
        if stage.whole_batch and parallel.place()[1] > 1:
            raise ValueError(f"the loss of the stage {stage.name} cannot be shared among processes (hinge=batch)")
        mine = [parallel.share(tensor) for tensor in (x, is_fake, weight)]
        if speed.pinned:
            mine = [tensor.pin_memory() for tensor in mine]
        mine = [tensor.to(speed.device, non_blocking=speed.pinned) for tensor in mine]
        loss = torch.zeros((), device=speed.device)
        if len(mine[0]):
            with torch.autocast(torch.device(speed.device).type, torch.bfloat16, enabled=speed.mixed_precision):
                loss = stage.loss(*mine)
            loss.backward()  # type: ignore[no-untyped-call]
        parallel.sum_gradients(stage.moves)
        return parallel.total(loss.detach())

    def _save(self, finished: int) -> None:
        save_checkpoint(self.fit.checkpoint, self.networks, self.optimizers, finished, self._settings())

    def _settings(self) -> str:
        return json.dumps([repr(self.fit.settings), self.fit.seed, list(self.fit.x.shape), self._data, self._plan])

    def _check(self, plan: list[Stage]) -> None:
        """Raises ValueError if a stage would have nothing to learn from."""
        if not 0 < self.fit.is_fake.sum() < len(self.fit.is_fake):
            raise ValueError("the training data must hold both real and fake pictures")
        if any(len(stage.rows) == 0 for stage in plan):
            raise ValueError("a stage has no real or no fake picture to learn from")

    def _load(self) -> int:
        return load_checkpoint(self.fit.checkpoint, self.networks, self.optimizers, self._settings())


def _batches(fit: Fit, rows: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Features (B, D) and is_fake (B,), shuffled by torch's current seed; a window's last batch may be smaller.

    Blocks of neighbouring rows are drawn at random into windows of at most :data:`WINDOW_BYTES`, and shuffled row by
    row: a set that fits is shuffled whole, a larger one is read once an epoch, in long stretches, in flat memory. Data
    sets list one class after the other, so every window has its share of the blocks of each.
    """
    blocks = torch.split(rows, BLOCK_ROWS)
    windows = -(-len(blocks) // max(1, WINDOW_BYTES // (4 * fit.x.shape[1] * BLOCK_ROWS)))
    order = torch.randperm(len(blocks))
    mostly_fake = torch.stack([fit.is_fake[block].mean() > 0.5 for block in blocks])[order]
    sides = [torch.tensor_split(order[side], windows) for side in (mostly_fake, ~mostly_fake)]
    for window in map(torch.cat, zip(*sides, strict=True)):
        kept = torch.cat([blocks[number] for number in window.sort().values])
        x, is_fake = fit.x[kept], fit.is_fake[kept]  # (K, D), (K,)
        for batch in torch.split(torch.randperm(len(kept)), size):
            yield x[batch], is_fake[batch]


def derived_seed(*parts: object) -> int:
    """A 63-bit seed from anything that has a text."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


def seeded(build: Callable[[], nn.Module], *parts: object) -> nn.Module:
    """What ``build`` makes, initialised from a seed of its own; torch's global state is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(*parts))
        return build()
