"""Names to sources: files, folders, globs and a list on standard input, in the order given, each path once.

A file that is named (as such, in the list, or by a glob) always becomes a row. In a folder, what has an image
suffix or an image signature does; hidden files and folders (leading dot) are left out, and they and the rest are
counted. Links to folders are followed when they are named, never inside a folder. One folder's names are held in
memory to be sorted; of what came before only digests are (:mod:`gendet_cli.intake.seen`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gendet_cli.errors import SettingsError
from gendet_cli.intake import pattern
from gendet_cli.intake.read import NOT_REGULAR, NotRegularError, open_regular, os_reason
from gendet_cli.intake.seen import SeenPaths
from gendet_cli.intake.signature import HEAD_BYTES, has_image_suffix, signature
from gendet_cli.types import Failure, Source

__all__ = ["Census", "find"]

LIST = "-"


@dataclass(slots=True)
class Census:
    """Counts of what a search met, each time it was met; grows while :func:`find` runs.

    Attributes:
        found: rows handed on, failures among them.
        hidden: files and folders inside folders whose name starts with a dot.
        not_images: files inside folders with neither an image's suffix nor its signature.
        linked_folders: links to folders inside folders, not followed.
    """

    found: int = 0
    hidden: int = 0
    not_images: int = 0
    linked_folders: int = 0


def find(inputs: Iterable[str], *, listing: Iterable[bytes] | None, census: Census) -> Iterator[Source | Failure]:
    """Sources for everything the inputs name, lazily.

    Args:
        inputs: files, folders, globs, and ``-`` for the names in ``listing``. A name with ``*``, ``?`` or ``[`` is a
            glob only when nothing is called so.
        listing: lines of names, ended by LF, CR LF or NUL; taken literally, never as globs.
        census: counted into.

    Yields:
        A source per file; a failure per name or glob that finds nothing, per folder that cannot be listed, and per
        name that is no regular file.

    Raises:
        SettingsError: ``-`` is an input and ``listing`` is None.
    """
    seen = SeenPaths()
    for name, literal in _names(inputs, listing):
        met = False
        for row in _expand(name, literal, census):
            met = True
            source = row if isinstance(row, Source) else row.source
            if seen.add(source.path):
                census.found += 1
                yield row
        if not met:
            census.found += 1
            yield Failure(Source(name, name), "no picture in it; name another folder, or the files themselves")


def _names(inputs: Iterable[str], listing: Iterable[bytes] | None) -> Iterator[tuple[str, bool]]:
    """Each name, and whether it is to be taken literally."""
    for name in inputs:
        if name != LIST:
            yield name, False
        elif listing is None:
            raise SettingsError("'-' was given but there is no list to read", hint="write ./- for a file called so")
        else:
            yield from ((os.fsdecode(line), True) for line in _split(listing) if line.strip())


def _split(listing: Iterable[bytes]) -> Iterator[bytes]:
    """The names of a list. From the first NUL on, NULs alone end names, so that names may hold line ends."""
    rest, by_nul = b"", False
    for line in listing:
        by_nul = by_nul or b"\0" in line
        if not by_nul:
            yield line.removesuffix(b"\n").removesuffix(b"\r") if line.endswith(b"\n") else line
            continue
        *whole, rest = (rest + line).split(b"\0")
        yield from whole
    yield rest.removesuffix(b"\n").removesuffix(b"\r")


def _expand(name: str, literal: bool, census: Census) -> Iterator[Source | Failure]:
    """What one name stands for; nothing at all for a folder without pictures."""
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError) as error:
        if literal or not pattern.has_magic(name) or _exists(name):
            yield Failure(Source(name, name), os_reason(error, name))
        else:
            yield from _matches(name, census)
        return
    if stat.S_ISDIR(mode):
        yield from _walk(name, census)
    elif stat.S_ISREG(mode):
        yield Source(name, name)
    else:
        yield Failure(Source(name, name), NOT_REGULAR)


def _exists(name: str) -> bool:
    try:
        return os.path.lexists(name)
    except ValueError:
        return False


def _matches(name: str, census: Census) -> Iterator[Source | Failure]:
    matched = False
    for path in pattern.expand(name):
        matched = True
        if os.path.isdir(path) and os.path.islink(path):
            census.linked_folders += 1
        else:
            yield from _expand(path, True, census)
    if not matched:
        yield Failure(Source(name, name), "nothing matches this pattern; check it, or quote it as the shell needs")


def _walk(folder: str, census: Census) -> Iterator[Source | Failure]:
    """The pictures of a folder and of those inside it, each folder sorted by name, folders in their place."""
    folders = [(folder, iter(("",)))]
    while folders:
        here, names = folders[-1]
        name = next(names, None)
        if name is None:
            folders.pop()
        elif name and not name.endswith(os.sep):
            yield from _in_folder(os.path.join(here, name), census)
        else:
            path = os.path.join(here, name.removesuffix(os.sep)) if name else here
            try:
                folders.append((path, iter(_list(path, census))))
            except OSError as error:
                yield Failure(Source(path, path), f"this folder cannot be listed: {os_reason(error, path)}")


def _list(folder: str, census: Census) -> list[str]:
    """Sorted names in a folder; those of folders end with the separator (names alone, to be small in memory)."""
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                census.hidden += 1
            elif _is_folder(entry):
                names.append(entry.name + os.sep)
            elif os.path.isdir(entry.path):
                census.linked_folders += 1
            else:
                names.append(entry.name)
    return sorted(names, key=lambda name: name.removesuffix(os.sep))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder itself, not a link to one (nor, on Windows, a junction)."""
    is_junction = getattr(entry, "is_junction", None)
    return entry.is_dir(follow_symlinks=False) and not (is_junction and is_junction())


def _in_folder(path: str, census: Census) -> Iterator[Source | Failure]:
    """The row of a file met in a folder, if it is a picture or might be one that cannot be read."""
    if has_image_suffix(path):
        yield from _expand(path, True, census)
        return
    try:
        with open_regular(path) as file:
            if signature(file.read(HEAD_BYTES)):
                yield Source(path, path)
            else:
                census.not_images += 1
    except (NotRegularError, FileNotFoundError):  # a socket, or a link to nothing
        census.not_images += 1
    except OSError as error:
        yield Failure(Source(path, path), os_reason(error, path))
