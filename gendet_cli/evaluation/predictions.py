"""What a detector said of every picture under every transform: the table all figures are computed from.

One row per detector, picture and transform. The Parquet file carries in its metadata all that the figures need besides
the rows: protocol, conditions, the detectors' thresholds and what they were trained on. The CSV file has the rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from gendet_cli.errors import ReportError

FILE = "predictions.parquet"
VECTORS_FILE = "discrepancies.parquet"
METADATA_KEY = b"gendet"
FORMAT = 1
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("detector", "path", "sha256", "split", "subset", "group", "label")),
        *((name, pa.string()) for name in ("content", "transform")),
        ("discrepancy", pa.float64()),  # null for methods without a student
        ("logit", pa.float64()),
        ("log10_lr", pa.float64()),  # as a scan prints it
    ]
)


@dataclass(frozen=True, slots=True)
class Predictions:
    """The table and what is to be known about it.

    Attributes:
        table: rows of :data:`SCHEMA`.
        about: plain values: protocol, dataset, split, headline, conditions, detectors, seed, ...
        vectors: detector, group, label and the discrepancy D itself (float16 list) of a sample of pictures under the
            headline's condition, for t-SNE; None where no method has one.
    """

    table: pa.Table
    about: Mapping[str, Any]
    vectors: pa.Table | None = None

    def columns(self) -> dict[str, Any]:
        """Every column as a numpy array (N,); text as objects, a missing discrepancy as NaN."""
        return {name: self.table[name].to_numpy() for name in self.table.column_names}

    def write(self, folder: Path) -> list[Path]:
        """``predictions.parquet`` and ``predictions.csv`` (and the vectors) in ``folder``, each whole or not at all."""
        table = self.table.replace_schema_metadata({METADATA_KEY: json.dumps(dict(self.about)).encode()})
        whole, text = folder / FILE, folder / "predictions.csv"
        files = [(whole, pq.write_table, table), (text, pyarrow.csv.write_csv, table)]
        if self.vectors is not None:
            files.append((folder / VECTORS_FILE, pq.write_table, self.vectors))
        for path, write, rows in files:
            partial = path.with_name(f"{path.name}.partial")
            write(rows, str(partial))
            os.replace(partial, path)
        return [path for path, _, _ in files]


def read_predictions(where: Path) -> Predictions:
    """The predictions in a folder or a Parquet file. Raises ReportError if they are none of this version."""
    path = where / FILE if where.is_dir() else where
    hint = "name a folder that `gendet evaluate --out` wrote, or its predictions.parquet"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ReportError(f"{path}: cannot read ({error})", hint=hint) from error
    about = json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
    if about.get("format") != FORMAT or not table.schema.equals(SCHEMA):
        raise ReportError(f"{path}: not predictions of this version", hint=hint)
    vectors = path.with_name(VECTORS_FILE)
    return Predictions(table, about, pq.read_table(vectors) if vectors.is_file() else None)


def table_of(parts: Sequence[Mapping[str, Sequence[Any] | Any]]) -> pa.Table:
    """The rows of several parts, each a mapping from column to values (N,); NaN discrepancies become null."""
    tables = []
    for part in parts:
        discrepancy = np.asarray(part["discrepancy"], np.float64)
        columns = {**part, "discrepancy": pa.array(discrepancy, mask=np.isnan(discrepancy))}
        arrays = [columns[field.name] for field in SCHEMA]
        tables.append(
            pa.table([pa.array(column, field.type) for column, field in zip(arrays, SCHEMA, strict=True)], SCHEMA)
        )
    return pa.concat_tables(tables).combine_chunks()
