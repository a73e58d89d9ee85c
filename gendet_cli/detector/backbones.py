"""Backbones by name, and several of them side by side (``clip+efficientnet-lite0``)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gendet_cli.detector.runtimes import on_device
from gendet_cli.errors import SettingsError
from gendet_cli.plugin.specs import Backbone, BackboneSpec, Kind, Runtime

if TYPE_CHECKING:
    from gendet_cli.plugin.registry import Registry
    from gendet_cli.types import Float32Array


class JoinedBackbone(Backbone):
    """Features of several backbones, one after the other. Raises SettingsError for one whose feature is no vector."""

    def __init__(self, parts: tuple[Backbone, ...]) -> None:
        for part in parts:
            require_vector(part)
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


def require_vector(backbone: Backbone) -> None:
    """Raises SettingsError unless the backbone's features are vectors (D,)."""
    if len(backbone.feature_shape) != 1:
        raise SettingsError(
            f"the backbone {backbone.name} hands on pictures, not features",
            hint="methods that are trained end to end choose it themselves; name another --backbone",
        )


def open_backbone(name: str, runtime: Runtime, registry: Registry) -> Backbone:
    """The backbone called ``name``: ``family[:variant]``, joined by ``+``.

    Raises:
        PluginError: no plugin offers a family.
        SettingsError: a part does not run with this runtime.
    """
    parts = []
    for part in name.split("+"):
        spec, variant = _family(part, registry)
        if runtime.kind not in spec.runtimes(variant):
            raise SettingsError(
                f"the backbone {part} does not run with {runtime.kind}",
                hint=f"use --runtime {spec.runtimes(variant)[0]}",
            )
        parts.append(spec.open(variant, runtime))
    return parts[0] if len(parts) == 1 else JoinedBackbone(tuple(parts))


def runtime_for(name: str, asked: str, registry: Registry) -> Kind:
    """``auto`` becomes ``onnx`` where every part of the backbone has it, else ``torch``."""
    if asked != "auto":
        return "onnx" if asked == "onnx" else "torch"
    parts = [_family(part, registry) for part in name.split("+")]
    return "onnx" if all("onnx" in spec.runtimes(variant) for spec, variant in parts) else "torch"


def backbone_on(
    asked: str, name: str, registry: Registry, note: Callable[[str], None], *, allow_network: bool
) -> tuple[str, Backbone]:
    """(device, backbone) for a data set's features: with the runtime that suits it, on the device ``asked`` for.

    Raises:
        PluginError: no plugin offers a family.
        SettingsError: the device cannot be used.
    """
    kind = runtime_for(name, "auto", registry)

    def open_there(device: str) -> tuple[str, Backbone]:
        return device, open_backbone(name, Runtime(kind, device, allow_network), registry)

    return on_device(asked, open_there, note)


def _family(part: str, registry: Registry) -> tuple[BackboneSpec, str]:
    family, _, variant = part.partition(":")
    return registry.backbone(family), variant
