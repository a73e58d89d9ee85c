"""A detector trained end to end, seen as a backbone whose feature is its logit, so that scores can be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from gendet_cli.detector.runtimes import TorchRunner
from gendet_cli.plugin.specs import Backbone

if TYPE_CHECKING:
    from gendet_cli.detector.detector import Manifest
    from gendet_cli.types import Float32Array


class ScoredPixels(Backbone):
    """Backbone and head in one. The feature is the logit as (coarse, rest): a store keeps float16, their sum does not.

    Args:
        pixels: the detector's backbone.
        head: the detector's network.
        manifest: the detector's; the hash of its tensors is the hash of these weights.
        device: where the network runs.
    """

    def __init__(self, pixels: Backbone, head: nn.Module, manifest: Manifest, device: str) -> None:
        self.name = f"{pixels.name} scored by {manifest.values['method']}"
        self.dimension = 2
        self.weights_sha256 = str(manifest.values["files"]["model.safetensors"])
        self.preprocessing = pixels.preprocessing
        self._pixels, self._runner = pixels, TorchRunner(head, device)

    def features(self, views: tuple[Float32Array, ...]) -> Float32Array:
        """Views ((B, 1, 3, size, size),) -> (B, 2) float32, whose sum is the logit to about seven digits."""
        _, logit = self._runner.run(self._pixels.features(views))
        coarse = logit.astype(np.float16).astype(np.float32)  # (B,)
        return np.stack([coarse, logit - coarse], axis=1)


class LogitOfScore(nn.Module):
    """The head over :class:`ScoredPixels`: (B, 2) -> (0 (B,), logit (B,))."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of both parts."""
        logit = x.sum(dim=1)
        return torch.zeros_like(logit), logit
