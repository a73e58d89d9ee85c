"""Features on disk, computed once: Parquet shards keyed by backbone, weights, preprocessing and transform.

A row is one view: sha256, path, label, group, split, content and the feature as a fixed-size list of float16. A
picture is known by the hash of its bytes, so moving a data set costs nothing, and nothing is computed twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gendet_cli.data.layouts import Record
from gendet_cli.errors import SettingsError

if TYPE_CHECKING:
    from gendet_cli.types import Float32Array

SHARD_ROWS = 256


@dataclass(frozen=True, slots=True)
class View:
    """One row: a record's feature (D,) and the hash of the file it was computed from."""

    record: Record
    sha256: str
    feature: Float32Array


@dataclass(frozen=True, slots=True)
class Features:
    """Views as columns: ``x`` float32 (N, D), ``label``, ``group`` and ``content`` of N strings, ``sha256`` of N."""

    x: Float32Array
    label: Any
    group: Any
    content: Any
    sha256: Any

    @property
    def is_fake(self) -> Any:
        """Bool (N,)."""
        return self.label == "fake"

    def take(self, mask: Any) -> Features:
        """The rows where ``mask`` (N,) is true."""
        return Features(self.x[mask], self.label[mask], self.group[mask], self.content[mask], self.sha256[mask])

    def digest(self) -> str:
        """sha256 over hashes, labels and groups: names the data a detector was trained on."""
        lines = "\n".join(map(",".join, zip(self.sha256, self.label, self.group, strict=True)))
        return hashlib.sha256(lines.encode()).hexdigest()


class Store:
    """The features of one backbone under one transform.

    Args:
        folder: where all stores lie.
        key: everything a feature depends on besides the file (backbone, weights, preprocessing, transform).
    """

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        text = json.dumps(key, sort_keys=True)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "key.json").write_text(json.dumps(key, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"{self.folder}: {error.strerror}", hint="name a writable --features folder") from error

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("shard-*.parquet"))

    def known(self) -> set[str]:
        """sha256 of every picture that has a row."""
        return {
            digest
            for shard in self._shards()
            for digest in pq.read_table(shard, columns=["sha256"])["sha256"].to_pylist()
        }

    def add(self, views: Iterable[View]) -> None:
        """Append rows in shards; each appears whole or not at all."""
        batch: list[View] = []
        try:
            for view in views:
                batch.append(view)
                if len(batch) == SHARD_ROWS:
                    self._write(batch)
                    batch = []
        finally:
            if batch:
                self._write(batch)

    def _write(self, views: Sequence[View]) -> None:
        size = len(views[0].feature)
        flat = np.concatenate([view.feature for view in views]).astype(np.float16)
        columns: dict[str, Any] = {
            "sha256": [view.sha256 for view in views],
            "path": [os.fsdecode(view.record.path).encode("utf-8", "backslashreplace").decode() for view in views],
            **{name: [getattr(view.record, name) for view in views] for name in ("label", "group", "split", "content")},
            "feature": pa.FixedSizeListArray.from_arrays(pa.array(flat), size),
        }
        target = self.folder / f"shard-{uuid.uuid4().hex}.parquet"
        partial = target.with_suffix(".partial")
        pq.write_table(pa.table(columns), partial)
        os.replace(partial, target)

    def read(self, records: Iterable[tuple[Record, str]]) -> Features:
        """The rows of these (record, sha256), in order, with the record's labels; missing ones are left out."""
        rows = dict(self._rows())
        found = [(record, digest) for record, digest in records if digest in rows]
        if not found:
            raise SettingsError("none of the pictures has a feature", hint="check that the pictures can be read")
        label, group, content = (
            np.array([getattr(record, name) for record, _ in found]) for name in ("label", "group", "content")
        )
        x = np.stack([rows[digest] for _, digest in found])
        return Features(x, label, group, content, np.array([digest for _, digest in found]))

    def _rows(self) -> Iterator[tuple[str, Float32Array]]:
        for shard in self._shards():
            table = pq.read_table(shard, columns=["sha256", "feature"])
            column = table["feature"].combine_chunks()
            matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1).astype(np.float32)
            yield from zip(table["sha256"].to_pylist(), matrix, strict=True)
