"""Rows as JSON lines, rows and run as one JSON document (``schema.json`` describes both), and both read back.

A document is laid out with one row per line, so that it is written and read without holding it in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from gendet_cli.report.records import Record
from gendet_cli.report.rows import COLUMNS, FAILED, SCHEMA_VERSION, MalformedRowError, Recorded, Row
from gendet_cli.report.run import RunInfo
from gendet_cli.types import Verdict

__all__ = ["could_be_torn", "parse_row", "read_row", "render", "render_row", "split", "split_document"]

_VERSION = f'{{"schema_version": {SCHEMA_VERSION}, '
_OPENING = f'{{"schema_version": {SCHEMA_VERSION},\n'.encode()
_RUN = b'"run": '
_ROWS = b'"rows": [\n'
_CLOSING = b"]}\n"
_FIELDS = frozenset({*COLUMNS, "logit"})


def render_row(row: Row) -> str:
    """One JSON line with its newline; ``schema_version`` stands first."""
    return _VERSION + _text(row)[1:] + "\n"


def render(rows: Iterable[Row], run: RunInfo) -> Iterator[str]:
    """The JSON document in pieces, one row at a time."""
    yield _OPENING.decode()
    yield f"{_RUN.decode()}{_text(run.to_json())},\n{_ROWS.decode()}"
    before = ""
    for row in rows:
        yield before + _text(row)
        before = ",\n"
    yield ("\n" if before else "") + _CLOSING.decode()


def _text(value: Mapping[str, Any] | Row) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def split(lines: Iterable[bytes]) -> Iterator[Record]:
    """Cuts JSON lines into rows.

    Args:
        lines: the bytes, cut after each newline.
    """
    for number, line in enumerate(lines, start=1):
        yield Record(number, line, whole=line.endswith(b"\n"))


def split_document(lines: Iterable[bytes]) -> Iterator[Record]:
    """Cuts a JSON document that :func:`render` made into the same records as :func:`split`.

    Raises:
        MalformedRowError: it is not laid out as :func:`render` does.
    """
    ended, number = False, 0
    for number, line in enumerate(lines, start=1):
        _check_frame(number, line, ended)
        ended = ended or line == _CLOSING
        if number > 3 and not ended:
            data = _VERSION.encode() + line.rstrip(b"\n").removesuffix(b",")[1:] + b"\n"
            yield Record(number, data, whole=True)
    if not ended:
        raise MalformedRowError("the document ends too early", number + 1)


def _check_frame(number: int, line: bytes, ended: bool) -> None:
    frame = {1: _OPENING, 2: _RUN, 3: _ROWS}
    if ended or not line.startswith(frame.get(number, b"")):
        raise MalformedRowError("not as gendet writes it", number)


def parse_row(data: bytes) -> Recorded:
    """What a line says of its input.

    Raises:
        MalformedRowError: not one of our rows.
    """
    row = read_row(data)
    return Recorded(row["input"], row["verdict"] or FAILED, row["detector"])


def read_row(data: bytes) -> Row:
    """The inverse of :func:`render_row`.

    Raises:
        MalformedRowError: not one of our rows.
    """
    try:
        value = json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise MalformedRowError(f"not JSON in UTF-8: {error}") from error
    if not isinstance(value, dict) or value.pop("schema_version", None) != SCHEMA_VERSION or value.keys() != _FIELDS:
        raise MalformedRowError(f"not a row of schema version {SCHEMA_VERSION}")
    verdicts = [str(verdict) for verdict in Verdict] if value["status"] == "scored" else [None]
    if value["status"] not in ("scored", FAILED) or value["verdict"] not in verdicts:
        raise MalformedRowError(f"status {value['status']!r} with verdict {value['verdict']!r}")
    if not (isinstance(value["input"], str) and isinstance(value["detector"], str)):
        raise MalformedRowError("input or detector is no text")
    return cast(Row, value)


def could_be_torn(record: Record) -> bool:
    """Whether an unfinished last line can be what is left of a row."""
    start = _VERSION.encode()
    return record.data.startswith(start) or start.startswith(record.data)
