"""CLIP backbones: the embedded one in both runtimes, another open_clip model with weights made here, joined ones."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from gendet_cli.detector.backbones import JoinedBackbone, open_backbone
from gendet_cli.detector.files import sha256_of
from gendet_cli.errors import SettingsError, WeightsError
from gendet_cli.plugin.registry import Registry
from gendet_cli.plugin.specs import Runtime

SMALL = "ViT-S-32-alt"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry()


def noise(pictures: int, size: int = 224, views: int = 1) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((pictures, views, 3, size, size)).astype(np.float32)


def test_embedded_is_one_in_both_runtimes_and_a_row_is_its_own(registry: Registry) -> None:
    views = noise(3)
    features = {}
    for kind in ("onnx", "torch"):
        backbone = open_backbone("clip", Runtime(kind), registry)  # type: ignore[arg-type]
        assert (backbone.name, backbone.dimension) == ("clip:ViT-B-16-quickgelu/openai", 512)
        features[kind] = backbone.features((views,))
        assert np.array_equal(features[kind][1:2], backbone.features((views[1:2],)))
    assert features["onnx"] == pytest.approx(features["torch"], abs=1e-4)


def test_class_tokens_are_one_in_both_runtimes_and_in_the_graph(registry: Registry) -> None:
    views, tokens = noise(2), {}
    for kind in ("onnx", "torch"):
        backbone = open_backbone("clip:@tokens", Runtime(kind), registry)  # type: ignore[arg-type]
        assert (backbone.name, backbone.dimension) == ("clip:ViT-B-16-quickgelu/openai@tokens", 7 * 768)
        tokens[kind] = backbone.features((views,))
    assert tokens["onnx"] == pytest.approx(tokens["torch"], abs=1e-5)
    assert np.linalg.norm(tokens["torch"].reshape(2, 7, 768), axis=2) == pytest.approx(1, abs=1e-5)
    session = onnxruntime.InferenceSession(backbone_graph(registry))
    assert session.run(None, {"views": views[:, 0]})[0] == pytest.approx(tokens["onnx"], abs=1e-5)
    plain, visual = open_backbone("clip", Runtime("torch"), registry), clip_tower(registry)
    last = torch.nn.functional.layer_norm(torch.from_numpy(tokens["torch"][:, -768:]), (768,), eps=0)
    embedding = (last * visual.ln_post.weight + visual.ln_post.bias) @ visual.proj
    assert embedding.detach().numpy() == pytest.approx(plain.features((views,)), abs=1e-3)


def backbone_graph(registry: Registry) -> bytes:
    (model,) = open_backbone("clip:@tokens", Runtime(), registry).onnx_models()
    return model.SerializeToString()


def clip_tower(registry: Registry) -> torch.nn.Module:
    visual = open_clip.create_model("ViT-B-16-quickgelu", load_weights=False).visual
    weights = open_backbone("clip", Runtime("torch"), registry)._weights()
    visual.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in weights.items()})
    return visual


def test_another_model_with_weights_from_a_file(registry: Registry, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = open_clip.create_model(SMALL, load_weights=False).eval()
    file = tmp_path / "small.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, file)
    backbone = open_backbone(f"clip:{SMALL}/{file}", Runtime("torch"), registry)
    assert backbone.weights_sha256 == sha256_of(file)
    views = noise(2, backbone.preprocessing[0].size_px)
    with torch.inference_mode():
        expected = network.encode_image(torch.from_numpy(views[:, 0])).numpy()
    assert expected.shape[1] == backbone.dimension
    assert backbone.features((views,)) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(SettingsError):
        open_backbone(f"clip:{SMALL}/{file}", Runtime("onnx"), registry)


def test_weights_that_are_not_there_are_an_error_that_says_how_to_get_them(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as raised:
        open_backbone("clip:ViT-L-14/openai", Runtime("torch"), registry)
    assert "--allow-network" in raised.value.hint
    samples = str(Path(__file__).parent.parent / "samples")
    options = ["--real", samples, "--fake", samples, "--out", str(tmp_path / "d"), "--backbone", "clip:ViT-L-14/openai"]
    command = [sys.executable, "-m", "gendet_cli", "train", "--dataset", "folders", *options]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 4
    for name in ("clip:No-Such-Model/openai", "clip:ViT-L-14/no-such-tag"):
        with pytest.raises(SettingsError):
            open_backbone(name, Runtime("torch"), registry)


def test_joined_backbones_lie_side_by_side(registry: Registry) -> None:
    joined = open_backbone("clip+efficientnet-lite0", Runtime("torch"), registry)
    assert isinstance(joined, JoinedBackbone)
    parts = [open_backbone(name, Runtime("torch"), registry) for name in ("clip", "efficientnet-lite0")]
    views = (noise(1), noise(1, 224, 4))
    assert joined.dimension == sum(part.dimension for part in parts)
    expected = np.concatenate([part.features((view,)) for part, view in zip(parts, views, strict=True)], axis=1)
    assert np.array_equal(joined.features(views), expected)
