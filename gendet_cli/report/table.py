"""Rows for the terminal. They stream, so each is a line of its own with the same fixed column widths."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rich.table import Table
from rich.text import Text

from gendet_cli.report.rows import KINDS, kind_of, log10_lr_text, p_generated_text, row, shown
from gendet_cli.types import Finding, Outcome

__all__ = ["heading", "line", "summary", "visible"]

_STYLES = {"flagged": "bold red", "unclear": "yellow", "clear": "cyan", "failed": "magenta"}
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_GAP = 2
_LEAST_TEXT = 24  # picture and note together; narrower, and columns of numbers give way


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    width: int
    justify: Literal["left", "right"] = "left"


_FIXED = (
    _Column("verdict", 7),
    _Column("p", 6, "right"),
    _Column("log10 LR", 8, "right"),
    _Column("size", 11, "right"),
)


def visible(text: str) -> str:
    r"""Text that hides nothing.

    Control, format (bidi overrides, zero-width) and line-separator characters and bytes that are not UTF-8 become
    escapes: ``\n``, ``\x1b``, ``\u202e``, ``\xff``.
    """
    return "".join(_visible_character(character) for character in shown(text))


def _visible_character(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN_CATEGORIES:
        return character
    code = ord(character)
    wide = f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else wide)


def heading(width: int) -> Table:
    """The titles.

    Args:
        width: columns of the terminal; 20 or more.
    """
    columns = _columns(width)
    return _grid(columns, [Text(column.title, style="bold") for column in columns])


def line(outcome: Outcome, width: int, *, show_private: bool = False) -> Table:
    """One input. Long names and notes are folded, never cut; a colour stands for the verdict.

    Args:
        outcome: what the input ended as.
        width: columns of the terminal; 20 or more.
        show_private: show the values of private evidence.
    """
    columns = _columns(width)
    cells = _cells(outcome, show_private)
    return _grid(columns, [cells[column.title] for column in columns])


def _columns(width: int) -> list[_Column]:
    """The columns that fit; size goes first, then log10 LR, then p."""
    fixed = list(_FIXED)
    while len(fixed) > 1 and _text_width(fixed, width) < _LEAST_TEXT:
        fixed.pop()
    text_width = max(_text_width(fixed, width), 2)
    picture = (text_width + 1) // 2
    return [_Column("picture", picture), *fixed, _Column("note", text_width - picture)]


def _text_width(fixed: list[_Column], width: int) -> int:
    return width - sum(column.width + _GAP for column in fixed) - _GAP


def _grid(columns: list[_Column], cells: list[Text]) -> Table:
    grid = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    for column in columns:
        grid.add_column(width=column.width, justify=column.justify, overflow="fold")
    grid.add_row(*cells)
    return grid


def _cells(outcome: Outcome, show_private: bool) -> dict[str, Text]:
    kind = kind_of(outcome)
    cells = {
        "picture": visible(outcome.source.name),
        "p": "",
        "log10 LR": "",
        "size": "",
        "note": visible(_note(outcome, show_private)),
    }
    if isinstance(outcome, Finding):
        cells["p"] = p_generated_text(outcome.p_generated)
        cells["log10 LR"] = log10_lr_text(outcome.log10_lr)
        cells["size"] = f"{outcome.width_px}x{outcome.height_px}"
    return {**{title: Text(cell) for title, cell in cells.items()}, "verdict": Text(kind, style=_STYLES[kind])}


def _note(outcome: Outcome, show_private: bool) -> str:
    """The reason, then what the file itself claims."""
    evidence = row(outcome, "", show_private=show_private)["evidence"]
    claims = [f"{item['plugin']}.{item['key']}={item['value']}" for item in evidence if item["kind"] == "claim"]
    return "; ".join([*([outcome.reason] if outcome.reason else []), *claims])


def summary(counts: Mapping[str, int]) -> str:
    """One sentence, e.g. ``12 pictures: 3 flagged, 2 unclear, 6 clear, 1 failed``.

    Args:
        counts: number of rows by kind; kinds that are missing count 0, other keys are not shown.
    """
    total = sum(counts.get(kind, 0) for kind in KINDS)
    parts = ", ".join(f"{counts.get(kind, 0)} {kind}" for kind in KINDS)
    return f"{total} picture{'' if total == 1 else 's'}: {parts}"
