"""Recipe: graphs. The head alone when a detector is written, and one file from pixels to logit for ``export-onnx``."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gendet_cli.detector.backbones import open_backbone
from gendet_cli.detector.detector import METADATA_KEY, Manifest, load_detector, torch_module
from gendet_cli.errors import ExportError
from gendet_cli.plugin.specs import Runtime

if TYPE_CHECKING:
    import torch

    from gendet_cli.plugin.registry import Registry

OPSET = 18
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the exported file and torch are apart: ``pictures`` seeded inputs, largest absolute difference."""

    pictures: int
    logit: float
    discrepancy: float


def _head_graph(head: torch.nn.Module, feature_shape: Sequence[int]) -> Any:
    """``feature`` (batch, D), or (batch, 3, size, size) -> ``discrepancy`` (batch,), ``logit`` (batch,)."""
    import torch

    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused kernel has no ONNX form
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own future
            program = torch.onnx.export(
                head.eval(),
                (torch.zeros(2, *feature_shape),),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["feature"],
                output_names=["discrepancy", "logit"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    if program is None:
        raise ExportError("torch exported no graph", hint="check the versions of torch and onnxscript")
    return _without_traces(program.model_proto)


def _without_traces(model: Any) -> Any:
    """The graph without stack traces, which hold the exporting machine's paths."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    return model


def export_head(head: torch.nn.Module, feature_shape: Sequence[int], path: Path) -> None:
    """Write the head's graph."""
    import onnx

    onnx.save(_head_graph(head, feature_shape), path)


def export_detector(folder: Path, manifest: Manifest, registry: Registry, out: Path, *, pictures: int = 8) -> Parity:
    """Write one file from views to discrepancy and logit, with the manifest inside, and prove it.

    Raises:
        ExportError: no graph, several backbones, or a difference to torch beyond 1e-3.
    """
    import onnx
    from onnx import compose

    if out.suffix != ".onnx":
        raise ExportError(f"{out}: not an .onnx file", hint="name a file that ends with .onnx")
    if not out.parent.is_dir():
        raise ExportError(f"{out.parent}: no such folder", hint="make it first, or name another --out")

    torch_side = load_detector(str(folder), "torch", "cpu", registry)
    backbone = open_backbone(manifest.values["backbone"]["name"], Runtime("torch", "cpu"), registry)
    models = backbone.onnx_models()
    if len(models) != 1:
        raise ExportError("a joined backbone has several inputs", hint="export a detector of one backbone")
    body = models[0]
    head = _head_graph(torch_module(folder, manifest, registry), backbone.feature_shape)
    head = compose.add_prefix(head, "head/", rename_inputs=True, rename_outputs=False)
    joined = compose.merge_models(
        _same_ir(body, head),
        head,
        io_map=[(body.graph.output[0].name, "head/feature")],
        outputs=["discrepancy", "logit"],
    )
    onnx.helper.set_model_props(joined, {METADATA_KEY: json.dumps(manifest.values)})
    onnx.checker.check_model(joined)
    partial = out.with_name(out.name + ".partial.onnx")
    try:
        onnx.save(joined, partial)
        parity = _parity(torch_side, load_detector(str(partial), "onnx", "cpu", registry), pictures)
        if not (parity.logit <= TOLERANCE and parity.discrepancy <= TOLERANCE):
            raise ExportError(
                f"the export differs from torch: {parity}",
                hint="report this with the versions of torch and onnxruntime",
            )
        os.replace(partial, out)
    except OSError as error:
        raise ExportError(f"{out}: {error.strerror}", hint="name a writable --out") from error
    finally:
        partial.unlink(missing_ok=True)
    return parity


def _same_ir(body: Any, head: Any) -> Any:
    """Both graphs at one IR version, as merging asks."""
    head.ir_version = body.ir_version = max(head.ir_version, body.ir_version)
    return body


def _parity(one: Any, other: Any, pictures: int) -> Parity:
    draw = np.random.default_rng(0)
    rules = one.manifest.preprocessing
    views = tuple(draw.standard_normal((pictures, r.views, 3, r.size_px, r.size_px)).astype(np.float32) for r in rules)
    (d1, y1), (d2, y2) = one.outputs(views), other.outputs(views)
    return Parity(pictures, float(np.abs(y1 - y2).max()), float(np.abs(d1 - d2).max()))
