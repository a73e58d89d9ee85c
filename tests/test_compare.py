"""``gendet compare``: both kinds of methods on the same pictures; the table again from its file, and by hand."""

import os
import shutil
from pathlib import Path

import miniature
import numpy as np
import pytest
from PIL import Image

from gendet_cli.cli import main
from gendet_cli.cli.compare import _show, _sides
from gendet_cli.compare import Run, lines, read
from gendet_cli.data.layouts import Places
from gendet_cli.errors import SettingsError

SAMPLES = sorted((Path(__file__).parent.parent / "samples").glob("*.jpg"))[:6]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = ["path,label,group,split"]
    for split in ("train", "test"):
        for number, path in enumerate(SAMPLES):
            for label in ("real", "fake"):
                name = f"{split}-{label}-{number}.png"
                with Image.open(path) as image:
                    picture = image.convert("RGB").resize((96, 96))
                    picture = picture.quantize(8).convert("RGB") if label == "fake" else picture
                    picture.rotate(90 * (split == "test")).save(tmp_path / name)
                rows.append(f"{name},{label},{label}{number % 3},{split}")
    file = tmp_path / "list.csv"
    file.write_text("\n".join(rows), encoding="utf-8")
    return file


def test_methods_that_read_features_and_pixels_stand_in_one_table(table: Path, tmp_path: Path, capsys) -> None:
    out, folder = tmp_path / "runs.parquet", str(tmp_path / "store")
    data = ["--dataset", "csv", "--csv", str(table), "--test-split", "test", "--features", folder, "--copies", "1"]
    small = "finetune:test_resnet,from_scratch=yes,epochs=1,size_px=64,batch_size=8"
    methods = ["--method", "univfd-linear", "--method", "univfd-linear,c=0.01", "--method", small]
    assert main(["compare", *data, *methods, "--seeds", "2", "--out", str(out), "--markdown", "-q"]) == 0
    first = capsys.readouterr().out
    rows = [line for line in first.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert "c=0.01" in rows[3]
    assert "finetune:test_resnet" in rows[4]
    assert "± 0.000" in rows[2]
    shutil.rmtree(folder)
    assert main(["compare", "--from", str(out), "--markdown"]) == 0
    assert capsys.readouterr().out == first
    runs, label, _ = read(out)
    assert [(run.method.split()[0], run.seed) for run in runs][-1] == ("finetune:test_resnet", 1)
    assert all(len(run.logit) == len(label) == 12 for run in runs)
    assert not np.array_equal(runs[-1].logit, runs[-2].logit)


def test_the_table_by_hand() -> None:
    label = np.array(["real", "real", "fake", "fake"])
    group = np.array(["a", "b", "c", "d"])
    perfect, wrong = np.array([0.0, 1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0, 0.0])
    none = np.zeros(4)
    table = lines([Run("one", 0, wrong, none), Run("two", 0, perfect, none), Run("two", 1, wrong, none)], label, group)
    assert [line.method for line in table] == ["one", "two"]
    assert table[0].mean[0] == 0
    assert table[1].mean[0] == 0.5
    assert table[1].deviation[0] == pytest.approx(np.std([0, 1], ddof=1))
    assert table[0].to_previous is None
    assert table[1].to_previous is not None
    assert table[1].to_previous.value == 0.5


def test_wrong_methods_files_and_places(tmp_path: Path, capsys) -> None:
    assert main(["compare", "--method", "gendet,alpha"]) == 2
    assert "SETTING=VALUE" in capsys.readouterr().err
    with pytest.raises(SettingsError, match=r"none\.parquet"):
        read(tmp_path / "none.parquet")


def test_the_same_pictures_on_both_sides_are_refused(table: Path, capsys) -> None:
    rows = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    for name, label, *_ in rows:
        (table.parent / label).mkdir(exist_ok=True)
        shutil.copy(table.parent / name, table.parent / label / name)
    sides = ["--real", str(table.parent / "real"), "--fake", str(table.parent / "fake")]
    code = main(["compare", "--dataset", "folders", *sides, "--features", str(table.parent / "f"), "-q"])
    assert code == 2
    assert "the same as files trained on" in capsys.readouterr().err


@pytest.mark.skipif("GENDET_DATA" not in os.environ, reason="GENDET_DATA is not set: no gendet open set")
def test_a_benchmark_is_trained_on_its_presets_subsets_and_each_photograph_counts_once(tmp_path: Path) -> None:
    miniature.genimage(tmp_path / "genimage", 1)
    miniature.universalfakedetect(tmp_path / "ufd", 1)
    told: list[str] = []
    known, unseen = _sides("genimage", Places(tmp_path / "genimage"), ("train", "val"), told.append)
    assert {record.group for record in known} == {"imagenet_ai_0419_sdv4", "nature/imagenet_ai_0419_sdv4"}
    assert len({record.group for record in unseen if record.label == "fake"}) == 8
    assert "SD V1.4" in told[0]
    _, unseen = _sides("universalfakedetect", Places(tmp_path / "ufd"), ("train", "test"), told.append)
    paths = [record.path for record in unseen]
    assert len(paths) == len(set(paths))
    assert "each picture counts once" in told[-1]


def test_the_table_fits_80_columns(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rng = np.random.default_rng(0)
    label = np.array(["real", "art", "fake", "fake"] * 10)
    group = np.array([f"{name}{number % 5}" for number, name in enumerate(label)])
    runs = [Run(name, 0, rng.normal(size=40), np.ones(40)) for name in ("univfd-linear", "ts-ad-fake")]
    _show(lines(runs, label, group), markdown=False)
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert all(name in printed for name in ("univfd-linear", "ts-ad-fake", "art flagged", "["))
