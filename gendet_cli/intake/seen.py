"""Which paths came up before, in 12 to 24 bytes a path."""

from __future__ import annotations

import hashlib
import os
from array import array

__all__ = ["SeenPaths"]

FIRST_SLOTS = 1024


def _resolve(folder: str) -> str:
    try:
        return os.path.realpath(folder)
    except (OSError, ValueError):
        return folder


class SeenPaths:
    """A set of paths, kept as 8-byte keyed digests in an open-addressing table.

    Two names are the same path when their folders are the same after following links and their last parts are
    equal: ``a/x.png`` and ``./a/x.png`` are one, a link ``y.png`` to ``x.png`` is another. The digest (BLAKE2b,
    a fresh random key per table, so that nobody can prepare two names that collide) takes two paths for one with
    probability n^2 / 2^65: 3e-8 for a million files.
    """

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._slots = array("Q", bytes(8 * FIRST_SLOTS))
        self._count = 0
        self._folder, self._resolved = "", _resolve("")  # neighbours mostly come one after another

    def add(self, path: str) -> bool:
        """Remember ``path``; whether it is new."""
        if not self._insert(self._digest(path)):
            return False
        self._count += 1
        if 3 * self._count > 2 * len(self._slots):
            self._grow()
        return True

    def _digest(self, path: str) -> int:
        folder, last = os.path.split(path)
        if folder != self._folder:
            self._folder, self._resolved = folder, _resolve(folder)
        whole = os.path.join(self._resolved, last) if last not in ("", ".", "..") else _resolve(path)
        text = os.path.normcase(whole).encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=self._key).digest(), "big") or 1

    def _insert(self, digest: int) -> bool:
        slots, mask = self._slots, len(self._slots) - 1
        place = digest & mask
        while slots[place]:  # 0 marks a free slot
            if slots[place] == digest:
                return False
            place = (place + 1) & mask
        slots[place] = digest
        return True

    def _grow(self) -> None:
        old = self._slots
        self._slots = array("Q", bytes(16 * len(old)))
        for digest in old:
            if digest:
                self._insert(digest)
