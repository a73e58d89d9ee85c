"""A piece of an earlier report, as it is read back."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Record"]


@dataclass(frozen=True, slots=True)
class Record:
    """The bytes of one row.

    Attributes:
        line: number of its first line in the file, from 1.
        data: its bytes; a whole record ends with a newline.
        whole: False for what is left of a last row that was torn off.
    """

    line: int
    data: bytes
    whole: bool
