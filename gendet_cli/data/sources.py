"""Where a manifest's pictures lie: git repositories, Debian packages, the gendet open set. Bytes only, never code.

A manifest is a CSV file with one row a picture; what each row says was checked when the manifest was made, and its
sha256 is checked again when the picture is fetched.
"""

from __future__ import annotations

import csv
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendet_cli.data.layouts import LABELS, Label
from gendet_cli.errors import SettingsError

OPEN_SET = "gendet-open-set"
DEBIAN = "debian:"
COLUMNS = (
    "repository",
    "commit",
    "path",
    "sha256",
    "label",
    "source",
    "generator",
    "content",
    "split",
    "box",
    "caution",
)
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
VERSION = re.compile(r"[A-Za-z0-9.:~+-]+")
TIMEOUT_S = 3600


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a manifest.

    Attributes:
        repository: ``owner/name`` on a git host, ``debian:<package>``, or ``gendet-open-set``.
        commit: 40 hexadecimal digits; a Debian package's version; empty for the open set.
        path: inside the commit's tree, the unpacked package, or the open set.
        sha256: of the file.
        label: ``real``, ``art`` or ``fake``.
        source: what is held out as a whole: a repository (reals, art), or the generator (fakes).
        generator: of a fake; camera or medium of the others, where known.
        content: ``photo`` or ``art``.
        split: ``train`` or ``dev-full``.
        box: left, top, right, bottom in pixels where only a part of the file is the picture, else None.
        caution: what to know about it.
    """

    repository: str
    commit: str
    path: str
    sha256: str
    label: Label
    source: str
    generator: str
    content: str
    split: str
    box: tuple[int, int, int, int] | None
    caution: str


def read_manifest(path: Path) -> list[Entry]:
    """The entries of a manifest, in its order. Raises SettingsError that names the first wrong line."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                raise SettingsError(f"{path}: no column {', '.join(missing)}", hint=f"columns: {', '.join(COLUMNS)}")
            return [_entry(row, f"{path}, line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path}: {error}", hint="name a manifest like weights/gendet/data.csv") from error


def _entry(row: dict[str, str], where: str) -> Entry:
    box = tuple(map(int, row["box"].split(","))) if re.fullmatch(r"\d+(,\d+){3}", row["box"] or "") else None
    known = {
        "repository": _is_known_place(row["repository"] or "", row["commit"] or ""),
        "sha256": bool(re.fullmatch(r"[0-9a-f]{64}", row["sha256"] or "")),
        "label": row["label"] in LABELS,
        "path": bool(row["path"]) and "\n" not in row["path"] and _is_inside(row["path"]),
        "box": bool(box) or not row["box"],
        "split": bool(re.fullmatch(r"[a-z0-9-]+", row["split"] or "")),
    }
    if wrong := [name for name, fits in known.items() if not fits]:
        raise SettingsError(f"{where}: wrong {', '.join(wrong)}", hint="correct the manifest")
    values = {name: row[name] for name in COLUMNS}
    return Entry(**{**values, "box": box})  # type: ignore[arg-type]


def _is_inside(path: str) -> bool:
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _is_known_place(repository: str, commit: str) -> bool:
    if repository.startswith(DEBIAN):
        return bool(PACKAGE.fullmatch(repository.removeprefix(DEBIAN)) and VERSION.fullmatch(commit))
    return repository == OPEN_SET or bool(REPOSITORY.fullmatch(repository) and COMMIT.fullmatch(commit))


class UnavailableError(Exception):
    """A whole repository or package that cannot be had; the text says why."""


def open_set_files(entries: Iterable[Entry], root: Path | None) -> Iterator[tuple[Entry, bytes | None]]:
    """Each entry with its bytes, or None if the open set does not have it. Raises UnavailableError without a root."""
    if root is None:
        raise UnavailableError("set GENDET_DATA to the gendet open set")
    for entry in entries:
        path = root / entry.path
        yield entry, path.read_bytes() if path.is_file() else None


def git_files(entries: Iterable[Entry], repository: Path) -> Iterator[tuple[Entry, bytes | None]]:
    """Each entry with its blob out of a bare repository, or None where the commit has no such file."""
    command = ["git", f"--git-dir={repository}", "cat-file", "--batch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as git:
        assert git.stdin is not None
        assert git.stdout is not None
        for entry in entries:
            git.stdin.write(f"{entry.commit}:{entry.path}\n".encode())
            git.stdin.flush()
            kind, _, size = git.stdout.readline().decode("utf-8", "replace").strip().rpartition(" ")
            if not kind.endswith(" blob"):
                yield entry, None
                continue
            data = git.stdout.read(int(size))
            git.stdout.read(1)
            yield entry, data
        git.stdin.close()


def fetch_commit(url: str, commit: str, folder: Path) -> None:
    """Bring one commit of the repository at ``url`` into the bare repository ``folder``, without its history.

    Raises:
        UnavailableError: git says no; the text is its last line.
    """
    if not folder.exists():
        _run(["git", "init", "--quiet", "--bare", str(folder)])
    git = ["git", f"--git-dir={folder}"]
    if subprocess.run([*git, "cat-file", "-e", f"{commit}^{{tree}}"], capture_output=True, check=False).returncode:
        _run([*git, "-c", "credential.helper=", "fetch", "--quiet", "--depth=1", "--no-tags", url, commit])


def package_files(entries: Iterable[Entry]) -> Iterator[tuple[Entry, bytes | None]]:
    """Each entry with its bytes out of one Debian package, downloaded by apt and unpacked in a temporary folder.

    Raises:
        UnavailableError: apt does not have that version, or is not there.
    """
    entries = list(entries)
    name = f"{entries[0].repository.removeprefix(DEBIAN)}={entries[0].commit}"
    with tempfile.TemporaryDirectory() as folder:
        _run(["apt-get", "download", "--quiet", name], cwd=folder)
        (archive,) = Path(folder).glob("*.deb")
        _run(["dpkg-deb", "-x", str(archive), f"{folder}/tree"])
        for entry in entries:
            path = Path(folder, "tree", entry.path)
            yield entry, path.read_bytes() if path.is_file() and not path.is_symlink() else None


def _run(command: list[str], cwd: str | None = None) -> None:
    alone: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "start_new_session": True,
    }  # no terminal to ask for a password
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=TIMEOUT_S, check=False, **alone)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(str(error)) from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UnavailableError(said[-1] if said else f"{command[0]} returned {done.returncode}")
