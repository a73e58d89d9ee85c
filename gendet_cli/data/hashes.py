"""sha256 of files, remembered beside the feature store by path, size and time of change, as git does."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gendet_cli.errors import SettingsError

FILE = "hashes.parquet"
COLUMNS = ("path", "bytes", "mtime_ns", "sha256")


class Hashes:
    """Hashes of files; those whose size and time of change are as remembered are not read again.

    Args:
        folder: where ``hashes.parquet`` lies; a missing one is started.
        empty: remember nothing from before.

    Raises:
        SettingsError: the file is damaged.
    """

    def __init__(self, folder: Path, *, empty: bool = False) -> None:
        self._path = folder / FILE
        self._known: dict[str, tuple[int, int, str]] = {}
        if self._path.is_file() and not empty:
            try:
                columns = pq.read_table(self._path).to_pydict()
            except (OSError, pa.ArrowException) as error:
                raise SettingsError(f"{self._path}: {error}", hint="remove it; hashes are computed anew") from error
            for path, *rest in zip(*(columns[name] for name in COLUMNS), strict=True):
                self._known[path] = (rest[0], rest[1], rest[2])
        self._new = False

    def of(self, path: Path) -> str:
        """sha256 of the file at ``path``. Raises OSError if it cannot be read."""
        status = path.stat()
        name = os.fsencode(path.absolute()).hex() if _is_not_text(path) else str(path.absolute())
        known = self._known.get(name)
        if known and known[:2] == (status.st_size, status.st_mtime_ns):
            return known[2]
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        self._known[name] = (status.st_size, status.st_mtime_ns, digest)
        self._new = True
        return digest

    def save(self) -> None:
        """Remember everything, whole or not at all. Raises SettingsError if the folder cannot be written."""
        if not self._new:
            return
        rows = [(path, *rest) for path, rest in self._known.items()]
        table = pa.table(dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True)))
        partial = self._path.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, partial)
            os.replace(partial, self._path)
        except OSError as error:
            raise SettingsError(
                f"{self._path.parent}: {error.strerror}", hint="name a writable --features folder"
            ) from error
        self._new = False


def _is_not_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return True
    return False
