"""CLIP image towers: the embedded ViT-B/16 in torch or onnxruntime, and any other open_clip model in torch."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendet_cli.plugin.api import (
    Backbone,
    BackboneSpec,
    Kind,
    OnnxRunner,
    Preprocessing,
    Runtime,
    SettingsError,
    TorchRunner,
    WeightsError,
    hookimpl,
    read_weights,
    require_hash,
    weights_folder,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EMBEDDED = "ViT-B-16-quickgelu/openai"
FOLDER = "clip-vit-b-16"
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
TRANSPOSED = "^T"
NATIVE = "@native"
TOKENS = "@tokens"
TOKEN_BLOCKS = 7
"""Class tokens after the last so many of the 12 blocks."""


class EmbeddedClip(Backbone):
    """CLIP ViT-B/16 of the whole picture, shrunk and centre-cropped to 224 px.

    Args:
        runtime: what it runs with.
        tokens: hand on the class tokens after blocks 6 to 12, each at unit length and one after the other (5,376
            values), instead of the image embedding (512).
    """

    def __init__(self, runtime: Runtime, *, tokens: bool = False) -> None:
        self.name = f"clip:{EMBEDDED}{TOKENS * tokens}"
        self._tokens = tokens
        self.dimension = TOKEN_BLOCKS * 768 if tokens else 512
        self.preprocessing = (Preprocessing("resize-crop", 224, 1, MEAN, STD),)
        self._folder = weights_folder(FOLDER)
        described = json.loads((self._folder / "backbone.json").read_text(encoding="utf-8"))
        self._hashes, self._external = described["sha256"], described["external"]
        self.weights_sha256 = self._hashes["weights.safetensors"]
        self._run = self._onnx(runtime.device) if runtime.kind == "onnx" else self._torch(runtime.device)

    def _weights(self) -> dict[str, NDArray[np.float32]]:
        return read_weights(self._folder / "weights.safetensors", self.weights_sha256)

    def _graph(self) -> bytes:
        path = self._folder / "graph.onnx"
        require_hash(path, self._hashes["graph.onnx"])
        return path.read_bytes()

    def _onnx(self, device: str) -> Any:
        weights = self._weights()
        runner = OnnxRunner(self._graph(), device, {name: _laid_out(weights, name) for name in self._external})
        return lambda views: runner.run(views, ["class_tokens" if self._tokens else "embedding"])

    def _torch(self, device: str) -> Any:
        import open_clip
        import torch

        logging.disable(logging.WARNING)  # open_clip warns of random weights, which the next line replaces, all of them
        try:
            visual = open_clip.create_model(EMBEDDED.split("/")[0], load_weights=False).visual
        finally:
            logging.disable(logging.NOTSET)
        visual.load_state_dict({name: torch.from_numpy(t) for name, t in self._weights().items()}, strict=True)
        return TorchRunner(_class_tokens(visual) if self._tokens else visual, device).run

    def features(self, views: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
        """Views ((B, 1, 3, 224, 224),) -> (B, D) float32: the embedding as it is, or the tokens at unit length."""
        import numpy as np

        (found,) = self._run(views[0][:, 0])
        if self._tokens:
            found = (found / np.linalg.norm(found, axis=2, keepdims=True)).reshape(len(found), -1)
        return found  # type: ignore[no-any-return]

    def onnx_models(self) -> tuple[Any, ...]:
        """The graph with its float32 weights inside: ``views`` (batch, 3, 224, 224) -> features (batch, D)."""
        import onnx
        from onnx import numpy_helper

        model = onnx.load_from_string(self._graph())
        weights = self._weights()
        for initializer in model.graph.initializer:
            if initializer.data_location == onnx.TensorProto.EXTERNAL:
                tensor = _laid_out(weights, initializer.name)
                initializer.CopyFrom(numpy_helper.from_array(tensor, initializer.name))
        return (_flat_tokens(model) if self._tokens else model,)


def _class_tokens(visual: Any) -> Any:
    """A module: views (B, 3, 224, 224) -> class tokens of the last blocks (B, 7, 768)."""
    import torch

    class ClassTokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = visual

        def forward(self, views: torch.Tensor) -> torch.Tensor:
            found = self.visual.forward_intermediates(
                views, indices=TOKEN_BLOCKS, output_extra_tokens=True, intermediates_only=True
            )
            return torch.cat(found["image_intermediates_prefix"], dim=1)

    return ClassTokens()


def _flat_tokens(model: Any) -> Any:
    """The graph with ``class_tokens`` as its one output, at unit length and flat, as the plugin gives them."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("LpNormalization", ["class_tokens"], ["unit_tokens"], axis=2, p=2),
        helper.make_node("Flatten", ["unit_tokens"], ["feature"], axis=1),
    ]
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    shape: list[str | int | None] = ["batch", TOKEN_BLOCKS * 768]
    model.graph.output.append(helper.make_tensor_value_info("feature", TensorProto.FLOAT, shape))
    return model


def _laid_out(weights: dict[str, NDArray[np.float32]], name: str) -> NDArray[np.float32]:
    """The tensor called ``name``; ``<name>^T`` is the transposed one."""
    tensor = weights[name.removesuffix(TRANSPOSED)]
    return tensor.T.copy() if name.endswith(TRANSPOSED) else tensor


class OpenClip(Backbone):
    """Any open_clip model's image embedding; weights from a file, or through open_clip where the network is allowed."""

    def __init__(self, model: str, tag: str, runtime: Runtime) -> None:
        import open_clip
        import torch

        if model not in open_clip.list_models():
            raise SettingsError(
                f"open_clip knows no model {model!r}", hint="python -c 'import open_clip; open_clip.list_models()'"
            )
        config = open_clip.get_pretrained_cfg(model, tag)
        if not config and not Path(tag).is_file():
            raise SettingsError(
                f"open_clip knows no weights {tag!r} for {model}",
                hint=f"use one of {', '.join(open_clip.list_pretrained_tags_by_model(model))} or a safetensors file",
            )
        _require_known_preparation(f"clip:{model}/{tag}", config or {})
        path = Path(tag) if Path(tag).is_file() else _downloaded(model, tag, config, runtime.allow_network)
        network = open_clip.create_model(
            model,
            pretrained=str(path),
            load_weights=True,
            weights_only=True,
            force_quick_gelu=bool((config or {}).get("quick_gelu")),  # a path alone loses what the tag says
        )
        visual = network.visual
        self.name = f"clip:{model}/{tag}"
        size = visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size
        mean, std = (tuple(config.get(key) or default) for key, default in (("mean", MEAN), ("std", STD)))
        self.preprocessing = (Preprocessing("resize-crop", size, 1, mean, std),)
        with path.open("rb") as stream:
            self.weights_sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self._runner = TorchRunner(visual, runtime.device)
        self.dimension = (
            visual(torch.zeros(1, 3, size, size)).shape[1] if runtime.device == "cpu" else visual.output_dim
        )

    def features(self, views: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
        """Views ((B, 1, 3, size, size),) -> (B, D) float32, not normalised."""
        (embedding,) = self._runner.run(views[0][:, 0])
        return embedding


def _require_known_preparation(name: str, config: dict[str, Any]) -> None:
    """Raises SettingsError where a model reads pictures in another way than the rule ``resize-crop``."""
    found = config.get("resize_mode") or "shortest", config.get("interpolation") or "bicubic"
    if found != ("shortest", "bicubic"):
        raise SettingsError(
            f"{name} was trained on pictures resized by {'/'.join(found)}, which gendet does not do",
            hint="use a model whose open_clip configuration says shortest/bicubic, as OpenAI's and LAION's do",
        )


def _downloaded(model: str, tag: str, config: dict[str, Any], allow_network: bool) -> Path:
    """The weights' file in open_clip's cache, downloaded only where that is allowed."""
    import open_clip
    from huggingface_hub import try_to_load_from_cache

    repository, _, file = (config.get("hf_hub") or "").rpartition("/")
    names = [file] if file else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    for name in names if repository else []:
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    by_url = Path("~/.cache/clip").expanduser() / Path(config.get("url") or "").name
    if not repository and by_url.is_file():
        return by_url
    if not allow_network:
        raise WeightsError(
            f"the weights {model}/{tag} are not on this machine",
            hint="allow the download with --allow-network, or name a safetensors file: clip:MODEL/PATH",
        )
    try:
        return Path(open_clip.download_pretrained(config))
    except Exception as error:
        raise WeightsError(
            f"cannot download {model}/{tag}: {error}", hint="check the network, or name a file"
        ) from error


def open_clip_backbone(variant: str, runtime: Runtime) -> Backbone:
    """``""`` or the embedded name: the weights that ship; ``<model>/<tag or file>``: open_clip, in torch.

    ``@tokens`` after the embedded name: class tokens for the embedding. With ``@native`` at the end the centre of the
    picture is cut without resizing, as UnivFD's own code does.
    """
    name = variant.removesuffix(NATIVE)
    model, _, tag = name.partition("/")
    if name.removesuffix(TOKENS) in ("", EMBEDDED):
        backbone: Backbone = EmbeddedClip(runtime, tokens=name.endswith(TOKENS))
    else:
        backbone = OpenClip(model, tag, runtime)
    if variant.endswith(NATIVE):
        backbone.name += NATIVE
        backbone.preprocessing = tuple(replace(part, rule="native-crops") for part in backbone.preprocessing)
    return backbone


def _runtimes(variant: str) -> tuple[Kind, ...]:
    return ("onnx", "torch") if variant.removesuffix(NATIVE).removesuffix(TOKENS) in ("", EMBEDDED) else ("torch",)


@hookimpl
def gendet_backbones() -> list[BackboneSpec]:
    """The ``clip`` family."""
    summary = f"CLIP image towers; default {EMBEDDED}, embedded"
    return [BackboneSpec("clip", summary, open_clip_backbone, _runtimes)]
