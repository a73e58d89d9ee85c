"""Files that are broken, lie, or want too much: one outcome each, in order, and the scan goes on."""

import csv
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gendet_cli
from gendet_cli.engine.job import Job
from gendet_cli.engine.pool import DecoderPool
from gendet_cli.engine.stages import MEMORY_LIMIT_BYTES
from gendet_cli.intake.find import Census, find
from gendet_cli.intake.signature import HEAD_BYTES, SUPPORTED, signature
from gendet_cli.types import Failure, Prepared, Preprocessing, Source

JOB = Job((Preprocessing("resize-crop", 224, 1, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),), evidence=False)


@pytest.fixture(scope="module")
def hostile() -> list[dict[str, str]]:
    if "GENDET_DATA" not in os.environ:
        pytest.skip("GENDET_DATA is not set")
    folder = Path(os.environ["GENDET_DATA"], "hostile")
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        return [{**row, "path": str(folder / row["file"])} for row in csv.DictReader(file)]


def test_every_hostile_file_has_one_outcome(hostile: list[dict[str, str]]):
    listing = [os.fsencode(row["path"]) + b"\n" for row in hostile]
    found = find(["-"], listing=listing, census=Census())
    with DecoderPool(JOB, 2) as pool:
        outcomes = list(pool.run(found))
    assert [outcome.source.path for outcome in outcomes] == [row["path"] for row in hostile]
    for row, outcome in zip(hostile, outcomes, strict=True):
        with open(row["path"], "rb") as file:
            is_supported = signature(file.read(HEAD_BYTES)) in SUPPORTED
        if is_supported and row["pillow_default"] == "ok":
            assert isinstance(outcome, Prepared), (row["file"], outcome)
        elif not is_supported:
            assert isinstance(outcome, Failure), row["file"]
        if isinstance(outcome, Failure):
            assert outcome.reason.isprintable(), row["file"]
            assert len(outcome.sha256) == 64, row["file"]


def test_reasons_are_the_same_every_time(hostile: list[dict[str, str]]):
    sources = [Source(row["file"], row["path"]) for row in hostile if row["pillow_default"] == "raise"][:60]
    runs = []
    for workers in (1, 2):
        with DecoderPool(JOB, workers) as pool:
            runs.append(list(pool.run(sources)))
    assert [getattr(o, "reason", "") for o in runs[0]] == [getattr(o, "reason", "") for o in runs[1]]


def bomb(side_px: int) -> bytes:
    """A PNG whose header, with a valid checksum, claims side x side pixels; its data is a few zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.skipif(os.name != "posix", reason="links, pipes and names of bytes")
def test_a_folder_full_of_trouble(tmp_path: Path):
    """Made here, scanned as a folder: each file has its row, and the good picture among them is prepared."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(tmp_path / "good.jpg")
    whole = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "wrong-suffix.png").write_bytes(whole)
    (tmp_path / "no-suffix").write_bytes(whole)
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture at all")
    (tmp_path / "bomb.png").write_bytes(bomb(60_000))
    (tmp_path / "claims-much.png").write_bytes(bomb(10_000))
    (tmp_path / "unread.jxl").write_bytes(b"\xff\x0a" + bytes(50))
    os.symlink("nowhere.jpg", tmp_path / "dangling.jpg")
    os.symlink("loop.jpg", tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with open(os.path.join(os.fsencode(tmp_path), b"bytes-\xff.jpg"), "wb") as file:
        file.write(whole)
    with DecoderPool(JOB, 2) as pool:
        outcomes = list(pool.run(find([str(tmp_path)], listing=None, census=Census())))
    by_name = {os.path.basename(outcome.source.name): outcome for outcome in outcomes}
    assert len(outcomes) == len(by_name) == 13
    failures = {name: outcome.reason for name, outcome in by_name.items() if isinstance(outcome, Failure)}
    assert set(by_name) - set(failures) == {"good.jpg", "wrong-suffix.png", "no-suffix", os.fsdecode(b"bytes-\xff.jpg")}
    expected = {
        "truncated.jpg": "truncated",
        "empty.jpg": "empty",
        "text.jpg": "text, not a picture",
        "bomb.png": "120 million pixels",
        "claims-much.png": "damaged PNG",
        "unread.jxl": "JPEG XL is not supported",
        "dangling.jpg": "points to nothing",
        "loop.jpg": "loop of links",
        "pipe.jpg": "not a regular file",
    }
    assert {name for name, words in expected.items() if words not in failures[name]} == set()
    assert set(failures) == set(expected)


MEASURED = """
import resource, sys
import gendet_cli
from gendet_cli.engine.job import Job
from gendet_cli.engine.pool import DecoderPool
from gendet_cli.types import Source
with DecoderPool(Job((), evidence=False), 2) as pool:
    count = sum(1 for _ in pool.run(Source(path, path) for path in sys.argv[1:]))
unit = 1 if sys.platform == "darwin" else 1024
print(count, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs the resource module")
def test_peak_memory_of_the_largest_process(hostile: list[dict[str, str]]):
    command = [sys.executable, "-c", MEASURED, *(row["path"] for row in hostile)]
    root = Path(gendet_cli.__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    count, peak_bytes = map(int, done.stdout.split())
    assert count == len(hostile)
    assert peak_bytes < MEMORY_LIMIT_BYTES
    assert done.stderr == ""
