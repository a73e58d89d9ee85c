import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import gendet_cli
from gendet_cli.errors import SettingsError
from gendet_cli.intake.find import Census, find
from gendet_cli.intake.pattern import expand
from gendet_cli.intake.read import read
from gendet_cli.intake.seen import SeenPaths
from gendet_cli.intake.signature import has_image_suffix, signature
from gendet_cli.types import Failure, Source

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX file system")


def rows(*inputs: str, listing: list[bytes] | None = None) -> tuple[list[Source | Failure], Census]:
    census = Census()
    return list(find(inputs, listing=listing, census=census)), census


def names(*inputs: str, listing: list[bytes] | None = None) -> list[str]:
    return [
        row.name if isinstance(row, Source) else f"! {row.source.name}" for row in rows(*inputs, listing=listing)[0]
    ]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder in ("photos/b", "photos/.git", "empty"):
        Path(folder).mkdir(parents=True)
    for name in ("photos/c.jpg", "photos/a.PNG", "photos/b/x.webp", "photos/b/y.jp2", "photos/.git/z.png"):
        Path(name).write_bytes(b"")
    Path("photos/.hidden.png").write_bytes(b"")
    Path("photos/notes.txt").write_bytes(b"BMW is not a bitmap")
    Image.new("RGB", (2, 2)).save("photos/unnamed", "PNG")
    return tmp_path


def test_folder_is_sorted_recursive_and_counted(tree: Path):
    found, census = rows("photos")
    expected = ["a.PNG", "b/x.webp", "b/y.jp2", "c.jpg", "unnamed"]
    assert [row.name for row in found] == [os.path.join("photos", *name.split("/")) for name in expected]
    assert census == Census(found=5, hidden=2, not_images=1, linked_folders=0)


def test_order_as_given_and_each_path_once(tree: Path):
    absolute = str(tree / "photos" / "a.PNG")
    assert names("photos/c.jpg", "./photos/c.jpg", absolute, "photos/b/../a.PNG", "photos/b") == [
        "photos/c.jpg",
        absolute,
        "photos/b/x.webp",
        "photos/b/y.jp2",
    ]


def test_named_file_gets_a_row_whatever_it_is(tree: Path):
    assert names("photos/notes.txt", "photos/.hidden.png") == ["photos/notes.txt", "photos/.hidden.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("photos/*.jpg", ["photos/c.jpg"]),
        ("photos/[ab].*", ["photos/a.PNG"]),
        ("photos/**/?.webp", ["photos/b/x.webp"]),
        ("**/*.PNG", ["photos/a.PNG"]),
        ("photos/*.txt", ["photos/notes.txt"]),
        ("p*/b", ["photos/b/x.webp", "photos/b/y.jp2"]),
        ("photos/*.gif", ["! photos/*.gif"]),
    ],
)
def test_globs(tree: Path, pattern: str, expected: list[str]):
    assert names(pattern) == expected


@posix
def test_literal_name_wins_over_glob(tree: Path):
    Path("[ab].png").write_bytes(b"")
    Path("a.png").write_bytes(b"")
    assert names("[ab].png") == ["[ab].png"]


def test_what_finds_nothing_gets_one_failure(tree: Path):
    found, census = rows("missing.jpg", "missing.jpg", "empty", "no*thing")
    assert [row.reason.split(";")[0] for row in found if isinstance(row, Failure)] == [
        "no such file or folder",
        "no picture in it",
        "nothing matches this pattern",
    ]
    assert census.found == 3


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        ([b"photos/a.PNG\n", b"\n", b"photos/c.jpg\r\n"], ["photos/a.PNG", "photos/c.jpg"]),
        ([b"photos/a.PNG\0photos/c.jpg\0"], ["photos/a.PNG", "photos/c.jpg"]),
        ([b"photos/a.PNG\0two\n", b"lines.jpg\0photos/c.jpg"], ["photos/a.PNG", "! two\nlines.jpg", "photos/c.jpg"]),
        ([b"photos/*.jpg\n"], ["! photos/*.jpg"]),
        ([b"photos/b"], ["photos/b/x.webp", "photos/b/y.jp2"]),
    ],
)
def test_list_on_standard_input(tree: Path, listing: list[bytes], expected: list[str]):
    assert names("-", listing=listing) == expected


def test_list_in_its_place_among_inputs(tree: Path):
    assert names("photos/c.jpg", "-", "photos/a.PNG", listing=[b"photos/b/x.webp\n"]) == [
        "photos/c.jpg",
        "photos/b/x.webp",
        "photos/a.PNG",
    ]


def test_dash_without_a_list_is_a_settings_error(tree: Path):
    with pytest.raises(SettingsError, match="no list"):
        rows("-")


@posix
def test_links(tree: Path):
    os.symlink("..", "photos/b/up")
    os.symlink("c.jpg", "photos/link.jpg")
    os.symlink("nowhere", "photos/dangling.jpg")
    os.symlink("loop.jpg", "photos/loop.jpg")
    os.symlink("nowhere", "photos/dangling")
    found, census = rows("photos", "photos/b/up")
    reasons = {row.source.name: row.reason for row in found if isinstance(row, Failure)}
    assert "points to nothing" in reasons["photos/dangling.jpg"]
    assert "loop of links" in reasons["photos/loop.jpg"]
    assert len(reasons) == 2
    assert "photos/link.jpg" in {row.name for row in found if isinstance(row, Source)}
    assert (len(found), census.linked_folders, census.not_images) == (8, 2, 4)  # the named link was walked as well


@posix
def test_glob_is_not_caught_in_links_upwards(tree: Path):
    os.symlink("..", "photos/up1")
    os.symlink("..", "photos/b/up2")
    assert names("**/*.jpg") == ["photos/c.jpg"]
    assert len(list(expand("photos/**"))) < 20


@posix
def test_pipes_and_sockets_are_never_opened(tree: Path):
    os.mkfifo("photos/pipe.jpg")
    os.mkfifo("photos/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("photos/socket.png")
        found, census = rows("photos", "photos/pipe", "/dev/null")
    failures = [row for row in found if isinstance(row, Failure)]
    expected = ["photos/pipe.jpg", "photos/socket.png", "photos/pipe", "/dev/null"]
    assert [row.source.name for row in failures] == expected
    assert all("not a regular file" in row.reason for row in failures)
    assert census.not_images == 2
    assert all(isinstance(read(row.source), Failure) for row in failures)


@posix
def test_names_that_are_not_utf8(tree: Path):
    raw = b"photos/b/\xff\xfe.jpg"
    with open(raw, "wb") as file:
        file.write(b"x")
    assert names("photos/b")[-1] == os.fsdecode(raw)
    (row,), _ = rows("-", listing=[raw + b"\n"])
    assert isinstance(row, Source)
    assert read(row) == (b"x", "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")


@pytest.mark.parametrize("name", ["", "nul\0inside.jpg", "\ud800.jpg", "x" * 5000])
def test_impossible_names_are_failures(tree: Path, name: str):
    (row,), _ = rows(name)
    assert isinstance(row, Failure)
    assert row.reason


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_permissions(tree: Path):
    Path("photos/c.jpg").chmod(0)
    Path("photos/unnamed").chmod(0)
    Path("photos/b").chmod(0)
    try:
        found, _ = rows("photos")
    finally:
        Path("photos/b").chmod(0o755)
    reasons = {row.source.name: row.reason for row in found if isinstance(row, Failure)}
    assert set(reasons) == {"photos/b", "photos/unnamed"}
    assert "cannot be listed: permission denied" in reasons["photos/b"]
    failure = read(Source("photos/c.jpg", "photos/c.jpg"))
    assert isinstance(failure, Failure)
    assert "permission denied" in failure.reason


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to become somebody else")
def test_permissions_as_somebody_else(tmp_path: Path):
    """The same for a test run by root: a child that gives its rights up."""
    tmp_path.chmod(0o755)
    (tmp_path / "locked").mkdir(mode=0o700)
    (tmp_path / "no.jpg").write_bytes(b"x")
    (tmp_path / "no.jpg").chmod(0)
    code = (
        "import os, sys; sys.path.append(os.getcwd()); os.chdir(sys.argv[1])\n"
        "from gendet_cli.intake.find import *\nfrom gendet_cli.intake.read import read\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "found = list(find(['.'], listing=None, census=Census()))\n"
        "print(found[0].reason.split(';')[0]); print(read(found[1]).reason.split(';')[0])"
    )
    root = Path(gendet_cli.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=root, capture_output=True, text=True, check=False)
    expected = ["this folder cannot be listed: permission denied", "permission denied"]
    assert done.stdout.splitlines() == expected, done.stderr


def test_deep_folders_do_not_overflow_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    depth = 1200 if os.name == "posix" else 60
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    Path("x.png").write_bytes(b"")
    os.chdir(tmp_path)
    try:
        assert names("d") == [os.path.join(*["d"] * depth, "x.png")]
    finally:  # pytest cannot remove so deep a tree
        Path(*["d"] * depth, "x.png").unlink()
        for level in range(depth, 0, -1):
            os.rmdir(os.path.join(*["d"] * level))


def test_find_is_lazy(tree: Path):
    def endless():
        yield "photos/c.jpg"
        pytest.fail("asked for more than was needed")

    assert isinstance(next(find(endless(), listing=None, census=Census())), Source)


def test_seen_paths_agree_with_a_set_and_stay_small():
    seen, reference = SeenPaths(), set()
    draw = random.Random(0)
    for _ in range(20_000):
        path = f"/pictures/{draw.randrange(12_000)}.jpg"
        assert seen.add(path) == (path not in reference)
        reference.add(path)
    assert seen._slots.itemsize * len(seen._slots) <= 24 * 2 * len(reference)


def test_read_refuses_what_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gendet_cli.intake.read.MAX_FILE_BYTES", 1 << 20)
    path = tmp_path / "big.jpg"
    path.write_bytes(bytes((1 << 20) + 1))
    failure = read(Source("big.jpg", str(path)))
    assert isinstance(failure, Failure)
    assert "larger than 1 MiB" in failure.reason


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"BM is a town", ""),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", ""),
        (b"\0\0\0\x18ftypcrx \0\0\0\0crx isom", "camera raw (CR3)"),
        (b"\xff\x0a", "JPEG XL"),
        (b'<?xml version="1.0"?>\n<svg xmlns=', "SVG"),
        (b"RIFF\0\0\0\0WAVE", ""),
        (b"", ""),
    ],
)
def test_signature(head: bytes, expected: str):
    assert signature(head) == expected


def test_image_suffix():
    assert has_image_suffix("a/b.JPeG")
    assert has_image_suffix("x.NEF")
    assert not has_image_suffix("jpg")
    assert not has_image_suffix("a.txt")
