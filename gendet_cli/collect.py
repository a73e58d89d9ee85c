"""Recipe: a manifest to a folder of pictures in the layout of the open set, and a list of what could not be had."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from PIL import Image

from gendet_cli.data.sources import (
    DEBIAN,
    OPEN_SET,
    Entry,
    UnavailableError,
    fetch_commit,
    git_files,
    open_set_files,
    package_files,
)
from gendet_cli.errors import SettingsError

INDEX = ("path", "split", "label", "source", "generator", "content", "sha256", "origin")
MISSING = ("repository", "commit", "path", "reason")
Progress = Callable[[str, int, int], None]


def collect(
    entries: Sequence[Entry],
    out: Path,
    *,
    host: str,
    repositories: Path,
    open_set: Path | None,
    progress: Progress,
) -> list[tuple[Entry, str]]:
    """Write every picture that can be had below ``out``, then ``index.csv`` and ``missing.csv``; what is there stays.

    Args:
        entries: of the manifest; the index keeps their order.
        out: a folder; pictures lie in ``<split>/<label>/<sha256>``, parts of pictures as lossless WebP.
        host: where repositories are fetched from, e.g. ``https://github.com``.
        repositories: bare repositories, ``owner+name``; those that are there are not fetched again.
        open_set: root of the gendet open set, or None.
        progress: told of each picture.

    Returns:
        (entry, reason) of each picture that could not be had, or whose bytes are others than the manifest says.

    Raises:
        SettingsError: ``out`` cannot be written.
    """
    missing: dict[Entry, str] = {}
    wanted = [entry for entry in entries if not _place(entry, out).is_file()]
    done = len(entries) - len(wanted)
    try:
        for place, group in groupby(sorted(wanted, key=_repository), key=_repository):
            members = list(group)
            try:
                for entry, data in _files(place, members, host, repositories, open_set):
                    if reason := _store(entry, data, out):
                        missing[entry] = reason
                    done += 1
                    progress(place[0], done, len(entries))
            except UnavailableError as error:
                missing |= {entry: str(error) for entry in members}
                done += len(members)
        _write(out / "index.csv", INDEX, [_indexed(entry, out) for entry in entries if entry not in missing])
        lost = [(entry, missing[entry]) for entry in entries if entry in missing]
        _write(out / "missing.csv", MISSING, [(e.repository, e.commit, e.path, reason) for e, reason in lost])
    except OSError as error:
        raise SettingsError(f"{out}: {error.strerror}", hint="name a writable --out with room for it") from error
    return lost


def _repository(entry: Entry) -> tuple[str, str]:
    return entry.repository, entry.commit


def _files(
    place: tuple[str, str], entries: Sequence[Entry], host: str, repositories: Path, open_set: Path | None
) -> Iterator[tuple[Entry, bytes | None]]:
    repository, commit = place
    if repository == OPEN_SET:
        return open_set_files(entries, open_set)
    if repository.startswith(DEBIAN):
        return package_files(entries)
    folder = repositories / repository.replace("/", "+")
    fetch_commit(f"{host}/{repository}", commit, folder)
    return git_files(entries, folder)


def _place(entry: Entry, out: Path) -> Path:
    cut = f"-{'-'.join(map(str, entry.box))}.webp" if entry.box else ""
    return out / entry.split / entry.label / f"{entry.sha256}{cut}"


def _store(entry: Entry, data: bytes | None, out: Path) -> str:
    """Write one picture, whole or not at all; the reason if that cannot be."""
    if data is None:
        return "no such file there"
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        return "the file there is another"
    try:
        data = _cut(data, entry.box) if entry.box else data
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        return f"no picture to cut: {error}"
    target = _place(entry, out)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(data)
    os.replace(partial, target)
    return ""


def _cut(data: bytes, box: tuple[int, int, int, int]) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").crop(box).save(buffer, "WEBP", lossless=True, quality=0, method=0)
    return buffer.getvalue()


def _indexed(entry: Entry, out: Path) -> tuple[str, ...]:
    path = _place(entry, out).relative_to(out).as_posix()
    origin = f"{entry.repository}@{entry.commit}:{entry.path}"
    return (path, entry.split, entry.label, entry.source, entry.generator, entry.content, entry.sha256, origin)


def _write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    os.replace(partial, path)
