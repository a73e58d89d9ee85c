"""Methods by name beside GenDet: nearest neighbours, published linear layers, and networks trained end to end."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from gendet_plugins import finetune as finetune_plugin
from gendet_plugins import methods as methods_plugin
from gendet_plugins.finetune import FinetuneSettings, transform
from PIL import Image, ImageFilter
from sklearn.neighbors import KNeighborsClassifier

from gendet_cli.cli import main
from gendet_cli.config import EvaluateSettings, TrainSettings
from gendet_cli.data import degrade
from gendet_cli.data.layouts import Places, read_layout
from gendet_cli.detector import pretrained
from gendet_cli.detector.detector import load_detector, read_manifest, torch_module
from gendet_cli.detector.files import sha256_of
from gendet_cli.detector.whole import LogitOfScore, ScoredPixels
from gendet_cli.errors import PluginError, SettingsError, WeightsError
from gendet_cli.evaluate import open_detectors, predict
from gendet_cli.evaluation.predictions import Predictions
from gendet_cli.evaluation.protocols import PROTOCOLS
from gendet_cli.export import export_head
from gendet_cli.intake.prepare import prepare_all
from gendet_cli.model.finetuning import PixelFit, misfits, put_weights
from gendet_cli.model.methods import LinearSettings, build_linear
from gendet_cli.model.neighbours import SCALE, NeighbourHead, NeighbourSettings
from gendet_cli.model.training import Fit
from gendet_cli.plugin.registry import Registry
from gendet_cli.plugin.specs import Runtime
from gendet_cli.train import train
from gendet_cli.types import Prepared, Source

SAMPLES = Path(__file__).parent.parent / "samples"
NAMES = ("cat.png", "coffee.jpg", "temple.jpg", "castle.jpg")
BOXES = ((0, 0, 150, 130), (150, 60, 330, 240))
TINY = {"epochs": "2", "batch_size": "8", "size_px": "64", "lr": "0.003", "from_scratch": "yes"}
FILES = ("detector.json", "model.onnx", "model.safetensors")
COLOURS = """
    from gendet_cli.plugin.api import Backbone, BackboneSpec, Preprocessing, hookimpl

    class Colours(Backbone):
        name, dimension, weights_sha256 = "colours", 6, "0" * 64
        preprocessing = (Preprocessing("resize-crop", 64, 1, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),)

        def features(self, views):
            pixels = views[0].reshape(len(views[0]), 3, -1)
            import numpy as np

            return np.concatenate([pixels.mean(2), np.abs(np.diff(pixels)).mean(2)], 1)

    @hookimpl
    def gendet_backbones():
        return [BackboneSpec("colours", "mean colours and their changes", lambda variant, runtime: Colours())]
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight cuts of photographs of two sources, and the same ones blurred as two generators' fakes."""
    root = tmp_path_factory.mktemp("pictures")
    for index, name in enumerate(NAMES):
        with Image.open(SAMPLES / name) as opened:
            image = opened.convert("RGB")
        for number, box in enumerate(BOXES):
            cut = image.crop(box)
            for label, picture in (("real", cut), ("fake", cut.filter(ImageFilter.GaussianBlur(3)))):
                place = root / label / f"source-{index % 2}"
                place.mkdir(parents=True, exist_ok=True)
                picture.save(place / f"{index}-{number}.png")
    return root


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A backbone of six numbers, installed as anybody's plugin is."""
    site = tmp_path / "site"
    info = site / "colours-1.dist-info"
    info.mkdir(parents=True)
    (site / "colours_module.py").write_text(dedent(COLOURS), encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: colours\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[gendet]\ncolours = colours_module\n", encoding="utf-8")
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("colours_module", None)


def run(folders: Path, out: Path, method: str, *options: str) -> int:
    data = [
        "--real",
        str(folders / "real"),
        "--fake",
        str(folders / "fake"),
        "--features",
        str(out.parent / "features"),
    ]
    few = ["--copies", "1", "--folds", "2", "--device", "cpu", "-q"]
    return main(["train", "--dataset", "folders", *data, "--method", method, "--out", str(out), *few, *options])


def features() -> tuple[torch.Tensor, torch.Tensor]:
    """(40, 8) features and labels."""
    is_fake = (torch.arange(40) % 3 == 0).float()
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(3)) + is_fake[:, None]
    return x, is_fake


def linear_fit(settings: Any, x: torch.Tensor, is_fake: torch.Tensor, head: torch.nn.Module) -> Fit:
    return Fit(x, is_fake, torch.arange(len(x)), settings, head, 0, Path("unused"), lambda *_: None)


# --- univfd-knn ---


def test_the_logit_is_the_distance_to_the_nearest_real_minus_that_to_the_nearest_fake() -> None:
    head = NeighbourHead(2, NeighbourSettings(stored="float32"))
    head.store(torch.tensor([[2.0, 0.0], [0.0, 5.0], [3.0, 3.0]]), torch.tensor([0.0, 0.0, 1.0]))
    discrepancy, logit = head(torch.tensor([[1.0, 0.0], [4.0, 4.0]]))
    cos_45 = 2**-0.5
    torch.testing.assert_close(logit, SCALE * torch.tensor([(1 - 1) - (1 - cos_45), (1 - cos_45) - (1 - 1)]))
    assert torch.equal(discrepancy, torch.zeros(2))


@pytest.mark.parametrize("k", [1, 3])
def test_distances_are_those_of_scikit_learn(k: int) -> None:
    x, is_fake = features()
    head = NeighbourHead(8, NeighbourSettings(k, "float32"))
    head.store(x[:30], is_fake[:30])
    distance = {}
    for label in (0, 1):
        rows = x[:30][is_fake[:30] == label].numpy()
        model = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(rows, np.zeros(len(rows)))
        distance[label] = model.kneighbors(x[30:].numpy())[0].mean(axis=1)
    np.testing.assert_allclose(head(x[30:])[1], SCALE * (distance[0] - distance[1]), atol=1e-3)


def test_for_one_neighbour_the_sign_is_scikit_learn_s_decision() -> None:
    x, is_fake = features()
    head = NeighbourHead(8, NeighbourSettings())
    head.store(x[:30], is_fake[:30])
    assert head.real.dtype == torch.float16
    model = KNeighborsClassifier(1, metric="cosine").fit(x[:30].numpy(), is_fake[:30].numpy())
    assert ((head(x[30:])[1] > 0).numpy() == (model.predict(x[30:].numpy()) == 1)).all()


def test_stored_features_come_back_from_a_state_dict_and_from_onnx(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    x, is_fake = features()
    head = NeighbourHead(8, NeighbourSettings(k=2))
    head.store(x[:30], is_fake[:30])
    again = NeighbourHead(8, NeighbourSettings(k=2))
    again.load_state_dict(head.state_dict(), strict=True)
    assert torch.equal(again(x)[1], head(x)[1])
    export_head(head, (8,), tmp_path / "head.onnx")
    _, logit = onnxruntime.InferenceSession(tmp_path / "head.onnx").run(None, {"feature": x.numpy()})
    np.testing.assert_allclose(logit, head(x)[1], atol=1e-3)


def test_fewer_features_than_neighbours_are_refused() -> None:
    x, is_fake = features()
    with pytest.raises(ValueError, match="fewer than k = 30"):
        NeighbourHead(8, NeighbourSettings(k=30)).store(x, is_fake)
    with pytest.raises(ValueError, match="k must be at least 1"):
        NeighbourSettings(k=0)


@pytest.mark.usefixtures("colours")
def test_neighbours_train_and_score_like_any_method(folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "knn"
    assert run(folders, out, "univfd-knn", "--backbone", "colours", "--set", "k=2") == 0
    assert run(folders, tmp_path / "again" / "knn", "univfd-knn", "--backbone", "colours", "--set", "k=2") == 0
    assert [sha256_of(out / f) for f in FILES] == [sha256_of(tmp_path / "again" / "knn" / f) for f in FILES]
    logits = [logit_of(out, runtime) for runtime in ("onnx", "torch")]
    assert logits[0] == pytest.approx(logits[1], abs=1e-3)


def logit_of(detector: Path, runtime: str) -> float:
    """Of the middle of a sample."""
    loaded = load_detector(str(detector), runtime, "cpu", Registry())
    with Image.open(SAMPLES / "rocket.jpg") as opened:
        views = prepare_all(opened.convert("RGB"), loaded.manifest.preprocessing)
    picture = Prepared(Source("a", "a"), "0" * 64, "JPEG", 200, 200, (), views)
    return loaded.score([picture])[0].logit


# --- published weights ---


@pytest.fixture
def fc_weights(tmp_path: Path) -> Path:
    """A linear layer over six features, saved as UnivFD's ``fc_weights.pth`` is."""
    layer = torch.nn.Linear(6, 1)
    path = tmp_path / "fc_weights.pth"
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0.0, 0.0, -40.0, -40.0, -40.0]]))
        layer.bias.fill_(3.0)
    torch.save(layer.state_dict(), path)
    return path


@pytest.mark.usefixtures("colours")
def test_a_published_linear_layer_becomes_a_calibrated_detector(
    fc_weights: Path, folders: Path, tmp_path: Path
) -> None:
    out = tmp_path / "univfd"
    sha256 = sha256_of(fc_weights)
    told = ["--set", f"weights={fc_weights}", "--set", f"weights_sha256={sha256}", "--backbone", "colours"]
    assert run(folders, out, "univfd-linear", *told) == 0
    manifest = json.loads((out / "detector.json").read_text(encoding="utf-8"))
    assert manifest["training"]["weights_sha256"] == sha256
    assert manifest["training"]["held_out_auc"] > 0.7  # blurred pictures change less from pixel to pixel
    fc_weights.unlink()  # the detector does not need the file
    assert logit_of(out, "torch") == pytest.approx(logit_of(out, "onnx"), abs=1e-3)


def test_a_published_layer_reads_features_as_they_are(fc_weights: Path) -> None:
    settings = LinearSettings(weights=str(fc_weights))
    x = features()[0][:, :6] * 7
    head = build_linear(settings, 6)
    facts = methods_plugin.fit_linear(linear_fit(settings, x, features()[1], head))
    torch.testing.assert_close(head(x)[1], -40 * x[:, 3:].sum(1) + 3)
    assert facts == {"pretrained": True, "weights_sha256": sha256_of(fc_weights)}


def test_a_layer_of_another_dimension_says_so(fc_weights: Path) -> None:
    settings, (x, is_fake) = LinearSettings(weights=str(fc_weights)), features()
    with pytest.raises(WeightsError, match=r"weight is \(1, 6\), not \(1, 8\)"):
        methods_plugin.fit_linear(linear_fit(settings, x, is_fake, build_linear(settings, 8)))


def test_a_file_of_another_hash_is_refused(fc_weights: Path) -> None:
    with pytest.raises(WeightsError, match="sha256"):
        pretrained.read_state(fc_weights, "0" * 64)


def test_clip_on_native_pixels_is_a_backbone_of_its_own_name() -> None:
    """UnivFD's released layer was trained on 224-px cuts of pictures that were not resized."""
    family = Registry().backbone("clip")
    native = family.open("@native", Runtime("onnx"))
    assert native.name == "clip:ViT-B-16-quickgelu/openai@native"
    assert [(part.rule, part.size_px, part.views) for part in native.preprocessing] == [("native-crops", 224, 1)]
    again = family.open(native.name.partition(":")[2], Runtime("onnx"))
    assert (again.name, again.preprocessing) == (native.name, native.preprocessing)
    assert family.runtimes("@native") == family.runtimes("") == ("onnx", "torch")
    assert family.runtimes("ViT-L-14/openai@native") == ("torch",)


class Stranger:
    """Something that only a pickle could bring back."""


@pytest.mark.parametrize("content", [Stranger(), [torch.zeros(1)], {"weight": 3}])
def test_what_is_no_state_dict_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"x\.pth"):
        pretrained.read_state(tmp_path / "x.pth")


def test_a_file_that_is_no_weights_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_text("hello", encoding="utf-8")
    with pytest.raises(WeightsError, match="cannot be read safely"):
        pretrained.read_state(tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="cannot read"):
        pretrained.read_state(tmp_path / "nowhere.pth")


def test_misfits_are_listed_by_kind() -> None:
    state = {"a": torch.zeros(2), "c": torch.zeros(1)}
    found = misfits(state, {"a": (3,), "b": (1,)})
    assert found == ["missing: b", "unexpected: c", "shapes: a is (2,), not (3,)"]
    assert misfits({"a": torch.zeros(3)}, {"a": (3,)}) == []


# --- trained end to end ---


def fit_pixels(
    folders: Path, out: Path, seed: int = 0, *, resume: bool = False, method: str = "finetune:test_resnet", **more: Any
) -> dict[str, Any]:
    settings = TrainSettings(
        method,
        "clip",
        seed,
        out,
        out.parent / "features",
        device="cpu",
        folds=2,
        resume=resume,
        overrides=TINY | more.pop("overrides", {}),
    )
    records = read_layout("folders", Places(None, folders / "real", folders / "fake"), "train")
    return train(records, settings, Registry(), progress=more.get("progress", lambda *_: None), note=lambda _: None)


@pytest.fixture(scope="module")
def trained(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one") / "d"
    fit_pixels(folders, out)
    return out


def test_the_manifest_says_what_was_trained(trained: Path) -> None:
    manifest = json.loads((trained / "detector.json").read_text(encoding="utf-8"))
    assert manifest["method"] == "finetune:test_resnet"
    assert manifest["backbone"]["name"] == "pixels:native-crops-64"
    assert manifest["training"]["pretrained"] is False
    assert manifest["training"]["pictures"] == {"fake": 8, "real": 8}
    assert manifest["settings"]["augment"] == "training"
    assert not (trained / "work").exists()


def test_a_resumed_training_gives_the_bits_of_one_in_one_go(trained: Path, folders: Path, tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("final: epoch 2"):
            raise KeyboardInterrupt

    out = tmp_path / "d"
    with pytest.raises(KeyboardInterrupt):
        fit_pixels(folders, out, progress=stop)
    assert {path.name for path in (out / "work").iterdir()} >= {"fold-1.safetensors", "final.safetensors"}
    with pytest.raises(SettingsError, match="other settings"):
        fit_pixels(folders, out, resume=True, overrides={"lr": "0.001"})
    fit_pixels(folders, out, resume=True)
    assert [sha256_of(out / file) for file in FILES] == [sha256_of(trained / file) for file in FILES]


def test_torch_onnx_and_the_exported_file_score_alike(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "whole.onnx"
    assert main(["export-onnx", "--detector", str(trained), "--out", str(file)]) == 0
    logits = [logit_of(trained, "torch"), logit_of(trained, "onnx"), logit_of(file, "auto")]
    assert logits == pytest.approx([logits[0]] * 3, abs=1e-3)
    code = main(["scan", str(SAMPLES / "rocket.jpg"), "--detector", str(trained), "--device", "cpu", "-q"])
    assert code in (0, 1, 3)


def test_scores_are_stored_by_evaluate_and_used_again(trained: Path, folders: Path, tmp_path: Path) -> None:
    records = read_layout("folders", Places(None, folders / "real", folders / "fake"), "dev")
    settings = EvaluateSettings(tmp_path, device="cpu")

    def measure() -> Predictions:
        return predict(
            records,
            PROTOCOLS["folders"],
            open_detectors([str(trained)], Registry(), settings, lambda _: None),
            settings,
            dataset="folders",
            split="dev",
            leak="",
            progress=lambda *_: None,
            note=lambda _: None,
        )

    first = measure()
    shards = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("shard-*")}
    assert len(shards) == len(PROTOCOLS["folders"].transforms)
    assert measure().table.equals(first.table)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("shard-*")} == shards
    assert np.isnan(first.table["discrepancy"].to_numpy()).all()
    assert len(set(first.table["logit"].to_pylist())) > 8


def test_a_stored_score_is_the_logit(trained: Path) -> None:
    manifest = read_manifest(trained)
    pixels = Registry().backbone("pixels").open("native-crops-64", Runtime("torch"))
    head = torch_module(trained, manifest, Registry()).eval()
    views = np.random.default_rng(0).random((3, 1, 3, 64, 64), np.float32)
    with torch.inference_mode():
        expected = head(torch.from_numpy(views[:, 0]))[1] * 1
        stored = ScoredPixels(pixels, head, manifest, "cpu").features((views,)).astype(np.float16)
        _, logit = LogitOfScore()(torch.from_numpy(stored.astype(np.float32)))
    torch.testing.assert_close(logit, expected, atol=2e-6, rtol=2e-6)
    assert (stored[:, 1] != 0).any()  # what float16 alone would have lost


@pytest.mark.parametrize("model", ["test_vit", "test_efficientnet"])
def test_other_networks_give_a_logit_at_any_size_and_export(model: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    spec = Registry().method(f"finetune:{model}")
    head = spec.build(FinetuneSettings(size_px=64), 3 * 64 * 64).eval()
    views = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        discrepancy, logit = head(views)
    assert (discrepancy.shape, logit.shape) == ((3,), (3,))
    export_head(head, (3, 64, 64), tmp_path / "head.onnx")
    _, exported = onnxruntime.InferenceSession(tmp_path / "head.onnx").run(None, {"feature": views.numpy()})
    np.testing.assert_allclose(exported, logit, atol=1e-4)


def test_a_picture_that_vanishes_while_training_stops_it(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders, tmp_path / "copy")

    def remove(what: str, done: int, total: int) -> None:
        if what == "reading pictures" and done == total:
            (tmp_path / "copy" / "real" / "source-0" / "0-0.png").unlink()

    with pytest.raises(SettingsError, match="could be read before"):
        fit_pixels(tmp_path / "copy", tmp_path / "d", progress=remove)


def pixel_fit(settings: FinetuneSettings, head: torch.nn.Module, folder: Path, **more: Any) -> PixelFit:
    draw = torch.Generator().manual_seed(1)
    pictures = torch.rand(9, 3, 32, 32, generator=draw)

    def views(transform: str, order: Any) -> Iterator[torch.Tensor]:
        return (pictures[row] for row in order)

    labels = (torch.arange(9) % 2).float()
    return PixelFit(views, labels, "data", settings, head, 0, folder / "c.safetensors", lambda *_: None, **more)


def build(settings: FinetuneSettings, model: str = "test_resnet") -> torch.nn.Module:
    return finetune_plugin.build(model, settings, 0)


def test_without_pretrained_weights_nothing_is_trained_from_scratch_unasked(tmp_path: Path) -> None:
    settings = FinetuneSettings(size_px=32)
    with pytest.raises(WeightsError, match="not on this machine") as raised:
        finetune_plugin.fit("test_resnet", pixel_fit(settings, build(settings), tmp_path))
    assert "from_scratch=yes" in raised.value.hint
    assert "--allow-network" in raised.value.hint


def test_a_file_of_weights_is_where_training_starts(tmp_path: Path) -> None:
    """As CNNDet's own: the state lies under ``model``, beside the optimizer's; no epoch leaves it as it is."""
    start = build(FinetuneSettings()).network
    state = {f"module.{name}": tensor for name, tensor in start.state_dict().items()}
    torch.save({"model": state, "optimizer": {"lr": 1e-4}, "total_steps": 3}, tmp_path / "w.pth")
    settings = FinetuneSettings(epochs=0, weights=str(tmp_path / "w.pth"), size_px=32)
    head = build(settings)
    facts = finetune_plugin.fit("test_resnet", pixel_fit(settings, head, tmp_path))
    assert facts == {"pretrained": True, "weights_sha256": sha256_of(tmp_path / "w.pth")}
    for name, tensor in start.state_dict().items():
        assert torch.equal(head.network.state_dict()[name], tensor), name
    settings = FinetuneSettings(epochs=0, weights=str(tmp_path / "w.pth"), size_px=32)
    with pytest.raises(WeightsError, match=r"missing: .*unexpected: ") as raised:
        finetune_plugin.fit("test_vit", pixel_fit(settings, build(settings, "test_vit"), tmp_path))
    assert "test_vit" in raised.value.message


def test_pretrained_weights_fill_everything_but_the_classifier() -> None:
    head = build(FinetuneSettings(), "tf_efficientnet_lite0")
    before = head.network.classifier.weight.clone()
    state = pretrained.pretrained_state("tf_efficientnet_lite0", 224, allow_network=False)
    put_weights(head.network, state, leave=pretrained.classifier_of("tf_efficientnet_lite0"))
    assert torch.equal(head.network.classifier.weight, before)
    assert head.network.classifier.weight.shape[0] == 1
    assert torch.equal(head.network.conv_stem.weight, state["conv_stem.weight"])


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_training_learns_and_a_lone_last_picture_joins_its_neighbours(optimizer: str, tmp_path: Path) -> None:
    settings = FinetuneSettings(
        epochs=4, batch_size=4, from_scratch="yes", size_px=32, optimizer=optimizer, lr=0.01, augment="none"
    )
    losses: list[tuple[int, float]] = []
    fit = pixel_fit(settings, build(settings), tmp_path)
    object.__setattr__(fit, "progress", lambda epoch, done, total, loss: losses.append((done, loss)))
    finetune_plugin.fit("test_resnet", fit)
    assert [done for done, _ in losses] == [4, 9] * 4
    assert losses[-1][1] < losses[1][1]


def test_an_epoch_has_a_transform_of_its_own() -> None:
    assert transform(FinetuneSettings(), 3) == "training:3+crop-224:3"
    assert transform(FinetuneSettings(augment="none", size_px=96), 0) == "crop-96:0"
    assert transform(FinetuneSettings(augment="cnndet", p=0.1), 2) == "cnndet-0.1:2+crop-224:2"


def test_cnndet_is_a_resnet_50_with_blur_and_jpeg() -> None:
    spec = Registry().method("cnndet")
    settings = spec.settings()
    assert (settings.augment, settings.p, settings.optimizer, settings.lr) == ("cnndet", 0.5, "adam", 1e-4)
    assert spec.pixels is not None
    assert spec.pixels(settings) == "native-crops-224"
    head = spec.build(settings, 3 * 224 * 224)
    assert sum(p.numel() for p in head.parameters()) == 23_508_032 + 2_049  # torchvision's without fc, and one output


def draws(operation: Callable[[Image.Image, str], Image.Image], image: Image.Image) -> list[bytes]:
    return [operation(image, f"{number:064d}").tobytes() for number in range(200)]


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_cnndet_leaves_a_picture_with_probability_1_p_squared(p: float) -> None:
    with Image.open(SAMPLES / "cat.png") as opened:
        image = opened.convert("RGB").crop((100, 100, 116, 116))
    found = draws(degrade.transform(f"cnndet-{p}:0"), image)
    same = sum(data == image.tobytes() for data in found) / len(found)
    assert same == pytest.approx((1 - p) ** 2, abs=0.1)
    assert found == draws(degrade.transform(f"cnndet-{p}:0"), image)
    assert found != draws(degrade.transform(f"cnndet-{p}:1"), image)


def test_crops_are_squares_of_the_picture_or_their_mirror_images() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    windows = [pixels[top : top + 8, left : left + 8] for top in range(5) for left in range(2)]
    expected = {w.tobytes() for w in windows} | {np.ascontiguousarray(w[:, ::-1]).tobytes() for w in windows}
    assert set(draws(degrade.transform("crop-8:0"), Image.fromarray(pixels))) == expected
    whole = degrade.transform("crop-10:0")(Image.fromarray(pixels), "0" * 64)
    assert whole.size == (9, 10)  # a shorter side is left


def test_transforms_joined_by_a_plus_are_applied_in_turn() -> None:
    with Image.open(SAMPLES / "cat.png") as opened:
        image = opened.convert("RGB")
    one, other = degrade.transform("training:1"), degrade.transform("crop-64:1")
    expected = other(one(image, "0" * 64), "0" * 64).tobytes()
    assert degrade.transform("training:1+crop-64:1")(image, "0" * 64).tobytes() == expected


def test_families_and_their_variants() -> None:
    registry = Registry()
    with pytest.raises(PluginError, match="needs a variant") as raised:
        registry.method("finetune")
    assert "finetune:resnet50" in raised.value.hint
    with pytest.raises(PluginError, match="has no variant 'x'"):
        registry.method("gendet:x")
    with pytest.raises(SettingsError, match="timm knows no model 'resnet5'") as unknown:
        registry.method("finetune:resnet5")
    assert "resnet" in unknown.value.hint
    assert "method finetune:…" in registry.plugins["finetune"].offers


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("optimizer=sdg", "optimizer"),
        ("augment=blur", "augment"),
        ("p=2", "p lies"),
        ("from_scratch=maybe", "yes or no"),
    ],
)
def test_wrong_settings_are_told(setting: str, said: str, folders: Path, tmp_path: Path, capsys: Any) -> None:
    assert run(folders, tmp_path / "d", "finetune:test_resnet", "--set", setting) == 2
    assert said in capsys.readouterr().err


def test_pixels_are_no_features_for_a_head(folders: Path, tmp_path: Path, capsys: Any) -> None:
    assert run(folders, tmp_path / "d", "univfd-knn", "--backbone", "pixels:native-crops-64") == 2
    assert "hands on pictures" in capsys.readouterr().err
    assert run(folders, tmp_path / "e", "univfd-knn", "--backbone", "pixels:64") == 2
    assert "no variant '64'" in capsys.readouterr().err


def test_the_pixels_backbone_is_the_identity() -> None:
    backbone = Registry().backbone("pixels").open("native-crops-8", Runtime())
    views = np.random.default_rng(0).random((2, 1, 3, 8, 8), np.float32)
    assert (backbone.features((views,)) == views[:, 0]).all()
    assert backbone.feature_shape == (3, 8, 8)
    assert backbone.dimension == 192
