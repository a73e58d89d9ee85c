"""The state of a training on disk: parameters, optimizer moments and the number of finished epochs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

STEP = "finished_epochs"
Networks = Mapping[str, nn.Module]
Optimizers = Mapping[str, Optimizer]


def save_checkpoint(path: Path, networks: Networks, optimizers: Optimizers, finished: int, identity: str) -> None:
    """Write everything to ``path``, whole or not at all.

    Args:
        path: the checkpoint.
        networks: by name.
        optimizers: by name.
        finished: epochs that are done.
        identity: text that names settings, seed and data; a training of another identity does not go on from here.
    """
    tensors = {f"net.{n}.{k}": v for n, network in networks.items() for k, v in network.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"opt.{name}.{index}.{k}": v for k, v in moments.items() if v is not None}
    partial = path.with_suffix(".partial")
    metadata = {STEP: str(finished), "settings": identity}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata=metadata)
    os.replace(partial, path)


def load_checkpoint(path: Path, networks: Networks, optimizers: Optimizers, identity: str) -> int:
    """Put the state in ``path`` into networks and optimizers; the number of finished epochs, 0 without a file.

    Raises:
        ValueError: the checkpoint is of another ``identity``.
    """
    if not path.is_file():
        return 0
    try:
        opened = safe_open(path, "pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it") from error
    with opened as stored:
        metadata = stored.metadata()
        if metadata["settings"] != identity:
            raise ValueError(f"{path} is of other settings, seed or data")
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    for name, network in networks.items():
        prefix = f"net.{name}."
        network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"opt.{name}."):
                _, _, index, moment = key.split(".")
                state.setdefault(int(index), {})[moment] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return int(metadata[STEP])
