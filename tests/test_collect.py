"""``gendet data fetch``: a real git repository and a real package to pictures; what cannot be had is named."""

import csv
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from gendet_cli.cli import main
from gendet_cli.data.layouts import Places, read_layout
from gendet_cli.data.sources import COLUMNS, read_manifest
from gendet_cli.errors import SettingsError

SAMPLES = Path(__file__).parent.parent / "samples"
PICTURES = sorted(SAMPLES.glob("*.jpg"))[:3]


def git(*arguments: str, cwd: Path) -> str:
    identity = {f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, env={**os.environ, **identity}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def host(tmp_path: Path) -> tuple[Path, str]:
    """A folder that serves as a git host with one repository, and its first commit."""
    work = tmp_path / "host" / "someone" / "pictures"
    (work / "a b").mkdir(parents=True)
    for path in PICTURES:
        shutil.copy(path, work / "a b" / path.name)
    git("init", "-q", cwd=work)
    git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=work)
    git("add", ".", cwd=work)
    git("commit", "-qm", "first", cwd=work)
    commit = git("rev-parse", "HEAD", cwd=work)
    shutil.rmtree(work / "a b")
    git("commit", "-qam", "gone", cwd=work)
    return tmp_path / "host", commit


def row(file: Path, **values: str) -> dict[str, str]:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    fixed = {"label": "fake", "source": "model", "content": "photo", "split": "train", "sha256": digest}
    return {**dict.fromkeys(COLUMNS, ""), **fixed, **values}


def manifest(folder: Path, *rows: dict[str, str]) -> Path:
    path = folder / "data.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_pictures_come_whole_or_cut_and_what_is_missing_is_named(host: tuple[Path, str], tmp_path: Path) -> None:
    root, commit = host
    there = {"repository": "someone/pictures", "commit": commit}
    rows = [row(path, **there, path=f"a b/{path.name}") for path in PICTURES]
    rows[0]["box"] = "8,16,72,64"
    rows[1]["label"], rows[1]["source"] = "real", "camera"
    rows[2]["sha256"] = "0" * 64
    rows.append(row(PICTURES[0], **there, path="nowhere.jpg", label="art"))
    rows.append(row(PICTURES[1], repository="nobody/nothing", commit="1" * 40, path="x.jpg", split="dev-full"))
    rows.append(row(PICTURES[2], repository="gendet-open-set", path=PICTURES[2].name, label="art", source="painter"))
    listed, out = manifest(tmp_path, *rows), tmp_path / "out"
    arguments = ["data", "fetch", str(listed), "--out", str(out), "--host", root.as_uri(), "--open-set", str(SAMPLES)]
    assert main([*arguments, "-q"]) == 3
    with (out / "missing.csv").open(encoding="utf-8") as stream:
        missing = {line["path"]: line["reason"] for line in csv.DictReader(stream)}
    assert missing.keys() == {f"a b/{PICTURES[2].name}", "nowhere.jpg", "x.jpg"}
    assert missing["nowhere.jpg"] == "no such file there"
    assert missing[f"a b/{PICTURES[2].name}"] == "the file there is another"
    records = read_layout("open-set", Places(out), "train")
    assert [(record.label, record.group) for record in records] == [
        ("fake", "model"),
        ("real", "camera"),
        ("art", "painter"),
    ]
    with Image.open(records[0].path) as cut, Image.open(PICTURES[0]) as whole:
        assert cut.size == (64, 48)
        assert cut.convert("RGB").tobytes() == whole.convert("RGB").crop((8, 16, 72, 64)).tobytes()
    assert records[1].path.read_bytes() == PICTURES[1].read_bytes()
    before = {path: path.stat().st_mtime_ns for path in (out / "train").rglob("*")}
    shutil.rmtree(root)  # what is there needs no host
    assert main([*arguments, "-q"]) == 3
    assert {path: path.stat().st_mtime_ns for path in (out / "train").rglob("*")} == before


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"repository": "--upload-pack=x/y"}, "repository"),
        ({"repository": "debian:-o=x", "commit": "1"}, "repository"),
        ({"commit": "HEAD"}, "repository"),
        ({"path": "../x"}, "path"),
        ({"path": "/etc/hostname"}, "path"),
        ({"path": "a\nb"}, "path"),
        ({"box": "1,2,3"}, "box"),
        ({"label": "real?"}, "label"),
        ({"split": "../up"}, "split"),
        ({"sha256": "x"}, "sha256"),
    ],
)
def test_a_wrong_line_is_refused(values: dict[str, str], named: str, tmp_path: Path) -> None:
    good = {"repository": "a/b", "commit": "1" * 40, "path": "x.jpg"}
    with pytest.raises(SettingsError, match=f"wrong {named}"):
        read_manifest(manifest(tmp_path, row(PICTURES[0], **{**good, **values})))


def test_a_file_that_is_no_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csv").write_text("path,label\n")
    assert main(["data", "fetch", str(tmp_path / "x.csv"), "--out", str(tmp_path / "out")]) == 2
    assert "no column repository" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
