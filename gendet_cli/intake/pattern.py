"""Globs: ``*``, ``?``, ``[...]`` and ``**``, sorted, streamed, and without following links to folders below ``**``.

The standard library's ``glob`` follows such links, so that two of them that point upwards keep it busy for ever.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator

__all__ = ["expand", "has_magic"]

MAGIC = re.compile(r"[*?[]")
SEPARATORS = re.compile(f"[{re.escape(os.sep + (os.altsep or ''))}]+")


def has_magic(name: str) -> bool:
    """Whether ``name`` holds a character that makes it a glob."""
    return MAGIC.search(name) is not None


def expand(pattern: str) -> Iterator[str]:
    """Paths that match ``pattern``, sorted within each folder; a path may come up twice when ``**`` stands twice.

    As in a shell, ``*`` leaves names with a leading dot to patterns that start with one, and ``**`` as a whole
    part stands for any number of folders. Folders that cannot be listed match nothing.
    """
    drive, rest = os.path.splitdrive(pattern)
    parts = SEPARATORS.split(rest)
    root = drive + os.sep if parts[0] == "" else drive
    return _match(root, [part for part in parts if part])


def _match(folder: str, parts: list[str]) -> Iterator[str]:
    if not parts:
        yield folder
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _match_below(folder, rest)
    elif not has_magic(part):
        path = os.path.join(folder, part)
        if os.path.lexists(path):
            yield from _match(path, rest)
    else:
        accepts = re.compile(fnmatch.translate(os.path.normcase(part))).match
        for name in _names(folder):
            hidden = name.startswith(".") and not part.startswith(".")
            path = os.path.join(folder, name)
            if not hidden and accepts(os.path.normcase(name)) and (not rest or os.path.isdir(path)):
                yield from _match(path, rest)


def _match_below(folder: str, rest: list[str]) -> Iterator[str]:
    """``**``: the rest in ``folder`` and in every folder below it, depth first; as the last part, every file."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        yield from _match(here, rest or ["*"])
        below = [os.path.join(here, name) for name in _names(here) if not name.startswith(".")]
        waiting.extend(path for path in reversed(below) if os.path.isdir(path) and not os.path.islink(path))


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder or os.curdir))
    except OSError:
        return []
