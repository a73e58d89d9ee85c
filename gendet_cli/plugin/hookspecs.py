"""The hooks of gendet. A plugin implements any of them; each returns a list of typed values."""

from __future__ import annotations

import pluggy

from gendet_cli.plugin.specs import BackboneSpec, MethodFamily, MethodSpec
from gendet_cli.types import Evidence, Sample

PROJECT = "gendet"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def gendet_backbones() -> list[BackboneSpec]:  # type: ignore[empty-body]
    """Backbones this plugin offers. Cheap: import torch or onnxruntime inside ``BackboneSpec.open``."""


@hookspec
def gendet_evidence(sample: Sample) -> list[Evidence]:  # type: ignore[empty-body]
    """What the file itself says. Called once per picture, in a child process; no network, no mutation."""


@hookspec
def gendet_methods() -> list[MethodSpec | MethodFamily]:  # type: ignore[empty-body]
    """Methods this plugin offers to ``gendet train``. Cheap: import torch inside ``build`` and ``fit``."""
