"""The formats a report can have, chosen by the ending of its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import MappingProxyType

from gendet_cli.report import csv_rows, json_rows
from gendet_cli.report.records import Record
from gendet_cli.report.rows import Recorded, Row

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True, slots=True)
class Format:
    """How rows become text and are read back.

    Attributes:
        header: what stands before the first row.
        render_row: a row to its text, newline included.
        split: bytes (cut after each newline) to records, the header included.
        parse_row: a record's bytes to what it says; raises MalformedRowError.
        could_be_torn: whether an unfinished last record may be cut off without loss.
        is_document: the finished report is one JSON document, rendered from JSON lines when all rows are known.
    """

    header: str
    render_row: Callable[[Row], str]
    split: Callable[[Iterable[bytes]], Iterator[Record]]
    parse_row: Callable[[bytes], Recorded]
    could_be_torn: Callable[[Record], bool]
    is_document: bool = False


_CSV = Format(csv_rows.header(), csv_rows.render_row, csv_rows.split, csv_rows.parse_row, csv_rows.could_be_torn)
_LINES = Format("", json_rows.render_row, json_rows.split, json_rows.parse_row, json_rows.could_be_torn)
_DOCUMENT = Format(
    "", json_rows.render_row, json_rows.split, json_rows.parse_row, json_rows.could_be_torn, is_document=True
)

FORMATS = MappingProxyType({".csv": _CSV, ".json": _DOCUMENT, ".jsonl": _LINES})
"""Every format by its ending, in lower case."""
