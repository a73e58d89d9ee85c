"""Training whole: real pictures, the embedded backbone; what is written scans; same seed, same bits; resume."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from gendet_cli.cli import main
from gendet_cli.data.degrade import transform
from gendet_cli.data.folds import whole_group_folds
from gendet_cli.data.layouts import Places, read_layout
from gendet_cli.detector.calibration import Calibration, calibrate, choose_thresholds, threshold_at_fpr
from gendet_cli.detector.files import sha256_of
from gendet_cli.errors import SettingsError
from gendet_cli.evaluation.metrics import auc, separation, tpr_at_fpr
from gendet_cli.types import Verdict

SAMPLES = Path(__file__).parent.parent / "samples"
DATA = os.environ.get("GENDET_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="GENDET_DATA is not set: no gendet open set")
PICTURES = 8
FILES = ("detector.json", "model.onnx", "model.safetensors")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few pictures of four sources a class, and the features of both training copies."""
    root = tmp_path_factory.mktemp("data")
    records = read_layout("open-set", Places(Path(str(DATA))), "train")
    for label in ("real", "fake"):
        groups = sorted({record.group for record in records if record.label == label})[:4]
        for group in groups:
            (root / label / group).mkdir(parents=True)
            for record in [r for r in records if r.group == group and r.label == label][:PICTURES]:
                shutil.copy(record.path, root / label / group)
    return root


def train(folders: Path, out: Path, *options: str, method: str = "gendet") -> int:
    data = ["--real", str(folders / "real"), "--fake", str(folders / "fake"), "--features", str(folders / "features")]
    few = ["--copies", "1", "--folds", "2", "--method", method, "-q", *options]
    if method != "univfd-linear":
        few += ["--set", "rotations=1", "--set", "teacher_epochs=2", "--set", "classifier_epochs=2"]
    return main(["train", "--dataset", "folders", *data, "--out", str(out), *few])


@needs_data
def test_same_seed_same_hash_and_the_store_is_used(folders: Path, tmp_path: Path) -> None:
    assert train(folders, tmp_path / "a" / "d") == 0
    shards = {path: path.stat().st_mtime_ns for path in (folders / "features").rglob("shard-*")}
    assert shards
    assert train(folders, tmp_path / "b" / "d") == 0
    assert {path: path.stat().st_mtime_ns for path in (folders / "features").rglob("shard-*")} == shards
    for file in FILES:
        assert sha256_of(tmp_path / "a" / "d" / file) == sha256_of(tmp_path / "b" / "d" / file)
    assert train(folders, tmp_path / "c" / "d", "--seed", "1") == 0
    assert sha256_of(tmp_path / "a" / "d" / FILES[2]) != sha256_of(tmp_path / "c" / "d" / FILES[2])
    assert main(["scan", str(SAMPLES / "rocket.jpg"), "--detector", str(tmp_path / "a" / "d"), "-q"]) in (0, 1, 3)
    assert train(folders, tmp_path / "a" / "d") == 2  # a finished detector is not trained over


@needs_data
@pytest.mark.parametrize("method", ["teacher", "ts-ad", "ts-ad-fake", "univfd-linear"])
def test_every_method_trains_and_scans(method: str, folders: Path, tmp_path: Path) -> None:
    out = tmp_path / method
    assert train(folders, out, method=method) == 0
    report = tmp_path / "r.json"
    main(["scan", str(SAMPLES / "rocket.jpg"), "--detector", str(out), "--report", str(report), "-q"])
    row = json.loads(report.read_text(encoding="utf-8"))["rows"][0]
    assert (row["discrepancy"] is None) == (method in ("teacher", "univfd-linear"))
    assert method != "teacher" or not (out / "work").exists()


def test_wrong_settings_are_told_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ["--real", str(SAMPLES), "--fake", str(SAMPLES), "--out", str(tmp_path / "d")]
    code = main(["train", "--dataset", "folders", *options, "--set", "rotations=many", "--set", "tea=1"])
    said = capsys.readouterr().err
    assert code == 2
    assert "rotations" in said
    assert "tea" in said


def test_folds_keep_sources_whole() -> None:
    label = np.array(["real"] * 30 + ["fake"] * 30)
    group = np.array([f"s{i % 7}" for i in range(30)] + [f"g{i % 5}" for i in range(30)])
    notes: list[str] = []
    fold = whole_group_folds(label, group, 5, notes.append)
    assert not notes
    for name in np.unique(group):
        assert len(set(fold[group == name])) == 1
    assert set(fold[label == "fake"]) == set(range(5))
    whole_group_folds(label, np.array(["one"] * 60), 5, notes.append)
    assert len(notes) == 2
    with pytest.raises(SettingsError):
        whole_group_folds(label, group, 1, notes.append)


def test_thresholds_and_calibration_by_hand() -> None:
    negatives = np.arange(100) / 100
    assert threshold_at_fpr(negatives, 0.01) == pytest.approx(0.981)
    assert (negatives >= threshold_at_fpr(negatives, 0.01)).mean() == 0.01
    scores, fake = np.r_[np.zeros(100), np.ones(100)], np.r_[np.zeros(100), np.ones(100)].astype(bool)
    thresholds = choose_thresholds(scores, fake, 64)
    assert (thresholds.flagged, thresholds.clear) == (0.001, 0.001)  # they cross: both are the flagged one
    assert thresholds.decide(0.5, 100)[0] is Verdict.FLAGGED
    assert thresholds.decide(-0.5, 100)[0] is Verdict.CLEAR
    assert thresholds.decide(0.5, 63)[0] is Verdict.UNCLEAR
    draw = np.random.default_rng(0)
    logit = np.r_[draw.normal(-1, 1, 3000), draw.normal(1, 1, 3000)]
    fitted = calibrate(logit, np.arange(6000) >= 3000)
    assert fitted.slope == pytest.approx(2, abs=0.15)  # two unit normals 2 apart: ln LR = 2 x
    assert fitted.cap_high == pytest.approx(3)
    assert Calibration(1, 0, -1, 1).log10_lr(100) == 1
    with pytest.raises(SettingsError):
        calibrate(-logit, np.arange(6000) >= 3000)


def test_metrics_by_hand() -> None:
    negative, positive = np.array([0.1, 0.4, 0.35]), np.array([0.8, 0.3])
    assert auc(negative, positive) == pytest.approx(4 / 6)
    assert tpr_at_fpr(np.arange(101.0), np.array([94.0, 96.0]), 0.05) == 0.5
    score, group = np.r_[negative, positive], np.array(["a", "a", "b", "c", "c"])
    figures = separation(score, group, np.arange(5) < 3, np.arange(5) >= 3)
    assert figures["auc"].low <= figures["auc"].value <= figures["auc"].high


def test_transforms_are_the_same_for_the_same_picture() -> None:
    from PIL import Image

    with Image.open(SAMPLES / "rocket.jpg") as opened:
        image = opened.convert("RGB")
    for name in ("raw", "aligned", "training:0", "training:1", "wide:0", "wide:7"):
        one, other = (transform(name)(image, "0" * 64) for _ in range(2))
        assert one.tobytes() == other.tobytes()
    assert transform("training:0")(image, "0" * 64).tobytes() != transform("training:1")(image, "0" * 64).tobytes()
    with pytest.raises(KeyError):
        transform("tea")


def test_wide_copies_reach_from_whole_to_small_and_never_below_the_crop() -> None:
    from PIL import Image

    with Image.open(SAMPLES / "rocket.jpg") as opened:
        image = opened.convert("RGB").resize((900, 600))
    sides = [min(transform(f"wide:{copy}")(image, "0" * 64).size) for copy in range(60)]
    assert max(sides) == 600
    assert 224 <= min(s for s in sides if s >= 224) < 300
    assert min(sides) >= 224 * 0.3  # two crops of half the side at most, then nothing below 224 px is shrunk
    small = image.resize((90, 60))
    assert max(transform(f"wide:{copy}")(small, "0" * 64).size[0] for copy in range(20)) == 90


def test_presets_files_and_options_are_one_over_the_other(tmp_path: Path) -> None:
    from gendet_cli.config import merge_training, read_preset, read_training_file

    file = tmp_path / "t.toml"
    file.write_text("copies = 1\n[settings]\nrotations = 3\n", encoding="utf-8")
    plan, problems = merge_training([read_preset("genimage"), read_training_file(file), {"seed": 4}])
    assert not problems
    assert (plan["dataset"], plan["copies"], plan["seed"], plan["folds"]) == ("genimage", 1, 4, 5)
    assert plan["settings"]["rotations"] == 3
    assert plan["settings"]["classifier_lr"] == 1e-3
    other, _ = merge_training([read_preset("universalfakedetect")])
    assert [other["settings"][name] for name in ("teacher_lr", "student_lr", "classifier_lr")] == [1e-5, 1e-4, 1e-5]
    with pytest.raises(SettingsError, match="tea"):
        read_preset("tea")


def test_everything_wrong_in_a_file_is_told_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text(
        'seeds = 2\nfolds = 1\ncopies = "two"\n[settings]\nmargin = "wide"\nhinge = "x"\n', encoding="utf-8"
    )
    assert main(["train", "--dataset", "folders", "--config", str(file), "--set", "nope=1"]) == 2
    said = capsys.readouterr().err
    for word in ("seeds", "folds", "copies", "margin", "hinge", "nope"):
        assert word in said
    file.write_text("not toml", encoding="utf-8")
    assert main(["train", "--config", str(file)]) == 2


def test_a_log_goes_on_where_a_killed_run_left_it(tmp_path: Path) -> None:
    import csv

    from gendet_cli.data.training_log import TrainingLog

    log = TrainingLog(tmp_path, "final")
    for epoch in (1, 2, 3):
        log.write(epoch, "teacher", 1 / epoch, {"d_real_p50": epoch})
    again = TrainingLog(tmp_path, "final")  # epoch 3 was logged, but its checkpoint was not saved
    again.write(3, "teacher", 0.25, {"d_real_p50": 9, "augmenter_step": 0.5})
    with (tmp_path / "final.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert (rows[2]["loss"], rows[2]["d_real_p50"], rows[2]["augmenter_step"]) == ("0.25", "9", "0.5")
    assert rows[0]["augmenter_step"] == ""


def test_a_store_is_the_same_through_its_arrow_copy_and_in_pandas_format(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from gendet_cli.data.layouts import Record
    from gendet_cli.data.store import Store, View

    draw = np.random.default_rng(0)
    x = draw.standard_normal((600, 8)).astype(np.float16).astype(np.float32)
    records = [Record(Path(f"{i}.png"), "fake" if i % 3 else "real", f"g{i % 5}", "train") for i in range(600)]
    store = Store(tmp_path, {"a": 1})
    store.add(View(record, f"{i:064x}", x[i]) for i, record in enumerate(records[:500]))
    assert len(store.everything().x) == 500
    store.add(View(record, f"{i + 500:064x}", x[i + 500]) for i, record in enumerate(records[500:]))
    order = draw.permutation(600)
    read = store.read([(records[i], f"{i:064x}") for i in order])
    assert np.array_equal(read.x[:], x[order])
    assert np.array_equal(read.x[np.array([5, 3])], x[order][[5, 3]])
    assert np.array_equal(read.take(read.is_fake).x[:], x[order][read.is_fake])
    assert len(list(store.folder.glob("mapped-*.arrow"))) == 1
    tables = [pq.read_table(shard) for shard in store.folder.glob("shard-*.parquet")]
    assert sum(map(len, tables)) == 600
    assert tables[0].column_names == ["sha256", "path", "label", "group", "split", "content", "feature"]
    assert str(tables[0].schema.field("feature").type) == "fixed_size_list<element: halffloat>[8]"
