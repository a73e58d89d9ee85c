import hashlib
import itertools
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gendet_cli
from gendet_cli.data import degrade
from gendet_cli.engine.child import StartError
from gendet_cli.engine.job import Job
from gendet_cli.engine.pool import DecoderPool
from gendet_cli.errors import PluginError
from gendet_cli.intake.prepare import prepare_all
from gendet_cli.types import Evidence, Failure, Prepared, Preprocessing, Source

SMALL = Preprocessing("resize-crop", 32, 1, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
CROPS = Preprocessing("native-crops", 16, 4, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
JOB = Job((SMALL, CROPS), evidence=False)
ROOT = Path(gendet_cli.__file__).parents[1]
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and names")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def noise(path: Path, seed: int) -> Source:
    pixels = np.random.default_rng(seed).integers(0, 256, (40 + seed % 9, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return Source(path.name, str(path))


def slow(path: Path) -> Source:
    """A PNG of 10,000 x 10,000 pixels of one bit: 12 kB that take about a second to decode."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(10_000 * 1251))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return Source(path.name, str(path))


def greedy(path: Path) -> Source:
    """A sparse TIFF of 475 MB, RGBA and turned by 90 degrees: needs three to four times that."""
    side_px = 10_900
    tags = [(256, side_px), (257, side_px), (258, 8), (259, 1), (262, 2), (273, 200), (274, 6), (277, 4)]
    tags += [(278, side_px), (279, 4 * side_px * side_px), (338, 2)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    with path.open("wb") as file:
        file.write(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4))
        file.truncate(200 + 4 * side_px * side_px)
    return Source(path.name, str(path))


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(JOB, 2) as started:
        yield started


def test_job_survives_json():
    for job in (JOB, Job((), "training:3", plugins=("exif",), show_private=True)):
        assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_outcomes_are_those_of_the_same_process_and_in_order(tmp_path: Path, pool: DecoderPool):
    sources: list[Source | Failure] = [noise(tmp_path / f"{seed}.png", seed) for seed in range(40)]
    sources[7] = Failure(Source("lost", "lost"), "no such file")
    sources[11] = Source("gone.jpg", str(tmp_path / "gone.jpg"))
    outcomes = list(pool.run(sources))
    assert [outcome.source for outcome in outcomes] == [
        source.source if isinstance(source, Failure) else source for source in sources
    ]
    assert outcomes[7] is sources[7]
    assert isinstance(outcomes[11], Failure)
    for source, outcome in zip(sources, outcomes, strict=True):
        if isinstance(outcome, Prepared) and isinstance(source, Source):
            data = Path(source.path).read_bytes()
            image = Image.open(source.path)
            assert (outcome.width_px, outcome.height_px) == image.size
            assert (outcome.sha256, outcome.format) == (hashlib.sha256(data).hexdigest(), "PNG")
            for found, expected in zip(outcome.views, prepare_all(image, JOB.preprocessing), strict=True):
                assert found.dtype == np.float32
                assert (found == expected).all()


def test_sources_are_pulled_lazily(tmp_path: Path, pool: DecoderPool):
    source = noise(tmp_path / "a.png", 1)
    pulled = 0

    def count() -> Iterator[Source]:
        nonlocal pulled
        for _ in range(200):
            pulled += 1
            yield source

    for seen, _ in enumerate(pool.run(count()), start=1):
        assert pulled <= seen + 2 * 2 + 2
    assert pulled == 200


@posix
def test_names_that_are_not_utf8(tmp_path: Path, pool: DecoderPool):
    good = noise(tmp_path / "a.png", 1)
    path = os.path.join(os.fsencode(tmp_path), b"\xff\xfe\xb1 \n.png")
    os.rename(good.path, path)
    source = Source(os.fsdecode(path), os.fsdecode(path))
    (outcome,) = pool.run([source])
    assert isinstance(outcome, Prepared)
    assert outcome.source == source


def test_transform_is_applied_and_size_is_that_before(tmp_path: Path):
    source = noise(tmp_path / "a.png", 3)
    with DecoderPool(Job((CROPS,), transform="training:1", evidence=False), 1) as pool:
        (outcome,) = pool.run([source])
    assert isinstance(outcome, Prepared)
    image = Image.open(source.path)
    assert (outcome.width_px, outcome.height_px) == image.size
    (expected,) = prepare_all(degrade.transform("training:1")(image, outcome.sha256), (CROPS,))
    assert (outcome.views[0] == expected).all()


def test_time_limit(tmp_path: Path):
    quick, bad = noise(tmp_path / "a.png", 1), slow(tmp_path / "slow.png")
    with DecoderPool(JOB, 1, time_limit_s=0.25) as pool:
        outcomes = list(pool.run([quick, bad, quick]))
    assert [type(outcome) for outcome in outcomes] == [Prepared, Failure, Prepared]
    assert isinstance(outcomes[1], Failure)
    assert "took longer than 0.25 s to decode" in outcomes[1].reason


@posix
def test_child_killed_over_a_picture_costs_that_row_alone(tmp_path: Path):
    quick, bad = noise(tmp_path / "a.png", 1), slow(tmp_path / "slow.png")
    with DecoderPool(JOB, 1) as pool:
        victim = pool._children[0]._process
        threading.Timer(0.3, victim.kill).start()
        outcomes = list(pool.run([quick, bad, quick]))
        assert pool._children[0]._process.pid != victim.pid
    assert [type(outcome) for outcome in outcomes] == [Prepared, Failure, Prepared]
    assert isinstance(outcomes[1], Failure)
    assert "was killed (SIGKILL)" in outcomes[1].reason


@posix
def test_child_killed_between_pictures_costs_nothing(tmp_path: Path):
    quick = noise(tmp_path / "a.png", 1)
    with DecoderPool(JOB, 1) as pool:
        assert isinstance(next(iter(pool.run([quick]))), Prepared)
        pool._children[0]._process.send_signal(signal.SIGSEGV)
        pool._children[0]._process.wait()
        assert all(isinstance(outcome, Prepared) for outcome in pool.run([quick] * 3))


@linux
def test_memory_limit(tmp_path: Path):
    quick, bad = noise(tmp_path / "a.png", 1), greedy(tmp_path / "greedy.tif")
    with DecoderPool(JOB, 1) as pool:
        outcomes = list(pool.run([quick, bad, quick]))
    assert [type(outcome) for outcome in outcomes] == [Prepared, Failure, Prepared]
    assert isinstance(outcomes[1], Failure)
    assert outcomes[1].reason.startswith("needs more than 1.5 GiB to decode")
    assert outcomes[1].format == "TIFF"


@linux
def test_children_load_neither_torch_nor_onnxruntime_and_one_thread(pool: DecoderPool, tmp_path: Path):
    list(pool.run([noise(tmp_path / "a.png", 1)] * 4))
    for child in pool._children:
        maps = Path(f"/proc/{child._process.pid}/maps").read_text()
        assert "libtorch" not in maps
        assert "onnxruntime" not in maps
        assert len(os.listdir(f"/proc/{child._process.pid}/task")) == 1


def test_children_are_gone_afterwards(tmp_path: Path):
    source = noise(tmp_path / "a.png", 1)
    with DecoderPool(JOB, 2) as pool:
        results = pool.run(itertools.repeat(source))
        next(results)
        results.close()
        assert all(child._process.poll() is not None for child in pool._children)
    with pytest.raises(ZeroDivisionError), DecoderPool(JOB, 2) as pool:
        next(pool.run(itertools.repeat(source))).views[0] / (1 // 0)
    assert all(child._process.poll() is not None for child in pool._children)


def test_error_of_the_sources_comes_through(tmp_path: Path):
    def broken() -> Iterator[Source]:
        yield noise(tmp_path / "a.png", 1)
        raise ZeroDivisionError

    with DecoderPool(JOB, 1) as pool, pytest.raises(ZeroDivisionError):
        list(pool.run(broken()))


INTERRUPTED = """
import itertools, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
from gendet_cli.engine.job import Job
from gendet_cli.engine.pool import DecoderPool
from gendet_cli.types import Source
try:
    with DecoderPool(Job((), evidence=False), 2) as pool:
        for number, _ in enumerate(pool.run(itertools.repeat(Source(sys.argv[1], sys.argv[1])))):
            if number == 0:
                print(*(child._process.pid for child in pool._children), flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


@linux
@pytest.mark.parametrize("whole_group", [True, False])
def test_interrupt_ends_parent_and_children(tmp_path: Path, whole_group: bool):
    source = noise(tmp_path / "a.png", 1)
    command = [sys.executable, "-c", INTERRUPTED, source.path]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        children = [int(pid) for pid in process.stdout.readline().split()]
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
        try:
            assert process.wait(20) == 130
        finally:
            process.kill()
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


@linux
def test_children_follow_a_parent_that_is_killed(tmp_path: Path):
    source = noise(tmp_path / "a.png", 1)
    command = [sys.executable, "-c", INTERRUPTED, source.path]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        children = [int(pid) for pid in process.stdout.readline().split()]
        process.kill()
    deadline = time.monotonic() + 10
    while any(_is_running(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_unknown_plugin_is_a_plugin_error():
    with pytest.raises(PluginError, match="nonsense"), DecoderPool(Job((), plugins=("nonsense",)), 2):
        pass


def test_child_that_cannot_start_says_why():
    with pytest.raises(StartError, match="KeyError"), DecoderPool(Job((), transform="nonsense"), 2):
        pass


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in ("numpy", "PIL", "json", "exifread", "sitecustomize", "gendet_plugins"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('imported from the scanned folder')")
    source = noise(tmp_path / "a.png", 1)
    monkeypatch.chdir(tmp_path)
    with DecoderPool(JOB, 1) as pool:
        assert isinstance(next(iter(pool.run([source]))), Prepared)


PLUGIN = """
import os
from gendet_cli.plugin.api import Evidence, hookimpl

@hookimpl
def gendet_evidence(sample):
    print("noise on stdout", flush=True)
    os.write(1, b"more of it")
    if sample.image.height == 42:
        raise ValueError("broken plugin")
    return [Evidence("probe", "Software", "\\udcff café"), Evidence("probe", "Serial", "12345", private=True)]
"""


@pytest.mark.parametrize("show_private", [False, True])
def test_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, show_private: bool):
    """A real plugin, installed in a folder of its own: private values are hidden, prints and crashes do no harm."""
    site = tmp_path / "site"
    (site / "probe-1.0.dist-info").mkdir(parents=True)
    (site / "probe-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n")
    (site / "probe-1.0.dist-info" / "entry_points.txt").write_text("[gendet]\nprobe = probe_plugin\n")
    (site / "probe_plugin.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(site))
    sources = [noise(tmp_path / "a.png", 1), noise(tmp_path / "b.png", 2)]  # 41 and 42 pixels high
    with DecoderPool(Job((), plugins=("probe",), show_private=show_private), 1) as pool:
        first, second = pool.run(sources)
    assert isinstance(first, Prepared)
    assert isinstance(second, Prepared)
    assert first.evidence == (
        Evidence("probe", "Software", "\udcff café"),
        Evidence("probe", "Serial", "12345" if show_private else "present", private=True),
    )
    assert [(entry.kind, entry.value) for entry in second.evidence] == [("error", "ValueError: broken plugin")]
