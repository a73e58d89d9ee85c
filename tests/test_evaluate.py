"""``gendet evaluate``: predictions, then figures from them alone; every protocol on real pictures in miniature."""

import csv
import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from textwrap import dedent
from typing import Any

import miniature
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import accuracy_score, average_precision_score, recall_score, roc_auc_score

from gendet_cli.cli import main
from gendet_cli.data.benchmarks import GENIMAGE_SUBSETS, UFD_SETS
from gendet_cli.data.degrade import recipe, recompress, transform
from gendet_cli.data.layouts import Places, Record, read_layout
from gendet_cli.detector.calibration import Calibration
from gendet_cli.detector.files import sha256_of
from gendet_cli.errors import ReportError, SettingsError
from gendet_cli.evaluation.bootstrap import Weighted, multiplicities, units
from gendet_cli.evaluation.metrics import best_threshold, paired_difference, separation, set_figures, tpr_at_fpr
from gendet_cli.evaluation.paper import TITLES, beside, plain_name, published, sweep_pairs
from gendet_cli.evaluation.predictions import SCHEMA, read_predictions
from gendet_cli.evaluation.protocols import PROTOCOLS, Condition, Protocol, kept, read_protocol
from gendet_cli.evaluation.thresholds import thresholds_of
from gendet_cli.model.training import seeded
from gendet_cli.plugin.registry import Registry
from gendet_cli.types import Preprocessing

DATA = os.environ.get("GENDET_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="GENDET_DATA is not set: no gendet open set")
SAMPLES = Path(__file__).parent.parent / "samples"
PREPROCESSING = Preprocessing("resize-crop", 32, 1, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PLUGIN = """
    from gendet_cli.plugin.api import Backbone, BackboneSpec, Preprocessing, hookimpl

    class Colours(Backbone):
        name, dimension, weights_sha256 = "tiny-colours", 6, "0" * 64
        preprocessing = (Preprocessing("resize-crop", 32, 1, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),)

        def features(self, views):
            pixels = views[0].reshape(len(views[0]), 3, -1)
            return __import__("numpy").concatenate([pixels.mean(axis=2), pixels.std(axis=2)], axis=1)

    @hookimpl
    def gendet_backbones():
        return [BackboneSpec("tiny-colours", "mean and deviation of colours", lambda variant, runtime: Colours())]
"""
SHA = "ab" * 32


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory):
    """The tiny backbone, installed like anybody's plugin."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "tiny_colours_module.py").write_text(dedent(PLUGIN), encoding="utf-8")
    info = folder / "tiny_colours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-colours\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[gendet]\ntiny-colours = tiny_colours_module\n", encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("tiny_colours_module", None)


Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make_detector(site: Path) -> Make:
    """Untrained networks of any method over the tiny backbone, as a detector on disk."""

    def make(folder: Path, method: str = "gendet", groups: tuple[str, ...] = (), **settings: Any) -> Path:
        spec = Registry().method(method)
        chosen = replace(spec.settings(), **settings)
        head = seeded(lambda: spec.build(chosen, 6), 0, "head")
        folder.mkdir(parents=True)
        save_file(head.state_dict(), folder / "model.safetensors")
        values = {
            "format": 1,
            "name": folder.name,
            "method": method,
            "has_discrepancy": spec.has_discrepancy,
            "settings": settings,
            "seed": 0,
            "backbone": {
                "name": "tiny-colours",
                "weights_sha256": "0" * 64,
                "dimension": 6,
                "preprocessing": [PREPROCESSING.to_json()],
            },
            "calibration": {"slope": 2.0, "intercept": 0.1, "cap_low": -2.0, "cap_high": 2.0},
            "thresholds": {"flagged": 0.1, "clear": -0.1, "flagged_fpr": 0.01, "clear_fnr": 0.1, "min_side_px": 64},
            "training": {"groups": list(groups), "pictures": {"real": 1, "fake": 1}, "data_sha256": "0" * 64},
            "files": {"model.safetensors": sha256_of(folder / "model.safetensors")},
        }
        (folder / "detector.json").write_text(json.dumps(values), encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trees")
    miniature.genimage(root / "genimage", 2)
    miniature.universalfakedetect(root / "ufd", 2)
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


def evaluated(out: Path, store: Path, *options: str) -> dict[str, Any]:
    """figures.json of a run that must succeed, after the figures were computed anew from the table alone."""
    assert main(["evaluate", "--out", str(out), "--features", str(store), "-q", *options]) == 0
    again = out.with_name(f"{out.name}-again")
    assert main(["evaluate", "--from", str(out), "--out", str(again), "-q", "--no-plots"]) == 0
    text = (out / "figures.json").read_text(encoding="utf-8")
    assert (again / "figures.json").read_text(encoding="utf-8") == text
    assert (again / "predictions.csv").read_bytes() == (out / "predictions.csv").read_bytes()
    return json.loads(text)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


# The protocols, whole


@needs_data
def test_universalfakedetect(make_detector: Make, trees: Path, store: Path, tmp_path: Path, capsys: Any) -> None:
    detector = make_detector(tmp_path / "mini")
    options = ["--protocol", "universalfakedetect", "--data-root", str(trees / "ufd"), "--detector", str(detector)]
    figures = evaluated(tmp_path / "out", store, *options)
    names = [condition["name"] for condition in figures["conditions"]]
    assert names == ["as published", "raw", "fakes aligned", "both aligned", "web", "hard"]
    assert [result["condition"] for result in figures["results"]] == names
    assert all(set(result["sets"]) == set(UFD_SETS) for result in figures["results"])
    rules = {rule["rule"]: rule for rule in next(iter(figures["thresholds"].values()))}
    assert list(rules) == ["0.5", "validation", "shipped", "oracle"]
    assert "validation split" in rules["validation"]["how"]
    assert [name for name, rule in rules.items() if rule["oracle"]] == ["oracle"]
    _check_against_the_rows(tmp_path / "out", figures)
    said = capsys.readouterr().out
    assert "Table 1: average precision" in said
    assert "Table 2: accuracy" in said
    assert "*oracle*" in said
    assert "95.6" in said  # the paper's mAP of GenDet
    assert max(map(len, said.splitlines())) <= 80
    rows = rows_of(tmp_path / "out")
    assert Counter(row["transform"] for row in rows).keys() == {"centre-224", "raw", "aligned", "web", "hard"}
    assert {row["split"] for row in rows} == {"test", "val"}
    shared = [row for row in rows if row["path"].endswith("laion/0_real/000.jpg") and row["transform"] == "raw"]
    assert len(shared) == 7  # one of each set that shares it
    assert len({row["logit"] for row in shared}) == 1
    pictures = figures["results"][1]["pictures"]
    assert pictures["real"] == len({row["path"] for row in rows if row["label"] == "real" and row["split"] == "test"})


def _check_against_the_rows(out: Path, figures: dict[str, Any]) -> None:
    """Every set's figures by scikit-learn from the CSV file."""
    rows = rows_of(out)
    thresholds = {rule["rule"]: rule["logit"] for rule in next(iter(figures["thresholds"].values()))}
    conditions = {condition["name"]: condition for condition in figures["conditions"]}
    for result in figures["results"]:
        condition = conditions[result["condition"]]
        shown = {"fake": condition["fake"], "real": condition["other"], "art": condition["other"]}
        for name, values in result["sets"].items():
            mine = [
                row
                for row in rows
                if row["split"] == figures["split"]
                and row["transform"] == shown[row["label"]]
                and row["subset"] in (name, "")
            ]
            fake = np.array([row["label"] == "fake" for row in mine])
            logit = np.array([float(row["logit"]) for row in mine])
            assert values["pictures"]["fake"] == fake.sum()
            assert values["average_precision"]["value"] == pytest.approx(average_precision_score(fake, logit))
            assert values["auc"]["value"] == pytest.approx(roc_auc_score(fake, logit))
            for rule, threshold in thresholds.items():
                found = values["thresholds"][rule]
                said = logit >= (found["threshold"] if threshold is None else threshold)
                assert found["accuracy"]["value"] == pytest.approx(accuracy_score(fake, said))
                assert found["tpr"]["value"] == pytest.approx(recall_score(fake, said))
                assert found["tnr"]["value"] == pytest.approx(recall_score(~fake, ~said))
                assert found["accuracy"]["value"] <= values["thresholds"]["oracle"]["accuracy"]["value"] + 1e-12
        for key in ("average_precision", "auc"):
            assert result["mean"][key]["value"] == pytest.approx(
                np.mean([values[key]["value"] for values in result["sets"].values()])
            )


@needs_data
def test_genimage_and_what_was_seen(make_detector: Make, trees: Path, store: Path, tmp_path: Path, capsys: Any) -> None:
    detector = make_detector(tmp_path / "mini", groups=("imagenet_ai_0419_sdv4", "nature/imagenet_ai_0419_sdv4"))
    options = ["--protocol", "genimage", "--data-root", str(trees / "genimage"), "--detector", str(detector)]
    figures = evaluated(tmp_path / "out", store, *options)
    headline = next(result for result in figures["results"] if result["condition"] == figures["headline"] == "raw")
    assert set(headline["sets"]) == set(GENIMAGE_SUBSETS.values())
    _check_against_the_rows(tmp_path / "out", figures)
    said = capsys.readouterr().out
    assert "Table 3: accuracy, GenImage (percent; accuracy at the threshold `0.5`)" in said
    assert "81.6" in said
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<td>fake/imagenet_ai_0419_sdv4</td><td>2</td><td>yes</td>" in html
    assert "<td>fake/imagenet_midjourney</td><td>2</td><td>no</td>" in html
    svg = (tmp_path / "out" / "plots" / "discrepancy.svg").read_text(encoding="utf-8")
    assert "seen fake (2)" in svg
    assert "unseen fake (14)" in svg


@needs_data
def test_degraded(make_detector: Make, trees: Path, store: Path, tmp_path: Path, capsys: Any) -> None:
    detectors = [make_detector(tmp_path / "a"), make_detector(tmp_path / "b", "teacher")]
    options = ["--protocol", "degraded", "--data-root", str(trees / "genimage")]
    options += [part for detector in detectors for part in ("--detector", str(detector))]
    figures = evaluated(tmp_path / "out", store, *options)
    assert all(set(result["sets"]) == {"SD V1.4"} for result in figures["results"])
    degradations = [c for c in figures["conditions"] if c["degradation"]]
    assert len(degradations) == 18
    assert {c["degradation"] for c in degradations} == set(published("table4_degraded_acc")["GenDet"]) - {"avg_acc"}
    said = capsys.readouterr().out
    assert "Table 4" in said
    assert "87.6" in said
    assert (tmp_path / "out" / "plots" / "degradations.png").is_file()
    curves = (tmp_path / "out" / "plots" / "degradation-curves.svg").read_text(encoding="utf-8")
    assert "CNNDet, published" in curves
    assert "raw" in curves
    rows = rows_of(tmp_path / "out")
    by_method = {row["detector"].split("@")[0]: row["discrepancy"] for row in rows}
    assert by_method["b"] == ""  # a teacher has no discrepancy
    assert float(by_method["a"]) >= 0
    assert {"aligned+lr-112", "lr-64", "jpeg-30", "aligned+blur-5"} <= {row["transform"] for row in rows}


@needs_data
def test_sweep_of_given_detectors_stands_beside_table_5(
    make_detector: Make, trees: Path, store: Path, tmp_path: Path, capsys: Any
) -> None:
    detectors = [
        make_detector(tmp_path / f"m{margin}", margin=margin, alpha=0.1, tokens=tokens)
        for margin, tokens in ((2.0, 4), (4.0, 2))
    ]
    options = ["--protocol", "sweep", "--data-root", str(trees / "ufd"), "--condition", "as published"]
    options += [part for detector in detectors for part in ("--detector", str(detector))]
    evaluated(tmp_path / "out", store, *options)
    said = capsys.readouterr().out
    assert "M 4, alpha 0.1 (m4.0@" in said
    assert "paper: M 4, alpha 0.1" in said


def test_sweep_trains_a_detector_a_pair(
    site: Path, store: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep_pairs() == [(2, 0.01), (2, 0.1), (2, 1), (1, 0.1), (4, 0.1)]
    monkeypatch.setattr("gendet_cli.sweep.sweep_pairs", lambda: [(2.0, 0.01), (4.0, 0.1)])
    draw = np.random.default_rng(0)
    for label, brightness in (("real", 170), ("fake", 60)):
        for source in "ab":
            (tmp_path / label / source).mkdir(parents=True)
            for number in range(3):
                pixels = draw.normal(brightness, 30, (40, 40, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / label / source / f"{number}.png")
    config = tmp_path / "sweep.toml"
    settings = "rotations = 1\nteacher_epochs = 20\nclassifier_epochs = 20\nteacher_lr = 1e-3\nclassifier_lr = 1e-3"
    config.write_text(f'backbone = "tiny-colours"\nfolds = 2\n\n[settings]\n{settings}\n', encoding="utf-8")
    out = tmp_path / "out"
    data = ["--dataset", "folders", "--real", str(tmp_path / "real"), "--fake", str(tmp_path / "fake")]
    sweep = ["--protocol", "sweep", *data, "--config", str(config), "--condition", "raw", "--no-plots"]
    figures = evaluated(out, store, *sweep)
    pairs = [(d["settings"]["margin"], d["settings"]["alpha"]) for d in figures["detectors"].values()]
    assert pairs == [(2, 0.01), (4, 0.1)]
    models = {path.parent.name: path.stat().st_mtime_ns for path in out.rglob("detector.json")}
    evaluated(out, store, *sweep)  # what is trained is not trained again
    assert {path.parent.name: path.stat().st_mtime_ns for path in out.rglob("detector.json")} == models
    extra = tmp_path / "real" / "a" / "more.png"
    Image.fromarray(pixels).save(extra)
    assert main(["evaluate", *sweep, "--features", str(store), "--out", str(out), "-q"]) == 2
    assert "other data" in capsys.readouterr().err
    extra.unlink()
    config.write_text(config.read_text(encoding="utf-8").replace("rotations = 1", "rotations = 2"), encoding="utf-8")
    capsys.readouterr()
    assert main(["evaluate", *sweep, "--features", str(store), "--out", str(out), "-q"]) == 2
    assert "other settings" in capsys.readouterr().err
    assert main(["evaluate", *sweep, "--features", str(store), "-q"]) == 2
    assert "--out" in capsys.readouterr().err


@needs_data
def test_cross_takes_each_generator_against_all_reals(
    make_detector: Make, store: Path, tmp_path: Path, capsys: Any
) -> None:
    records = read_layout("open-set", Places(Path(str(DATA))), "train")
    _copy([r for r in records if r.label == "real"][:4], tmp_path / "real" / "imagenet")
    fakes = [r for r in records if r.label == "fake"]
    for place, name in enumerate(("IF", "CogView2", "StyleGAN")):
        _copy(fakes[3 * place : 3 * place + 3], tmp_path / "fake" / name)
    detector = make_detector(tmp_path / "mini")
    data = ["--real", str(tmp_path / "real"), "--fake", str(tmp_path / "fake"), "--detector", str(detector)]
    figures = evaluated(tmp_path / "out", store, "--protocol", "cross", *data)
    for result in figures["results"]:
        assert {name: values["pictures"] for name, values in result["sets"].items()} == {
            name: {"real": 4, "fake": 3} for name in ("IF", "CogView2", "StyleGAN")
        }
    said = capsys.readouterr().out
    assert "Table 6" in said
    assert "Table 7" in said
    assert "98.3" in said


def _copy(records: list[Record], folder: Path) -> None:
    folder.mkdir(parents=True)
    for record in records:
        shutil.copy(record.path, folder)


@pytest.fixture(scope="module")
def small_open_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some rows of the open set's index, with their pictures; one picture is listed twice, one is damaged."""
    root = tmp_path_factory.mktemp("open")
    with (Path(str(DATA)) / "index.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "dev"]
    chosen = []
    for label in ("real", "art", "fake"):
        sources = sorted({row["source"] for row in rows if row["label"] == label})[:3]
        for source in sources:
            unique = list({row["path"]: row for row in rows if row["source"] == source}.values())
            chosen += unique[:4] if label != "fake" else unique[:2] + unique[-2:]
    for row in chosen:
        (root / row["path"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(str(DATA)) / row["path"], root / row["path"])
    chosen.append(chosen[0])
    damaged = {**chosen[-2], "path": "images/damaged.png"}
    (root / "images" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    with (root / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, chosen[0])
        writer.writeheader()
        writer.writerows([*chosen, damaged])
    return root


@needs_data
def test_open_set_with_art(make_detector: Make, small_open_set: Path, store: Path, tmp_path: Path, capsys: Any) -> None:
    detector = make_detector(tmp_path / "mini")
    options = ["--protocol", "open-set", "--data-root", str(small_open_set), "--detector", str(detector)]
    figures = evaluated(tmp_path / "out", store, *options)
    captured = capsys.readouterr()
    assert "1 rows repeat a picture" in captured.err
    assert "damaged.png" in captured.err
    assert list(figures["unreadable"]) == [str(small_open_set / "images" / "damaged.png")]
    names = [result["condition"] for result in figures["results"]]
    assert names == ["raw", "fakes aligned", "both aligned", "web", "hard"]
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table.schema.equals(SCHEMA)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    assert len(table) == 4 * len(set(columns["path"]))  # raw, aligned, web, hard
    for result in figures["results"]:
        assert result["pictures"] == {"art": 8, "fake": 12, "real": 12}
        _check_comparisons(result, figures, columns)
        assert (
            result["sets"]["open-set dev"]["thresholds"]["shipped"]["art_flagged"]
            == result["sources"]["art"]["flagged"]
        )
    assert figures["results"][0]["sources"] != figures["results"][2]["sources"]


def _check_comparisons(result: dict[str, Any], figures: dict[str, Any], columns: dict[str, Any]) -> None:
    condition = next(c for c in figures["conditions"] if c["name"] == result["condition"])
    fake = columns["label"] == "fake"
    shown = columns["transform"] == np.where(fake, condition["fake"], condition["other"])
    part = {label: columns["logit"][shown & (columns["label"] == label)] for label in ("real", "art", "fake")}
    found = result["comparisons"]
    both = np.r_[part["real"], part["art"]]
    assert found["real + art v fake"]["tpr@0.05"]["value"] == tpr_at_fpr(both, part["fake"], 0.05)
    assert found["real v fake"]["tpr@0.01"]["value"] == tpr_at_fpr(part["real"], part["fake"], 0.01)
    assert found["real v art: false alarms"]["tpr@0.05"]["value"] == tpr_at_fpr(part["real"], part["art"], 0.05)
    flagged = columns["log10_lr"] >= 0.1
    assert result["sources"]["fake"]["flagged"] == pytest.approx(flagged[shown & fake].mean())


# The report


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def evil_report(make_detector: Make, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of pictures in folders and by a detector with hostile names."""
    root = tmp_path_factory.mktemp("evil")
    for label, files in (
        ("real", ("rocket.jpg", "coffee.jpg")),
        ("fake", ("cat-autoencoded.jpg", "castle-autoencoded.jpg")),
    ):
        (root / label / f"{EVIL} $x^2$").mkdir(parents=True)
        for file in files:
            shutil.copy(SAMPLES / file, root / label / f"{EVIL} $x^2$" / file)
    detector = make_detector(root / f"[red]{EVIL}")
    data = ["--real", str(root / "real"), "--fake", str(root / "fake"), "--detector", str(detector)]
    evaluated(root / "out", store, "--dataset", "folders", *data)
    return root / "out"


def test_the_report_is_one_file_without_network_or_script(evil_report: Path) -> None:
    text = (evil_report / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "img"} & set(page.tags)
    assert page.tags.count("svg") == len(list((evil_report / "plots").glob("*.svg"))) == 4
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    outside = [
        value
        for name, value in page.attributes
        if name in ("src", "href", "xlink:href") and not str(value).startswith("#")
    ]
    assert outside == []
    assert "@import" not in text
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert any(EVIL in part for part in page.text)  # shown as text


def test_the_report_holds_every_figure(evil_report: Path) -> None:
    figures = json.loads((evil_report / "figures.json").read_text(encoding="utf-8"))
    text = "".join(Page((evil_report / "report.html").read_text(encoding="utf-8")).text)
    for result in figures["results"]:
        for values in (*result["comparisons"].values(), *result["sources"].values(), *result["sets"].values()):
            for figure in values.values():
                if isinstance(figure, dict) and "low" in figure:
                    assert f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]" in text
    for rule in next(iter(figures["thresholds"].values())):
        assert rule["how"] in text
    assert "seed 0" in text


def test_plots_are_pictures_and_the_same_every_time(evil_report: Path, tmp_path: Path) -> None:
    assert main(["evaluate", "--from", str(evil_report), "--out", str(tmp_path / "again"), "-q"]) == 0
    names = {path.name for path in (evil_report / "plots").iterdir()}
    assert names == {
        f"{name}.{ending}" for name in ("roc", "discrepancy", "conditions", "tsne") for ending in ("svg", "png")
    }
    for name in names:
        assert (tmp_path / "again" / "plots" / name).read_bytes() == (evil_report / "plots" / name).read_bytes()
    assert (tmp_path / "again" / "report.html").read_bytes() == (evil_report / "report.html").read_bytes()
    with Image.open(evil_report / "plots" / "roc.png") as image:
        assert min(image.size) > 300


def test_figures_need_no_pictures_and_no_weights(evil_report: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.parquet"
    shutil.copy(evil_report / "predictions.parquet", alone)
    assert main(["evaluate", "--from", str(alone), "--out", str(tmp_path / "out"), "-q", "--no-plots"]) == 0
    text = (tmp_path / "out" / "figures.json").read_text(encoding="utf-8")
    assert text == (evil_report / "figures.json").read_text(encoding="utf-8")
    assert (
        main(["evaluate", "--from", str(alone), "--seed", "1", "--out", str(tmp_path / "other"), "-q", "--no-plots"])
        == 0
    )
    assert "seed 1" in (tmp_path / "other" / "report.html").read_text(encoding="utf-8")


def test_without_matplotlib_plots_are_an_error_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["evaluate", "--from", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]) == 2
    assert "gendet[plots]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--protocol", "tea"], 2, "universalfakedetect"),
        (["--dataset", "tea"], 2, "open-set"),
        (["--protocol", "genimage"], 2, "GENDET_GENIMAGE"),
        (["--dataset", "folders", "--condition", "tea"], 2, "both aligned"),
        (["--from", "nothing"], 5, "predictions.parquet"),
    ],
)
def test_wrong_options_say_what_is_right(
    options: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GENDET_GENIMAGE", raising=False)
    assert main(["evaluate", *options, "-q"]) == code
    assert said in capsys.readouterr().err


def test_a_table_of_another_kind_is_refused(tmp_path: Path, evil_report: Path) -> None:
    table = pq.read_table(evil_report / "predictions.parquet")
    pq.write_table(table.drop_columns(["logit"]), tmp_path / "a.parquet")
    pq.write_table(table.replace_schema_metadata({}), tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    for name in "abc":
        with pytest.raises(ReportError):
            read_predictions(tmp_path / f"{name}.parquet")


def test_the_same_detector_twice_is_an_error(make_detector: Make, tmp_path: Path, store: Path, capsys: Any) -> None:
    detector = str(make_detector(tmp_path / "mini"))
    data = ["--dataset", "folders", "--real", str(SAMPLES), "--fake", str(SAMPLES)]
    assert main(["evaluate", *data, "--detector", detector, "--detector", detector, "--features", str(store)]) == 2
    assert "twice" in capsys.readouterr().err


# The parts


def test_the_bootstrap_is_scikit_learn_draw_by_draw() -> None:
    draw = np.random.default_rng(1)
    score = np.round(draw.normal(size=80), 1)  # with ties
    positive = np.arange(80) % 3 == 0
    weights = draw.integers(0, 4, (25, 80))
    found = Weighted(score, positive, weights)
    areas, precisions, (tpr, fpr) = found.auc(), found.average_precision(), found.shares(0.3)
    rates = {rate: found.tpr_at_fpr(rate) for rate in (0.01, 0.05, 0.3)}
    for row, weight in enumerate(weights):
        drawn, truth = np.repeat(score, weight), np.repeat(positive, weight)
        assert areas[row] == pytest.approx(roc_auc_score(truth, drawn))
        assert precisions[row] == pytest.approx(average_precision_score(truth, drawn))
        assert tpr[row] == pytest.approx((drawn[truth] >= 0.3).mean())
        assert fpr[row] == pytest.approx((drawn[~truth] >= 0.3).mean())
        for rate, values in rates.items():
            assert values[row] == pytest.approx(tpr_at_fpr(drawn[~truth], drawn[truth], rate))


def test_draws_take_whole_sources_and_pictures_of_a_lone_one() -> None:
    assert len(set(units(np.array(["a", "b", "a", "b"])))) == 2
    assert units(np.array(["a", "a", "a"])).tolist() == [0, 1, 2]
    first, second = multiplicities([5, 3], 50, 0)
    assert first.shape == (50, 5)
    assert (first.sum(axis=1) == 5).all()
    assert (second.sum(axis=1) == 3).all()
    assert (multiplicities([5, 3], 50, 0)[0] == first).all()
    score, fake = np.r_[0.0, 1, 2, 1, 2, 3], np.arange(6) >= 3
    figure = separation(score, np.array(["r"] * 3 + ["f"] * 3), ~fake, fake)["auc"]
    assert figure.low < figure.value < figure.high


def test_memory_is_taken_in_portions_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(2)
    score, fake = draw.normal(size=60), np.arange(60) % 2 == 0
    group = np.char.add(np.where(fake, "f", "r"), (np.arange(60) % 7).astype(str))
    whole = set_figures(score, group, fake, {"0.5": 0.0})
    monkeypatch.setattr("gendet_cli.evaluation.bootstrap.ROWS_AT_ONCE", 600)
    parts = set_figures(score, group, fake, {"0.5": 0.0})
    for one, other in zip(
        [*whole[0].values(), *whole[1]["0.5"].values()], [*parts[0].values(), *parts[1]["0.5"].values()], strict=True
    ):
        assert one.figure == other.figure


@pytest.mark.parametrize("balanced", [True, False])
def test_the_best_threshold_is_the_best(balanced: bool) -> None:
    draw = np.random.default_rng(3)
    fake = np.arange(90) % 3 == 0
    score = np.round(draw.normal(size=90) + fake, 1)

    def right(threshold: float) -> float:
        said = score >= threshold
        rates = [(said[fake]).mean(), (~said[~fake]).mean()]
        return float(np.mean(rates)) if balanced else float((said == fake).mean())

    best = best_threshold(score, fake, balanced=balanced)
    assert right(best) == pytest.approx(max(right(value) for value in [*score, score.max() + 1]))


def test_nothing_is_fake_where_that_is_best() -> None:
    assert best_threshold(np.array([3.0, 1, 2]), np.array([False, True, False]), balanced=False) > 3


def test_paired_differences_by_hand() -> None:
    label, group = np.array(["real", "real", "fake", "fake"]), np.array(list("abcd"))
    good, bad = np.array([[0.0, 1, 2, 3]]), np.array([[3.0, 2, 1, 0]])
    assert paired_difference(good, bad, label, group) == paired_difference(good, good, label, group).__class__(1, 1, 1)
    assert paired_difference(good, good, label, group).value == 0


def test_the_shipped_threshold_decides_as_a_scan_prints() -> None:
    calibration = {"slope": 0.35, "intercept": -0.5, "cap_low": -2.0, "cap_high": 2.0}
    detector = {"calibration": calibration, "thresholds": {"flagged": 0.738, "flagged_fpr": 0.01}}
    rules = {rule.rule: rule for rule in thresholds_of(detector, None)}
    logits = np.random.default_rng(0).uniform(4, 8, 5000)
    printed = np.array([Calibration(**calibration).log10_lr(float(logit)) for logit in logits])
    assert ((logits >= rules["shipped"].logit) == (printed >= 0.738)).all()
    assert Calibration(**calibration).log10_lr(rules["validation"].logit) == 0
    assert rules["oracle"].logit is None
    detector["thresholds"]["flagged"] = 2.5  # above the cap: never stated, never flagged
    assert thresholds_of(detector, None)[2].logit == np.inf
    chosen = thresholds_of(detector, (np.array([0.0, 1, 2, 3]), np.array([False, False, True, True])))[1]
    assert chosen.logit == 2
    assert "4 pictures" in chosen.how


def test_a_protocol_takes_so_many_of_a_class_in_a_set() -> None:
    records = [
        Record(Path(f"{subset}{label}{n}"), label, f"{label}/{n % 2}", "test", "", subset)
        for subset in "ab"
        for label in ("real", "fake")
        for n in range(10)
    ]
    limited = Protocol("x", "", "csv", "test", (Condition("raw", "raw", "raw"),), "raw", per_class=4)
    found = kept(records, limited, 0)
    assert Counter((r.subset, r.label) for r in found) == {(s, x): 4 for s in "ab" for x in ("real", "fake")}
    assert [records.index(record) for record in found] == sorted(records.index(record) for record in found)
    assert kept(records, limited, 0) == found != kept(records, limited, 1)
    plain = [Record(r.path, r.label, r.group, r.split) for r in records]
    by_generator = Protocol("x", "", "csv", "test", limited.conditions, "raw", sets="generator", per_class=4)
    assert Counter((r.group if r.label == "fake" else "", r.label) for r in kept(plain, by_generator, 0)) == {
        ("fake/0", "fake"): 4,
        ("fake/1", "fake"): 4,
        ("", "real"): 4,
    }


def test_protocols_name_transforms_that_exist() -> None:
    assert set(PROTOCOLS) == {"universalfakedetect", "genimage", "degraded", "sweep", "cross", "folders", "open-set"}
    for protocol in PROTOCOLS.values():
        assert protocol.headline in [condition.name for condition in protocol.conditions]
        for name in protocol.transforms:
            transform(name)
    one = read_protocol("genimage").restricted(["web"])
    assert (one.transforms, one.headline) == (("web",), "web")
    with pytest.raises(SettingsError):
        read_protocol("genimage").restricted(["tea"])


@pytest.mark.parametrize("table", [name for name in TITLES if name != "table5_sweep"])
def test_published_means_are_the_means(table: str) -> None:
    for method, row in published(table).items():
        mean = row.pop("mAP") if "mAP" in row else row.pop("avg_acc")
        assert np.mean(list(row.values())) == pytest.approx(mean, abs=0.35), method


def test_a_mean_beside_the_paper_is_over_the_papers_sets_alone() -> None:
    names = [name for name in published("table3_genimage_acc")["GenDet"] if name != "avg_acc"]

    def one(value: float) -> dict[str, Any]:
        return {"auc": {"value": value}, "thresholds": {"0.5": {"accuracy": {"value": value}}}}

    sets = {**{name: one(1.0) for name in names}, "another": one(0.0)}
    result = {"condition": "raw", "detector": "d", "sets": sets, "mean": one(0.5)}
    figures = {"protocol": "genimage", "headline": "raw", "split": "val", "results": [result], "conditions": []}
    (table,) = beside(figures)
    assert table["ours"]["d"]["avg_acc"] == 100
    del sets[names[0]]
    assert beside(figures)[0]["ours"]["d"]["avg_acc"] is None
    assert beside({**figures, "headline": "web"}) == beside({**figures, "split": "train"}) == []


def test_every_set_finds_its_column_in_the_paper() -> None:
    ufd = {plain_name(name) for name in published("table1_ufd_ap")["GenDet"]}
    assert {plain_name(name) for name in UFD_SETS} == ufd - {"map"}
    genimage = {plain_name(name) for name in published("table3_genimage_acc")["GenDet"]}
    assert {plain_name(name) for name in GENIMAGE_SUBSETS.values()} == genimage - {"avgacc"}
    assert published("table1_ufd_ap")["GenDet"]["mAP"] == 95.64
    assert published("table4_degraded_acc")["GenDet"]["JPEG_q30"] == 94.3


@pytest.fixture(scope="module")
def rocket() -> Image.Image:
    with Image.open(SAMPLES / "rocket.jpg") as opened:
        return opened.convert("RGB")


def test_the_tiers_draw_their_numbers_from_one_generator(rocket: Image.Image) -> None:
    draw = random.Random(SHA)
    aligned = recompress(rocket, draw.randint(60, 95))
    assert transform("aligned")(rocket, SHA).tobytes() == aligned.tobytes()
    factor = draw.uniform(0.4, 0.8)
    small = aligned.resize(tuple(round(side * factor) for side in aligned.size), Image.Resampling.LANCZOS)
    assert transform("web")(rocket, SHA).tobytes() == recompress(small, draw.randint(75, 85)).tobytes()
    hard = transform("hard")(rocket, SHA)
    area = (hard.width * hard.height) / (rocket.width * rocket.height)
    draw = random.Random(SHA)
    draw.randint(60, 95)
    assert area == pytest.approx(draw.uniform(0.6, 1.0), abs=0.01)
    assert hard.tobytes() == transform("hard")(rocket, SHA).tobytes() != transform("hard")(rocket, "cd" * 32).tobytes()


def test_degradations_do_what_their_names_say(rocket: Image.Image) -> None:
    low = transform("lr-64")(rocket, SHA)
    assert min(low.size) == 64
    assert low.width / low.height == pytest.approx(rocket.width / rocket.height, rel=0.02)
    tiny = rocket.resize((40, 50))
    assert transform("lr-64")(tiny, SHA) is tiny
    assert transform("jpeg-30")(rocket, SHA).tobytes() == recompress(rocket, 30).tobytes()
    edges = {
        name: np.abs(np.diff(np.asarray(transform(name)(rocket, SHA), float), axis=1)).mean()
        for name in ("raw", "blur-3", "blur-5")
    }
    assert edges["raw"] > edges["blur-3"] > edges["blur-5"]
    assert transform("centre-224")(rocket, SHA).size == tuple(min(224, side) for side in rocket.size)
    both = transform("aligned+jpeg-65")(rocket, SHA)
    assert both.tobytes() == recompress(transform("aligned")(rocket, SHA), 65).tobytes()
    for name in ("tea", "lr-", "lr-x", "tea-5", "aligned+tea", ""):
        with pytest.raises(KeyError):
            transform(name)


def test_recipes_that_stores_are_keyed_by_do_not_change() -> None:
    assert recipe("raw") == {"name": "raw"}
    assert recipe("aligned") == {"name": "aligned", "jpeg": (60, 95)}
    assert recipe("training:1") == {"name": "training:1", "shrink_p": 0.6, "shrink": (0.5, 1.0), "jpeg": (50, 96)}
    assert recipe("web")["shrink"] == (0.4, 0.8)
    assert recipe("aligned+lr-112") == {"name": "aligned+lr-112", "jpeg": (60, 95)}
