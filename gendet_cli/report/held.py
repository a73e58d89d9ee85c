"""What an earlier report holds: the inputs that have a row, their number by kind, the end of the last whole row."""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from gendet_cli.report.formats import Format
from gendet_cli.report.records import Record
from gendet_cli.report.rows import FAILED, MalformedRowError, Recorded, shown

__all__ = ["Done", "Split", "Survey", "UnusableReportError", "kept_rows", "survey"]

Split = Callable[[Iterable[bytes]], Iterator[Record]]
"""Bytes, cut after each newline, to records."""

_KEY = os.urandom(16)  # digests live in memory only; a secret key keeps made-up names from colliding


class UnusableReportError(ValueError):
    """A report that cannot be continued; the message names the line and says why."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a report holds.

    Attributes:
        digests: 8 bytes for each row's ``input`` as rendered, in order, repeated where names are.
        counts: number of rows by kind.
        failed: the digests of the failed rows.
        end_bytes: length of the header and the whole rows; what lies behind is a torn row.
    """

    digests: array[int]
    counts: Counter[str]
    failed: frozenset[int]
    end_bytes: int


def survey(
    lines: Iterable[bytes], format_: Format, split: Split, detector: str, dropped: frozenset[int] = frozenset()
) -> Survey:
    """Reads a report through.

    Args:
        lines: its bytes, cut after each newline.
        format_: what its rows are written as.
        split: how it is cut into records.
        detector: the only detector whose rows are accepted.
        dropped: rows of these digests are not counted.

    Raises:
        UnusableReportError: a row is not one of ours, or of another detector.
    """
    digests, counts, failed, end_bytes = array("Q"), Counter[str](), set[int](), 0
    for record, recorded in _read(lines, format_, split, detector):
        end_bytes += len(record.data)
        if recorded is None or (digest := _digest(recorded.name)) in dropped:
            continue
        digests.append(digest)
        counts[recorded.kind] += 1
        if recorded.kind == FAILED:
            failed.add(digest)
    return Survey(digests, counts, frozenset(failed), end_bytes)


def kept_rows(
    lines: Iterable[bytes], format_: Format, split: Split, detector: str, dropped: frozenset[int]
) -> Iterator[bytes]:
    """The header and the whole rows of a report, without the rows of the ``dropped`` digests. Raises as :func:`survey`.

    Names rendered like a dropped one go with it, since which of them a row belongs to cannot be told.
    """
    for record, recorded in _read(lines, format_, split, detector):
        if recorded is None or _digest(recorded.name) not in dropped:
            yield record.data


def _read(
    lines: Iterable[bytes], format_: Format, split: Split, detector: str
) -> Iterator[tuple[Record, Recorded | None]]:
    """The whole records and what they say, None for the header; a torn last record is left out."""
    line = 1
    try:
        for record in split(lines):
            line = record.line
            recorded = _parse(record, format_)
            if recorded is not None and recorded.detector != detector:
                raise MalformedRowError(f"the row is of detector {recorded.detector!r}, this scan uses {detector!r}")
            if record.whole:
                yield record, recorded
    except MalformedRowError as error:
        raise UnusableReportError(f"line {error.line or line}: {error}") from error


def _parse(record: Record, format_: Format) -> Recorded | None:
    if not record.whole:
        if not format_.could_be_torn(record):
            raise MalformedRowError("this is no report, or a row is broken")
        return None
    if record.line > 1 or not format_.header:
        return format_.parse_row(record.data)
    if record.data != format_.header.encode():
        raise MalformedRowError("the header is another")
    return None


def _digest(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8, key=_KEY).digest(), "big")


class _Held:
    r"""A counting multiset of rendered names, 12 bytes each.

    Different names may be rendered alike (a byte 0xff and a written-out ``\xff``), so names are counted.
    """

    def __init__(self, digests: Iterable[int]) -> None:
        self._digests = array("Q", sorted(digests))
        self._taken = array("I", bytes(array("I").itemsize * len(self._digests)))  # at a name's first place

    def has(self, digest: int) -> bool:
        first = bisect_left(self._digests, digest)
        held = bisect_right(self._digests, digest, lo=first) - first
        return held > 0 and held > self._taken[first]

    def take(self, digest: int) -> bool:
        has = self.has(digest)
        if has:
            self._taken[bisect_left(self._digests, digest)] += 1
        return has


class Done:
    """The inputs that need no new scan, since every report holds them.

    Inputs are asked for in the order they are scanned in. One thread may ask while another writes.

    Args:
        digests: per report those of its :class:`Survey`.
    """

    def __init__(self, digests: Sequence[Iterable[int]]) -> None:
        self._held = [_Held(one) for one in digests]
        self._lock = threading.Lock()

    def take(self, name: str) -> bool:
        """Whether every report holds a row of the input ``name``; if so, one such row of each is used up.

        Args:
            name: :attr:`gendet_cli.types.Source.name`.
        """
        digest = _digest(shown(name))
        with self._lock:
            everywhere = bool(self._held) and all(held.has(digest) for held in self._held)
            return everywhere and all(held.take(digest) for held in self._held)

    def take_from(self, index: int, name: str) -> bool:
        """The same for one report alone."""
        digest = _digest(shown(name))
        with self._lock:
            return self._held[index].take(digest)
