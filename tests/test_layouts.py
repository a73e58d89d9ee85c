"""Layouts: miniatures are read whole, wrong and partial trees say what was expected and found; check and audit."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import miniature
import numpy as np
import pytest
from PIL import Image

from gendet_cli.audit import leak_of
from gendet_cli.cli import main
from gendet_cli.data.benchmarks import GENIMAGE_SUBSETS, UFD_SETS, genimage_subset
from gendet_cli.data.headers import read_header
from gendet_cli.data.layouts import Places, Record, layouts, read_layout
from gendet_cli.errors import SettingsError

needs_data = pytest.mark.skipif("GENDET_DATA" not in os.environ, reason="GENDET_DATA is not set: no gendet open set")
needs_hostile = needs_data


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trees")
    miniature.genimage(root / "genimage", 2)
    miniature.universalfakedetect(root / "ufd", 2)
    return root


def picture(path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, str(path)))
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8)).save(path, **options)
    return path


@needs_data
@pytest.mark.parametrize("split", ["train", "val"])
def test_genimage_whole(trees: Path, split: str) -> None:
    records = read_layout("genimage", Places(trees / "genimage"), split)
    assert Counter((r.subset, r.label) for r in records) == {
        (subset, label): 2 for subset in set(GENIMAGE_SUBSETS.values()) for label in ("real", "fake")
    }
    assert all(r.path.is_file() and r.split == split for r in records)
    assert {r.path.suffix for r in records if r.label == "fake"} == {".png"}
    only = read_layout("genimage", Places(trees / "genimage"), split, ["SD V1.4"])
    assert {r.group for r in only} == {"imagenet_ai_0419_sdv4", "nature/imagenet_ai_0419_sdv4"}


def test_a_generator_without_its_validation_part_is_an_error(tmp_path: Path) -> None:
    for folder, splits in (("imagenet_ai_0419_sdv4", ("train", "val")), ("imagenet_midjourney", ("train",))):
        for split in splits:
            for name in ("ai", "nature"):
                picture(tmp_path / folder / split / name / "0.png")
    assert len(read_layout("genimage", Places(tmp_path), "train")) == 4
    with pytest.raises(SettingsError, match="imagenet_midjourney: no folder val"):
        read_layout("genimage", Places(tmp_path), "val")


@needs_data
def test_universalfakedetect_whole(trees: Path) -> None:
    places = Places(trees / "ufd")
    records = read_layout("universalfakedetect", places, "test")
    assert len(UFD_SETS) == 19
    assert {r.subset for r in records} == set(UFD_SETS)
    for name in UFD_SETS:
        assert {r.label for r in records if r.subset == name} == {"real", "fake"}
    shared = {
        name: {r.path for r in records if r.subset == name and r.label == "real"} for name in ("dalle", "ldm_100")
    }
    assert shared["dalle"] == shared["ldm_100"]
    assert all("imagenet" in str(r.path) for r in records if r.subset == "guided" and r.label == "real")
    train = read_layout("universalfakedetect", places, "train")
    assert {r.group for r in train} == {"progan/airplane", "progan/cat", "real/progan/airplane", "real/progan/cat"}


@pytest.mark.parametrize(
    ("folder", "subset"),
    [
        ("imagenet_ai_0419_sdv4", "SD V1.4"),
        ("Midjourney", "Midjourney"),
        ("imagenet_ai_0419_biggan", "BigGAN"),
        ("x", "x"),
    ],
)
def test_folders_of_genimage_by_their_published_names(folder: str, subset: str) -> None:
    assert genimage_subset(folder) == subset


def test_an_archive_unpacked_in_a_folder_of_its_own_is_found(tmp_path: Path) -> None:
    for name in ("ai", "nature"):
        picture(tmp_path / "sd" / "imagenet_ai_0419_sdv4" / "train" / name / "a.png")
    assert len(read_layout("genimage", Places(tmp_path), "train")) == 2


def message(name: str, places: Places, split: str = "train", subsets: tuple[str, ...] = ()) -> str:
    with pytest.raises(SettingsError) as caught:
        read_layout(name, places, split, subsets)
    return f"{caught.value.message} {caught.value.hint}"


def test_wrong_and_partial_trees_say_what_was_expected_and_found(tmp_path: Path) -> None:
    assert "GENDET_GENIMAGE" in message("genimage", Places())
    assert "no such folder" in message("genimage", Places(tmp_path / "none"))
    (tmp_path / "something").mkdir()
    text = message("genimage", Places(tmp_path))
    assert "something/" in text
    assert "{ai,nature}" in text
    picture(tmp_path / "imagenet_glide" / "train" / "ai" / "a.png")
    assert "nature: no picture" in message("genimage", Places(tmp_path))
    picture(tmp_path / "imagenet_glide" / "train" / "nature" / "a.png")
    assert "found GLIDE" in message("genimage", Places(tmp_path), subsets=("ADM",))
    assert "splits: train, val" in message("genimage", Places(tmp_path), "dev")
    picture(tmp_path / "ufd" / "train" / "progan" / "cat" / "1_fake" / "a.png")
    assert "no picture in 0_real" in message("universalfakedetect", Places(tmp_path / "ufd"))
    picture(tmp_path / "dif" / "dalle" / "1_fake" / "a.png")
    assert "no reals laion/0_real" in message("universalfakedetect", Places(tmp_path / "dif"), "test")
    assert "known: open-set" in message("tea", Places(tmp_path))
    assert set(layouts()) == {"open-set", "folders", "csv", "genimage", "universalfakedetect"}


def test_csv(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / name)
    table = tmp_path / "list.csv"
    table.write_text("path,label,group\na.png,real,x\nb.png,fake,y\nc.png,art,z\n", encoding="utf-8")
    records = read_layout("csv", Places(table=table), "any")
    assert [(r.path, r.label, r.group) for r in records][2] == (tmp_path / "c.png", "art", "z")
    table.write_text(
        "path,label,group,split\na.png,real,x,train\nb.png,fake,y,train\nc.png,art,z,dev\n", encoding="utf-8"
    )
    assert len(read_layout("csv", Places(table=table), "train")) == 2
    table.write_text("path,label\na.png,real\n", encoding="utf-8")
    assert "no column group" in message("csv", Places(table=table))
    table.write_text("path,label,group\na.png,ai,x\n", encoding="utf-8")
    assert "label ai" in message("csv", Places(table=table))
    assert "--csv" in message("csv", Places())
    assert "No such file" in message("csv", Places(table=tmp_path / "none.csv"))


def test_check_finds_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        for name in ("ai", "nature"):
            for number in range(2):
                picture(tmp_path / "imagenet_glide" / split / name / f"{number}.png")
    data = ["data", "check", "--dataset", "genimage", "--data-root", str(tmp_path)]
    assert main(data) == 0
    base = tmp_path / "imagenet_glide"
    (base / "train" / "ai" / "empty.png").touch()
    (base / "train" / "ai" / "cut.png").write_bytes((base / "train" / "ai" / "0.png").read_bytes()[:400])
    shutil.copy(base / "train" / "ai" / "0.png", base / "val" / "ai" / "again.png")
    shutil.copy(base / "train" / "ai" / "1.png", base / "train" / "nature" / "other.png")
    capsys.readouterr()
    found = tmp_path / "found.json"
    assert main([*data, "--json", str(found)]) == 3
    kinds = Counter(problem["kind"] for problem in json.loads(found.read_text())["problems"])
    assert kinds == {
        "empty file": 1,
        "unreadable": 1,
        "same bytes in two splits": 1,
        "same bytes with two labels": 1,
    }
    said = capsys.readouterr().out
    assert "cut.png" in said
    assert "GLIDE" in said


def records(tmp_path: Path, fake_suffix: str) -> list[Record]:
    made = []
    for number in range(60):
        label = "fake" if number % 2 else "real"
        suffix = fake_suffix if label == "fake" else "jpg"
        path = picture(tmp_path / f"{fake_suffix}-{number}.{suffix}")
        made.append(Record(path, label, f"{label}{number % 12}", "train"))
    return made


def test_audit_sees_a_leak_and_its_absence(tmp_path: Path) -> None:
    leak = leak_of(records(tmp_path, "png"))
    assert leak.auc.value > 0.95
    assert "data audit" in leak.warning
    assert leak.formats == {"JPEG": (1.0, 0.0), "PNG": (0.0, 1.0)}
    assert next(iter(leak.single.values())) == 1.0
    fair = leak_of(records(tmp_path, "jpg"))
    assert fair.auc.value < 0.8
    assert len(leak_of(records(tmp_path, "png"), most=40).single) > 3
    with pytest.raises(SettingsError, match="too few"):
        leak_of(records(tmp_path, "png")[:6])


def test_headers(tmp_path: Path) -> None:
    jpeg = read_header(
        picture(tmp_path / "a.jpg", quality=75, exif=Image.Exif().tobytes() or b"Exif\0\0MM\0*\0\0\0\x08\0\0")
    )
    assert (jpeg.format, jpeg.width_px, jpeg.height_px, jpeg.subsampling) == ("JPEG", 32, 32, "4:2:0")
    assert jpeg.luma_step == pytest.approx(29.03, abs=0.05)  # mean of the standard luminance table at quality 75
    assert read_header(picture(tmp_path / "b.jpg", quality=95)).luma_step < jpeg.luma_step
    (tmp_path / "c.png").write_bytes(b"text")
    assert read_header(tmp_path / "c.png").format == "unreadable"
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "none")


def test_audit_sees_a_leak_in_a_small_set_and_a_damaged_file(tmp_path: Path) -> None:
    some = records(tmp_path, "png")[:24]
    assert leak_of(some).warning
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(some[0].path.read_bytes()[:100])
    leak = leak_of([*some, Record(cut, "real", "real0", "train"), Record(tmp_path / "gone.jpg", "fake", "x", "train")])
    assert leak.pictures == 25
    assert leak.formats["unreadable"][0] > 0


def test_check_sees_one_file_with_two_labels_and_looks_at_every_split_of_a_table(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    table = tmp_path / "list.csv"
    rows = ["a.png,real,x,train", "b.png,fake,y,train", "a.png,fake,y,test", "b.png,real,x,test"]
    table.write_text("\n".join(["path,label,group,split", *rows]), encoding="utf-8")
    found = tmp_path / "found.json"
    assert main(["data", "check", "--dataset", "csv", "--csv", str(table), "--json", str(found)]) == 3
    kinds = Counter(problem["kind"] for problem in json.loads(found.read_text())["problems"])
    assert kinds == {"same bytes in two splits": 2, "same bytes with two labels": 2}


@needs_hostile
def test_every_hostile_file_has_a_header_or_is_unreadable() -> None:
    for path in sorted((Path(os.environ["GENDET_DATA"]) / "hostile").rglob("*")):
        if path.is_file():
            assert read_header(path).format
