"""One training by several processes (``torchrun``): every batch is shared out, gradients are summed.

Each process draws the same batches from the same seeds, takes its share of the rows, and weights its losses by the
whole batch, so that the summed gradient is that of one process with the whole batch. Without a process group everything
here does nothing.
"""

from __future__ import annotations

from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

WAIT = timedelta(days=7)
"""How long a process waits for the others: features of a large set take days."""


def join(device: str) -> None:
    """Enter the process group that ``torchrun`` describes in the environment: NCCL on GPUs, else gloo."""
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=WAIT)


def leave() -> None:
    """Leave the process group."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def place() -> tuple[int, int]:
    """(rank of this process, number of processes); (0, 1) where there is no group."""
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def wait() -> None:
    """Until every process is here."""
    if distributed.is_initialized():
        distributed.barrier()


def share(batch: Tensor) -> Tensor:
    """This process's rows of a batch (B, ...)."""
    rank, processes = place()
    return batch[rank::processes]


def total(value: Tensor) -> Tensor:
    """The sum of ``value`` over the processes."""
    if distributed.is_initialized():
        distributed.all_reduce(value)
    return value


def sum_gradients(network: nn.Module) -> None:
    """Put the sum over the processes into every ``.grad``; a process without rows counts as zero."""
    if not distributed.is_initialized():
        return
    learning = [p for p in network.parameters() if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    for parameter, part in zip(learning, torch.split(flat, [p.numel() for p in learning]), strict=True):
        parameter.grad = part.view_as(parameter)
