"""Rows as CSV (RFC 4180 quoting, UTF-8, one newline after each row), and such rows read back."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator

from gendet_cli.report.records import Record
from gendet_cli.report.rows import (
    COLUMNS,
    FAILED,
    MalformedRowError,
    Recorded,
    Row,
    discrepancy_text,
    evidence_cell,
    log10_lr_text,
    p_generated_text,
)
from gendet_cli.types import Verdict

__all__ = ["could_be_torn", "header", "parse_row", "render_row", "split"]

_RUN_BY_SPREADSHEETS = re.compile(r"'*[=+\-@\t\r\n]")
_NEEDS_QUOTES = re.compile(r'[",\r\n]')
_FIELD_LIMIT = 2**31 - 1  # the csv module refuses cells above 128 KiB by default; ours may hold long evidence


def header() -> str:
    """The first line."""
    return ",".join(COLUMNS) + "\n"


def render_row(row: Row) -> str:
    """One row with its newline."""
    return ",".join(_quoted(cell) for cell in _cells(row)) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    p, log10_lr, discrepancy = row["p_generated"], row["log10_lr"], row["discrepancy"]
    return (
        _neutralised(row["input"]),
        row["status"],
        row["verdict"] or "",
        "" if p is None else p_generated_text(p),
        "" if log10_lr is None else log10_lr_text(log10_lr),
        "" if discrepancy is None else discrepancy_text(discrepancy),
        row["sha256"] or "",
        _neutralised(row["format"] or ""),
        "" if row["width_px"] is None else str(row["width_px"]),
        "" if row["height_px"] is None else str(row["height_px"]),
        _neutralised(row["detector"]),
        _neutralised(evidence_cell(row["evidence"])),
        _neutralised(row["reason"] or ""),
    )


def _neutralised(text: str) -> str:
    """A leading apostrophe before what a spreadsheet would run.

    Text that already has apostrophes before such a character gets one more, so that no two texts become one.
    """
    return f"'{text}" if _RUN_BY_SPREADSHEETS.match(text) else text


def _restored(cell: str) -> str:
    """The inverse of :func:`_neutralised`."""
    return cell[1:] if cell.startswith("'") and _RUN_BY_SPREADSHEETS.match(cell) else cell


def _quoted(cell: str) -> str:
    # Written here because the csv module leaves a lone carriage return bare before Python 3.13.
    return '"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell


def split(lines: Iterable[bytes]) -> Iterator[Record]:
    """Cuts a report into rows, the header first; a newline ends a row when it lies outside quotes.

    Args:
        lines: the bytes, cut after each newline.
    """
    start, parts, quotes, following = 1, list[bytes](), 0, 1
    for line in lines:
        following += 1
        parts.append(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0 and line.endswith(b"\n"):
            yield Record(start, b"".join(parts), whole=True)
            start, parts = following, []
    if parts:
        yield Record(start, b"".join(parts), whole=False)


def parse_row(data: bytes) -> Recorded:
    """What a row says of its input.

    Raises:
        MalformedRowError: not one of our rows.
    """
    cells = dict(zip(COLUMNS, _read_cells(data), strict=True))
    verdicts = {str(verdict) for verdict in Verdict} if cells["status"] == "scored" else {""}
    if cells["status"] not in ("scored", FAILED) or cells["verdict"] not in verdicts:
        raise MalformedRowError(f"status {cells['status']!r} with verdict {cells['verdict']!r}")
    return Recorded(_restored(cells["input"]), cells["verdict"] or FAILED, _restored(cells["detector"]))


def _read_cells(data: bytes) -> list[str]:
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        [cells] = csv.reader([data.decode("utf-8")], strict=True)
    except (csv.Error, ValueError) as error:
        raise MalformedRowError(f"not CSV in UTF-8: {error}") from error
    finally:
        csv.field_size_limit(before)
    if len(cells) != len(COLUMNS):
        raise MalformedRowError(f"{len(cells)} cells instead of {len(COLUMNS)}")
    return cells


def could_be_torn(record: Record) -> bool:
    """Whether an unfinished last record can be what is left of one row (or of the header, on line 1).

    It cannot if it swallowed whole rows, as a stray quote in the middle of a report makes it do: cutting it off
    would lose them.
    """
    if record.line == 1:
        return header().encode().startswith(record.data)
    return not any(_is_row(line + b"\n") for line in record.data.split(b"\n")[1:-1])


def _is_row(data: bytes) -> bool:
    try:
        parse_row(data)
    except MalformedRowError:
        return False
    return True
