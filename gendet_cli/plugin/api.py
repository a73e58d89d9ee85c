"""Everything a plugin may import. What is heavy is imported when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gendet_cli.errors import ExportError, GendetError, PluginError, SettingsError, WeightsError
from gendet_cli.plugin.hookspecs import hookimpl
from gendet_cli.plugin.specs import Backbone, BackboneSpec, Kind, MethodFamily, MethodSpec, Runtime
from gendet_cli.types import Evidence, Preprocessing, Sample, Source

if TYPE_CHECKING:
    import gendet_cli.detector.efficientnet_lite0 as efficientnet_lite0
    import gendet_cli.detector.pretrained as pretrained
    import gendet_cli.model.finetuning as finetuning
    import gendet_cli.model.methods as methods
    import gendet_cli.model.neighbours as neighbours
    from gendet_cli.detector.files import read_weights, require_hash, sha256_of, weights_folder
    from gendet_cli.detector.runtimes import OnnxRunner, TorchRunner, torch_device
    from gendet_cli.model.finetuning import PixelFit
    from gendet_cli.model.loop_settings import LoopSettings
    from gendet_cli.model.training import Fit

__all__ = [
    "Backbone",
    "BackboneSpec",
    "Evidence",
    "ExportError",
    "Fit",
    "GendetError",
    "Kind",
    "LoopSettings",
    "MethodFamily",
    "MethodSpec",
    "OnnxRunner",
    "PixelFit",
    "PluginError",
    "Preprocessing",
    "Runtime",
    "Sample",
    "SettingsError",
    "Source",
    "TorchRunner",
    "WeightsError",
    "efficientnet_lite0",
    "finetuning",
    "hookimpl",
    "methods",
    "neighbours",
    "pretrained",
    "read_weights",
    "require_hash",
    "sha256_of",
    "torch_device",
    "weights_folder",
]

_LAZY = {
    "Fit": ("gendet_cli.model.training", "Fit"),
    "LoopSettings": ("gendet_cli.model.loop_settings", "LoopSettings"),
    "PixelFit": ("gendet_cli.model.finetuning", "PixelFit"),
    "OnnxRunner": ("gendet_cli.detector.runtimes", "OnnxRunner"),
    "TorchRunner": ("gendet_cli.detector.runtimes", "TorchRunner"),
    "efficientnet_lite0": ("gendet_cli.detector.efficientnet_lite0", ""),
    "finetuning": ("gendet_cli.model.finetuning", ""),
    "methods": ("gendet_cli.model.methods", ""),
    "neighbours": ("gendet_cli.model.neighbours", ""),
    "pretrained": ("gendet_cli.detector.pretrained", ""),
    "read_weights": ("gendet_cli.detector.files", "read_weights"),
    "require_hash": ("gendet_cli.detector.files", "require_hash"),
    "sha256_of": ("gendet_cli.detector.files", "sha256_of"),
    "torch_device": ("gendet_cli.detector.runtimes", "torch_device"),
    "weights_folder": ("gendet_cli.detector.files", "weights_folder"),
}


def __getattr__(name: str) -> Any:
    """Import a heavy part on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    loaded = importlib.import_module(module)
    return getattr(loaded, attribute) if attribute else loaded
