"""Backbones by name, and several of them side by side (``clip+efficientnet-lite0``)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from gendet_cli.errors import SettingsError
from gendet_cli.plugin.specs import Backbone, Runtime

if TYPE_CHECKING:
    from gendet_cli.plugin.registry import Registry
    from gendet_cli.types import Float32Array


class JoinedBackbone(Backbone):
    """Features of several backbones, one after the other."""

    def __init__(self, parts: tuple[Backbone, ...]) -> None:
        self._parts = parts
        self.name = "+".join(part.name for part in parts)
        self.dimension = sum(part.dimension for part in parts)
        self.weights_sha256 = hashlib.sha256("+".join(part.weights_sha256 for part in parts).encode()).hexdigest()
        self.preprocessing = tuple(rule for part in parts for rule in part.preprocessing)

    def features(self, views: tuple[Float32Array, ...]) -> Float32Array:
        """Views as in ``preprocessing`` -> (B, sum of D)."""
        import numpy as np

        features, start = [], 0
        for part in self._parts:
            stop = start + len(part.preprocessing)
            features.append(part.features(views[start:stop]))
            start = stop
        return np.concatenate(features, axis=1)

    def onnx_models(self) -> tuple[Any, ...]:
        """Every part's graph."""
        return tuple(model for part in self._parts for model in part.onnx_models())


def open_backbone(name: str, runtime: Runtime, registry: Registry) -> Backbone:
    """The backbone called ``name``: ``family[:variant]``, joined by ``+``.

    Raises:
        PluginError: no plugin offers a family.
        SettingsError: a part does not run with this runtime.
    """
    parts = []
    for part in name.split("+"):
        family, _, variant = part.partition(":")
        spec = registry.backbone(family)
        if runtime.kind not in spec.runtimes:
            raise SettingsError(
                f"the backbone {family} does not run with {runtime.kind}", hint=f"use --runtime {spec.runtimes[0]}"
            )
        parts.append(spec.open(variant, runtime))
    return parts[0] if len(parts) == 1 else JoinedBackbone(tuple(parts))


def runtime_for(name: str, asked: str, registry: Registry) -> str:
    """``auto`` becomes ``onnx`` where every part of the backbone has it, else ``torch``."""
    if asked != "auto":
        return asked
    families = [part.partition(":")[0] for part in name.split("+")]
    embedded = all("onnx" in registry.backbone(family).runtimes for family in families)
    foreign = any(
        part.startswith("clip:") and not part.startswith("clip:ViT-B-16-quickgelu/openai") for part in name.split("+")
    )
    return "onnx" if embedded and not foreign else "torch"
