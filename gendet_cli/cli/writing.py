"""Report files: opened before the first picture is read, written row by row, and continued after a kill.

A CSV or JSONL report is its own journal. The rows of a JSON report are kept as JSON lines in ``<name>.partial`` beside
it and rendered when the scan ends. A kill tears at most the last row, which is cut off when the report is continued.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gendet_cli.errors import ReportError, SettingsError
from gendet_cli.report import json_rows
from gendet_cli.report.formats import FORMATS, Format
from gendet_cli.report.held import Done, Split, Survey, UnusableReportError, kept_rows, survey
from gendet_cli.report.rows import KINDS, MalformedRowError, kind_of, row, shown
from gendet_cli.report.run import RunInfo
from gendet_cli.types import Outcome

__all__ = ["Done", "Reports", "open_reports"]


class Reports:
    """Open reports, a context manager; made by :func:`open_reports`.

    Leaving it closes the files and keeps what was written, so that a scan that was broken off can be continued.

    Attributes:
        done: the inputs that need no new scan.
    """

    def __init__(self, files: Sequence[_File], old: Sequence[_Old | None], detector: str, show_private: bool) -> None:
        self._files = files
        self._detector = detector
        self._show_private = show_private
        self._counts = Counter(old[0].survey.counts) if old and old[0] else Counter[str]()
        self.done = Done([one.survey.digests if one else array("Q") for one in old])

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of rows by kind (flagged, unclear, clear, failed), those of earlier runs included."""
        return {kind: self._counts[kind] for kind in KINDS}

    def write(self, outcome: Outcome) -> None:
        """Adds a row to each report that does not hold it yet. Raises ReportError if that is not possible."""
        values = row(outcome, self._detector, show_private=self._show_private)
        is_counted = False
        for index, file in enumerate(self._files):
            if self.done.take_from(index, outcome.source.name):
                is_counted = is_counted or index == 0
            else:
                file.append(file.target.format.render_row(values))
        self._counts[kind_of(outcome)] += not is_counted

    def finish(self, run: RunInfo) -> None:
        """Completes the reports: a JSON report is rendered from its journal, which then goes. Raises ReportError."""
        for file in self._files:
            file.finish(run)

    def close(self) -> None:
        """Closes the files as they are."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_reports(
    paths: Sequence[Path],
    *,
    detector: str,
    resume: bool = False,
    retry_failed: bool = False,
    show_private: bool = False,
) -> Reports:
    """Opens reports before anything is scanned; without ``resume`` they are started anew.

    Args:
        paths: where to write; the ending says the format. With none, nothing is written and ``counts`` still counts.
        detector: ``name@`` and 12 digits of its hash; stands on each row, and rows of another are not continued.
        resume: keep the rows that are there; a report that does not exist yet is started.
        retry_failed: drop failed rows, so that their inputs are scanned again.
        show_private: write the values of private evidence.

    Raises:
        SettingsError: an unknown ending, one path twice, or ``retry_failed`` without ``resume``.
        ReportError: a report cannot be written, is not one of ours, or comes from another detector.
    """
    if retry_failed and not resume:
        raise SettingsError("failed rows are retried only when a report is continued", hint="add --resume")
    targets = _targets(paths)
    for target in targets:
        _check_place(target.path)
    old = [_survey(target, detector, retry_failed) if resume else None for target in targets]
    files: list[_File] = []
    with contextlib.ExitStack() as opened:
        for target, kept in zip(targets, old, strict=True):
            files.append(_open(target, kept, detector))
            opened.callback(files[-1].close)
        opened.pop_all()
    return Reports(files, old, detector, show_private)


@dataclass(frozen=True, slots=True)
class _Target:
    """A report's places. Rows are appended to ``journal``; for CSV and JSONL that is the report itself."""

    path: Path
    journal: Path
    format: Format


@dataclass(frozen=True, slots=True)
class _Old:
    """An earlier report: where it lies, how it is cut into records, what is kept of it and what is dropped."""

    source: Path
    split: Split
    survey: Survey
    dropped: frozenset[int]


def _targets(paths: Sequence[Path]) -> list[_Target]:
    targets: dict[str, _Target] = {}
    for path in paths:
        format_ = FORMATS.get(path.suffix.lower())
        if format_ is None:
            raise SettingsError(
                f"the ending of the report {shown(str(path))!r} names no format",
                hint=f"give it one of these: {', '.join(FORMATS)}",
            )
        real = os.path.realpath(path)
        if real in targets:
            raise SettingsError(f"the report {shown(str(path))!r} is asked for twice", hint="name each file once")
        journal = real + ".partial" if format_.is_document else real
        targets[real] = _Target(Path(real), Path(journal), format_)
    return list(targets.values())


def _check_place(path: Path) -> None:
    if os.path.isdir(path):
        raise ReportError(f"the report {shown(str(path))!r} is a folder", hint="name a file")
    if not os.path.isdir(path.parent):
        raise ReportError(
            f"the folder of the report {shown(str(path))!r} does not exist", hint="make it, or name another --report"
        )


@contextlib.contextmanager
def _named(path: Path, done: str) -> Iterator[None]:
    """Turns what the system or an old report refuses into a ReportError that names ``path``."""
    name = shown(str(path))
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "what was written is kept; make room and go on with --resume" if done == "written" else ""
        raise ReportError(f"the report {name!r} cannot be {done}: {reason}", hint=hint) from error
    except (UnusableReportError, MalformedRowError) as error:
        hint = "name another --report, or drop --resume to start anew"
        raise ReportError(f"the report {name!r} cannot be continued: {error}", hint=hint) from error


def _survey(target: _Target, detector: str, retry_failed: bool) -> _Old | None:
    """What an earlier report holds, read without changing it; None if there is none."""
    if os.path.lexists(target.journal):
        source, split = target.journal, target.format.split
    elif target.format.is_document and os.path.lexists(target.path):
        source, split = target.path, json_rows.split_document
    else:
        return None
    if not os.path.isfile(source):
        raise ReportError(f"the report {shown(str(source))!r} is no regular file", hint="drop --resume")
    with _named(source, "read"):
        with source.open("rb") as lines:
            found = survey(lines, target.format, split, detector)
        if not retry_failed or not found.failed:
            return _Old(source, split, found, frozenset())
        with source.open("rb") as lines:
            return _Old(source, split, survey(lines, target.format, split, detector, found.failed), found.failed)


def _open(target: _Target, old: _Old | None, detector: str) -> _File:
    with _named(target.path, "opened"):
        if old is None:
            file = _File(target, io.FileIO(target.journal, "w"))
        elif old.source != target.journal or old.dropped:
            with old.source.open("rb") as lines:
                _replace(target.journal, kept_rows(lines, target.format, old.split, detector, old.dropped))
            file = _File(target, io.FileIO(target.journal, "r+"))
        else:
            file = _File(target, io.FileIO(target.journal, "r+"))
            file.cut(old.survey.end_bytes)
    try:
        file.begin()
    except ReportError:
        file.close()
        raise
    return file


def _replace(path: Path, chunks: Iterable[bytes]) -> None:
    """Puts a file in place as a whole or not at all; an earlier one's rights are kept."""
    new = path.with_name(path.name + ".tmp")
    try:
        with new.open("wb") as stream:
            stream.writelines(chunks)
            stream.flush()
            os.fsync(stream.fileno())
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


class _File:
    """A report that rows are appended to, unbuffered: a row is one write and has left when :meth:`append` ends."""

    def __init__(self, target: _Target, stream: io.FileIO) -> None:
        self.target = target
        self._stream = stream
        self._is_regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)

    def cut(self, end_bytes: int) -> None:
        """Cuts off what lies behind the last whole row."""
        self._stream.truncate(end_bytes)

    def begin(self) -> None:
        """Goes to the end; an empty file gets its header."""
        end_bytes = self._stream.seek(0, os.SEEK_END) if self._is_regular else 0
        if not end_bytes and self.target.format.header:
            self.append(self.target.format.header)

    def append(self, text: str) -> None:
        """Writes a whole row or raises ReportError; half a row is taken back."""
        with _named(self.target.path, "written"):
            self._check_present()
            start = self._stream.tell() if self._is_regular else 0
            left = text.encode()
            try:
                while left:
                    left = left[self._stream.write(left) or 0 :]
            except BaseException:  # a full disk takes part of a row, and so may an interrupt
                if self._is_regular:
                    self._stream.truncate(start)
                    self._stream.seek(start)
                raise

    def _check_present(self) -> None:
        """A file that was deleted still takes rows, and loses them."""
        if self._is_regular and os.fstat(self._stream.fileno()).st_nlink == 0:
            raise FileNotFoundError(None, "it was deleted while the scan ran")

    def finish(self, run: RunInfo) -> None:
        """Renders a document from its journal and removes the journal. Raises ReportError; the journal then stays."""
        with _named(self.target.path, "written"):
            self._check_present()
            if self.target.format.is_document:
                self._stream.close()
                with self.target.journal.open("rb") as lines:
                    document = json_rows.render(map(json_rows.read_row, lines), run)
                    _replace(self.target.path, (piece.encode() for piece in document))
                self.target.journal.unlink()

    def close(self) -> None:
        """Closes the file as it is."""
        self._stream.close()
