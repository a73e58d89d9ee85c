"""Features on disk, computed once: Parquet shards keyed by backbone, weights, preprocessing and transform.

A row is one view: sha256, path, label, group, split, content and the feature as a fixed-size list of float16. A
picture is known by the hash of its bytes, so moving a data set costs nothing, and nothing is computed twice. Training
reads an uncompressed Arrow copy of all shards, made when it is first asked for, through a memory map.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gendet_cli.data.layouts import Record
from gendet_cli.data.matrix import Matrix
from gendet_cli.errors import SettingsError

if TYPE_CHECKING:
    from gendet_cli.types import Float32Array

SHARD_ROWS = 256
MAPPED_ROWS = 4096
STALE_S = 24 * 3600
MAPPED_TEXT = ["sha256", "label", "group", "content"]


@dataclass(frozen=True, slots=True)
class View:
    """One row: a record's feature (D,) and the hash of the file it was computed from."""

    record: Record
    sha256: str
    feature: Float32Array


@dataclass(frozen=True, slots=True)
class Features:
    """Views as columns: ``x`` (N, D) on disk; ``label``, ``group``, ``content`` and ``sha256`` arrays of N strings."""

    x: Matrix
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
        return Features(self.x.take(mask), self.label[mask], self.group[mask], self.content[mask], self.sha256[mask])

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
        self._key = key
        self.folder = folder / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]

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
        """Append rows in shards, each whole or not at all. Raises SettingsError if the folder cannot be written."""
        self._make_folder()
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

    def _make_folder(self) -> None:
        text = json.dumps(self._key, indent=2, sort_keys=True) + "\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "key.json").write_text(text, encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"{self.folder}: {error.strerror}", hint="name a writable --features folder") from error

    def _write(self, views: Sequence[View]) -> None:
        size = len(views[0].feature)
        flat = np.concatenate([view.feature for view in views])
        if not np.abs(flat).max() <= np.finfo(np.float16).max:
            raise SettingsError(
                f"{self.folder}: a feature that is no finite float16", hint="the backbone must scale its features"
            )
        columns: dict[str, Any] = {
            "sha256": [view.sha256 for view in views],
            "path": [os.fsdecode(view.record.path).encode("utf-8", "backslashreplace").decode() for view in views],
            **{name: [getattr(view.record, name) for view in views] for name in ("label", "group", "split", "content")},
            "feature": pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(np.float16)), size),
        }
        target = self.folder / f"shard-{uuid.uuid4().hex}.parquet"
        partial = target.with_suffix(".partial")
        pq.write_table(pa.table(columns), partial)
        os.replace(partial, target)

    def read(self, records: Iterable[tuple[Record, str]]) -> Features:
        """The rows of these (record, sha256), in order, with the record's labels; missing ones are left out."""
        stored, matrix = self._mapped()
        place = {digest: row for row, digest in enumerate(stored["sha256"].to_pylist())}
        found = [(record, digest) for record, digest in records if digest in place]
        if not found:
            raise SettingsError("none of the pictures has a feature", hint="check that the pictures can be read")
        label, group, content = (
            _strings([getattr(record, name) for record, _ in found]) for name in ("label", "group", "content")
        )
        x = matrix.take(np.array([place[digest] for _, digest in found]))
        return Features(x, label, group, content, _strings([digest for _, digest in found]))

    def everything(self) -> Features:
        """All rows as they were stored, with the labels they were stored with; no picture is needed."""
        stored, matrix = self._mapped()
        return Features(matrix, *(_strings(stored[n].to_pylist()) for n in ("label", "group", "content", "sha256")))

    def damage(self) -> list[str]:
        """What is wrong with the shards themselves: unreadable, of another width, not finite, or with a row twice."""
        problems: list[str] = []
        seen: set[str] = set()
        widths: set[int] = set()
        for shard in self._shards():
            try:
                table = pq.read_table(shard, columns=["sha256", "feature"])
            except (OSError, pa.ArrowException) as error:
                problems.append(f"{shard.name}: {error}")
                continue
            widths.add(table.schema.field("feature").type.list_size)
            values = table["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            if not np.isfinite(values).all():
                problems.append(f"{shard.name}: values that are not finite")
            digests = table["sha256"].to_pylist()
            problems += [f"{shard.name}: {digest} is there twice" for digest in digests if digest in seen]
            seen.update(digests)
        if len(widths) > 1:
            problems.append(f"features of several lengths: {sorted(widths)}")
        return problems

    def _mapped(self) -> tuple[pa.Table, Matrix]:
        """Every row's text columns, and the features through a memory map of the Arrow copy."""
        source = pa.ipc.open_file(pa.memory_map(str(self._copy())))
        batches = [source.get_batch(number) for number in range(source.num_record_batches)]
        text = pa.Table.from_batches([batch.select(MAPPED_TEXT) for batch in batches])
        width = source.schema.field("feature").type.list_size
        parts = [batch["feature"].flatten().to_numpy(zero_copy_only=True).reshape(-1, width) for batch in batches]
        return text, Matrix.of(parts)

    def _copy(self) -> Path:
        """The Arrow copy of today's shards; made anew when there are others, whole or not at all."""
        shards = self._shards()
        if not shards:
            raise SettingsError(f"{self.folder}: no feature is stored", hint="check that the pictures can be read")
        name = hashlib.sha256("/".join(shard.name for shard in shards).encode()).hexdigest()[:16]
        target = self.folder / f"mapped-{name}.arrow"
        if not target.exists():
            partial = target.with_suffix(f".{uuid.uuid4().hex}.partial")
            batches = _batches(shards)
            first = next(batches)
            with pa.ipc.new_file(str(partial), first.schema) as writer:
                writer.write_batch(first)
                for batch in batches:
                    writer.write_batch(batch)
            os.replace(partial, target)
            for old in {*self.folder.glob("mapped-*")} - {target}:  # of fewer shards, or left by a run that was killed
                if old.suffix == ".arrow" or time.time() - old.stat().st_mtime > STALE_S:
                    old.unlink(missing_ok=True)
        return target


def _strings(values: Sequence[str]) -> Any:
    """Object array (N,), equal strings kept once; fixed-width text would take the longest one's room N times."""
    return np.array([sys.intern(value) for value in values], dtype=object)


def _batches(shards: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    """The shards' rows, :data:`MAPPED_ROWS` at a time."""
    waiting: list[pa.Table] = []
    for number, shard in enumerate(shards, 1):
        waiting.append(pq.read_table(shard, columns=[*MAPPED_TEXT, "feature"]))
        if sum(map(len, waiting)) >= MAPPED_ROWS or number == len(shards):
            yield from pa.concat_tables(waiting).combine_chunks().to_batches()
            waiting = []
