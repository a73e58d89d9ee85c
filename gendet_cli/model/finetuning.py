"""One loop that trains a whole network from pictures to a logit, for every method that does so.

Every epoch has a transform, an order and a seed of its own, all derived from the run's seed and the epoch's number, so
that a training goes on from its last finished epoch with the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendet_cli.model.checkpoint import load_checkpoint, save_checkpoint
from gendet_cli.model.loop_settings import LoopSettings
from gendet_cli.model.losses import classification_loss
from gendet_cli.model.training import derived_seed

LAYOUT = torch.channels_last
"""Of pictures and kernels in memory while training: measured on one core, EfficientNet-Lite0 takes 0.64 of the time."""

Views = Callable[[str, Sequence[int]], Iterator[Tensor]]
"""(transform, rows in the order wanted) -> one view (3, size, size) per row, float32 RGB in [0, 1]."""


@dataclass(frozen=True)
class PixelFit:
    """One end-to-end training: the pictures, the settings, the seed, and where its state is kept.

    Attributes:
        views: the pictures, decoded as they are asked for.
        is_fake: (N,) float32, 1 for fake, 0 for real or human art.
        data_sha256: digest of files and labels.
        settings: the method's settings, which extend :class:`gendet_cli.model.loop_settings.LoopSettings`.
        head: the network that ``MethodSpec.build`` made: (B, 3, size, size) -> (discrepancy (B,), logit (B,)).
        seed: of initialisation and order.
        checkpoint: file of the state after the last finished epoch.
        progress: called with (epoch's name, pictures done, pictures, mean loss so far) after each step.
        device: where the network trains.
        allow_network: whether pretrained weights may be downloaded.
    """

    views: Views
    is_fake: Tensor
    data_sha256: str
    settings: Any
    head: nn.Module
    seed: int
    checkpoint: Path
    progress: Callable[[str, int, int, float], None]
    device: str = "cpu"
    allow_network: bool = False


class NetworkHead(nn.Module):
    """A network with one output as a detector's head. (B, 3, size, size) in [0, 1] -> (0 (B,), logit (B,)).

    Args:
        network: (B, 3, size, size) normalised -> (B, 1).
        mean: per channel (RGB), subtracted.
        std: per channel (RGB), divided by.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """The network's logit."""
        logit: Tensor = self.network((views - self.mean) / self.std).squeeze(1)  # (B,)
        return torch.zeros_like(logit), logit


def train_network(fit: PixelFit, transform: Callable[[int], str]) -> None:
    """Train every parameter of ``fit.head`` with cross-entropy, classes balanced, saving after each epoch.

    Args:
        fit: the training.
        transform: epoch -> name of what is done to its pictures.

    Raises:
        ValueError: only one class is there, or the checkpoint is of another training.
    """
    s: LoopSettings = fit.settings
    if not 0 < fit.is_fake.sum() < len(fit.is_fake):
        raise ValueError("the training data must hold both real and fake pictures")
    head = fit.head.requires_grad_(True).to(fit.device).to(memory_format=LAYOUT)
    optimizer = _optimizer(head, s)
    state = fit.checkpoint, {"head": head}, {"head": optimizer}
    plan = [transform(epoch) for epoch in range(s.epochs)]
    shapes = [[name, list(tensor.shape)] for name, tensor in head.state_dict().items()]
    identity = json.dumps([repr(s), fit.seed, fit.data_sha256, plan, shapes])
    for epoch in range(load_checkpoint(*state, identity), s.epochs):
        _epoch(fit, head.train(), optimizer, epoch, transform(epoch))
        save_checkpoint(*state, epoch + 1, identity)
    head.to(memory_format=torch.contiguous_format)


def _optimizer(head: nn.Module, s: LoopSettings) -> torch.optim.Optimizer:
    if s.optimizer == "sgd":
        return torch.optim.SGD(head.parameters(), lr=s.lr, momentum=0.9, weight_decay=s.weight_decay)
    kind = torch.optim.AdamW if s.optimizer == "adamw" else torch.optim.Adam
    return kind(head.parameters(), lr=s.lr, weight_decay=s.weight_decay)


def _epoch(fit: PixelFit, head: nn.Module, optimizer: torch.optim.Optimizer, epoch: int, transform: str) -> None:
    s: LoopSettings = fit.settings
    torch.manual_seed(derived_seed(fit.seed, "end-to-end", epoch))
    order = torch.randperm(len(fit.is_fake))
    views, total, done = fit.views(transform, order.tolist()), 0.0, 0
    for rows in _steps(order, s.batch_size):
        batch = torch.stack([next(views) for _ in rows]).to(fit.device, memory_format=LAYOUT)  # (B, 3, size, size)
        optimizer.zero_grad()
        loss = classification_loss(head(batch)[1], fit.is_fake[rows].to(fit.device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total, done = total + float(loss.detach()) * len(rows), done + len(rows)
        fit.progress(f"epoch {epoch + 1} of {s.epochs}", done, len(order), total / done)


def _steps(order: Tensor, size: int) -> Sequence[Tensor]:
    """Batches of ``order``; a last one of a single picture joins its neighbour, since batch norm needs two."""
    steps = list(torch.split(order, size))
    if len(steps) > 1 and len(steps[-1]) == 1:
        steps[-2:] = [torch.cat(steps[-2:])]
    return steps


def put_weights(network: nn.Module, state: Mapping[str, Tensor], leave: Sequence[str] = ()) -> None:
    """Load ``state`` into ``network``, strictly, but for the layers named in ``leave``, which keep what they have.

    Raises:
        ValueError: names or shapes do not fit; all are listed.
    """
    own = network.state_dict()
    new = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(f"{layer}." for layer in leave))}
    kept = {name: tensor for name, tensor in own.items() if name.startswith(tuple(f"{layer}." for layer in leave))}
    if problems := misfits(new, {name: tuple(t.shape) for name, t in own.items() if name not in kept}):
        raise ValueError("; ".join(problems))
    network.load_state_dict({**kept, **new}, strict=True)


def misfits(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """How a state differs from the names and shapes expected: missing, unexpected, of another shape."""
    missing, unexpected = sorted(shapes.keys() - state.keys()), sorted(state.keys() - shapes.keys())
    wrong = [
        f"{name} is {tuple(state[name].shape)}, not {shape}"
        for name, shape in shapes.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    found = [f"missing: {', '.join(missing)}"] if missing else []
    found += [f"unexpected: {', '.join(unexpected)}"] if unexpected else []
    return found + ([f"shapes: {', '.join(wrong)}"] if wrong else [])
