"""Networks to start from: timm's architectures with pretrained weights that are there, and published state dicts."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendet_cli.detector import efficientnet_lite0
from gendet_cli.detector.files import require_hash, sha256_of
from gendet_cli.errors import SettingsError, WeightsError

if TYPE_CHECKING:
    import torch

    State = Mapping[str, torch.Tensor]

WRAPPERS = ("model", "state_dict")
"""Under these names training scripts keep the network's state beside the optimizer's."""

CLASSIFIER_DEVIATION = 0.02
CACHED_FILES = ("model.safetensors", "pytorch_model.bin")


def read_state(path: Path, sha256: str = "") -> tuple[dict[str, torch.Tensor], str]:
    """A published state dict and the sha256 of its file, which must be ``sha256`` if that is given.

    Only tensors and plain containers are read (``torch.load(weights_only=True)``). A state inside a training
    checkpoint (``model``, ``state_dict``) is taken out, the prefix ``module.`` of several GPUs taken off.

    Raises:
        WeightsError: the file is missing, of another hash, or no state dict.
    """
    import torch

    if sha256:
        require_hash(path, sha256)
    digest = sha256_of(path)
    hint = "name a file that torch.save wrote from a state_dict"
    try:
        values: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        said = str(error).split("\n")[0]
        raise WeightsError(f"{path}: cannot be read safely: {said}", hint=hint) from error
    for name in WRAPPERS:
        if isinstance(values, dict) and isinstance(values.get(name), dict):
            values = values[name]
    if not isinstance(values, dict) or not all(isinstance(value, torch.Tensor) for value in values.values()):
        raise WeightsError(f"{path}: not a state dict", hint=hint)
    return {str(name).removeprefix("module."): tensor for name, tensor in values.items()}, digest


def require_model(name: str) -> None:
    """Raises SettingsError unless timm knows an architecture ``name``."""
    import timm

    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:8]
        hint = f"for example {', '.join(near)}" if near else "python -c 'import timm; print(timm.list_models())'"
        raise SettingsError(f"timm knows no model {name!r}", hint=hint)


def _config(name: str) -> Any:
    """What timm says of the weights of ``name``."""
    import timm

    return timm.get_pretrained_cfg(name)


def _size(name: str, size_px: int) -> dict[str, Any]:
    """The argument for networks that are built for one size of picture; the others take any."""
    return {"img_size": size_px} if _config(name).fixed_input_size else {}


def new_network(name: str, size_px: int) -> torch.nn.Module:
    """Timm's architecture ``name`` with one output, random weights, for pictures of ``size_px``.

    The classifier's weights are drawn from N(0, 0.02), as Wang et al. 2020 do: some architectures would start a single
    output at logits of ten and more.
    """
    import timm
    import torch

    network: torch.nn.Module = timm.create_model(name, pretrained=False, num_classes=1, **_size(name, size_px))
    for layer in map(network.get_submodule, classifier_of(name)):
        torch.nn.init.normal_(layer.weight, 0.0, CLASSIFIER_DEVIATION)  # type: ignore[arg-type]
        torch.nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return network


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel (RGB) that timm's weights of ``name`` are used with."""
    config = _config(name)
    return tuple(config.mean), tuple(config.std)


def classifier_of(name: str) -> tuple[str, ...]:
    """Names of the layers that make logits of the last feature."""
    layers = _config(name).classifier
    return (layers,) if isinstance(layers, str) else tuple(layers)


def pretrained_state(name: str, size_px: int, *, allow_network: bool) -> dict[str, torch.Tensor]:
    """The pretrained weights of timm's ``name``, with a classifier of one output that is random.

    Raises:
        WeightsError: they are not on this machine, and the network is not allowed or fails.
    """
    if name == efficientnet_lite0.ARCHITECTURE:
        return dict(efficientnet_lite0.load_network(efficientnet_lite0.weights_path()).state_dict())
    file = _cached(name)
    if file is None and not allow_network:
        raise WeightsError(
            f"pretrained weights of {name} are not on this machine",
            hint="allow the download with --allow-network, name a file with --set weights=FILE, "
            "or train without: --set from_scratch=yes",
        )
    return _through_timm(name, size_px, file)


def _through_timm(name: str, size_px: int, file: Path | None) -> dict[str, torch.Tensor]:
    """From ``file``, or downloaded."""
    import timm
    import torch

    options = _size(name, size_px) | ({"pretrained_cfg_overlay": {"file": str(file)}} if file else {})
    with torch.random.fork_rng(devices=[]):
        try:
            network = timm.create_model(name, pretrained=True, num_classes=1, **options)
        except Exception as error:  # of the hub's client, of the network, or of timm
            raise WeightsError(f"cannot load the weights of {name}: {error}", hint="check the network") from error
    return dict(network.state_dict())


def _cached(name: str) -> Path | None:
    """The weights' file in the caches of the model hub or of torch, if it is there."""
    import torch
    from huggingface_hub import try_to_load_from_cache

    config = _config(name)
    for file in CACHED_FILES if config.hf_hub_id else ():
        cached = try_to_load_from_cache(config.hf_hub_id, file)
        if isinstance(cached, str):
            return Path(cached)
    by_url = Path(torch.hub.get_dir()) / "checkpoints" / Path(config.url or "").name
    return by_url if config.url and by_url.is_file() else None
