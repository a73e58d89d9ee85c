"""What a row says, whatever it is written as: the fields, their order, and numbers as they are printed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypedDict

from gendet_cli.types import Evidence, Failure, Finding, Outcome, Verdict

__all__ = [
    "COLUMNS",
    "FAILED",
    "KINDS",
    "SCHEMA_VERSION",
    "EvidenceRow",
    "MalformedRowError",
    "Recorded",
    "Row",
    "discrepancy_text",
    "evidence_cell",
    "kind_of",
    "log10_lr_text",
    "p_generated_text",
    "row",
    "shown",
]

SCHEMA_VERSION = 1
COLUMNS = (
    "input",
    "status",
    "verdict",
    "p_generated",
    "log10_lr",
    "discrepancy",
    "sha256",
    "format",
    "width_px",
    "height_px",
    "detector",
    "evidence",
    "reason",
)
"""The columns of a CSV report, in order. Later ones are appended."""

FAILED = "failed"
KINDS = (*(str(verdict) for verdict in Verdict), FAILED)
"""What an input can end as: the three verdicts, and failed."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPES = str.maketrans({"\\": "\\\\", ";": "\\;", "\r": "\\r", "\n": "\\n"})
_KEY_ESCAPES = {**_ESCAPES, ord("="): "\\="}


class EvidenceRow(TypedDict):
    """One piece of evidence as JSON carries it."""

    plugin: str
    key: str
    value: str
    kind: Literal["info", "claim", "error"]


class Row(TypedDict):
    """One row. What is None here is an empty cell in CSV; numbers are rounded as they are printed.

    ``logit`` (4 decimals) and the parts of ``evidence`` are carried by JSON and JSONL only.
    """

    input: str
    status: Literal["scored", "failed"]
    verdict: str | None
    p_generated: float | None
    log10_lr: float | None
    discrepancy: float | None
    sha256: str | None
    format: str | None
    width_px: int | None
    height_px: int | None
    detector: str
    evidence: list[EvidenceRow]
    reason: str | None
    logit: float | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What must be known of a row to continue its report.

    Attributes:
        name: the ``input`` as rendered by :func:`shown`.
        kind: one of :data:`KINDS`.
        detector: the ``detector`` field.
    """

    name: str
    kind: str
    detector: str


class MalformedRowError(ValueError):
    """Bytes of a report that are no row of ours; the message says why, ``line`` where if that is known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def shown(text: str) -> str:
    r"""Text that can be encoded: a byte that is not UTF-8 becomes ``\xff``, another lone surrogate ``\ud800``.

    Args:
        text: as :func:`os.fsdecode` makes it.
    """
    return _SURROGATE.sub(_surrogate_escape, text)


def _surrogate_escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    is_byte = 0xDC80 <= code <= 0xDCFF  # PEP 383: the byte plus 0xDC00
    return f"\\x{code - 0xDC00:02x}" if is_byte else f"\\u{code:04x}"


def p_generated_text(value: float) -> str:
    """A probability with 4 decimals."""
    return _fixed(value, 4)


def log10_lr_text(value: float) -> str:
    """A log10 likelihood ratio with 3 decimals, never ``-0.000``."""
    return _fixed(value, 3)


def discrepancy_text(value: float) -> str:
    """A discrepancy with 6 significant digits. Raises ValueError if it is not finite."""
    return f"{_finite(value) + 0.0:.6g}"


def _fixed(value: float, decimals: int) -> str:
    text = f"{_finite(value):.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _finite(value: float) -> float:
    if not float("-inf") < value < float("inf"):
        raise ValueError(f"a score is not finite: {value}")
    return value


def evidence_cell(evidence: Iterable[EvidenceRow]) -> str:
    r"""Evidence in one cell: ``plugin.key=value; plugin.key=value``.

    Inside plugin, key and value a backslash, ``;``, carriage return and newline are written ``\\``, ``\;``, ``\r``
    and ``\n``, and inside plugin and key ``=`` is written ``\=``; so an unescaped ``; `` always separates two pieces
    and the first unescaped ``=`` ends a key.
    """
    return "; ".join(
        f"{item['plugin'].translate(_KEY_ESCAPES)}.{item['key'].translate(_KEY_ESCAPES)}="
        f"{item['value'].translate(_ESCAPES)}"
        for item in evidence
    )


def kind_of(outcome: Outcome) -> str:
    """One of :data:`KINDS`."""
    return FAILED if isinstance(outcome, Failure) else str(outcome.verdict)


def row(outcome: Outcome, detector: str, *, show_private: bool = False) -> Row:
    """The row of an outcome.

    Args:
        outcome: what an input ended as.
        detector: the detector asked, as ``name@`` and 12 digits of its hash; it stands on failed rows as well.
        show_private: carry the values of private evidence, which else is only said to be ``present``.

    Raises:
        ValueError: a score is not finite.
    """
    if isinstance(outcome, Failure):
        return _failed_row(outcome, detector)
    return _scored_row(outcome, detector, show_private)


def _failed_row(failure: Failure, detector: str) -> Row:
    return Row(
        input=shown(failure.source.name),
        status="failed",
        verdict=None,
        p_generated=None,
        log10_lr=None,
        discrepancy=None,
        sha256=failure.sha256 or None,
        format=shown(failure.format) or None,
        width_px=None,
        height_px=None,
        detector=shown(detector),
        evidence=[],
        reason=shown(failure.reason),
        logit=None,
    )


def _scored_row(finding: Finding, detector: str, show_private: bool) -> Row:
    discrepancy = finding.discrepancy
    return Row(
        input=shown(finding.source.name),
        status="scored",
        verdict=str(finding.verdict),
        p_generated=float(p_generated_text(finding.p_generated)),
        log10_lr=float(log10_lr_text(finding.log10_lr)),
        discrepancy=None if discrepancy is None else float(discrepancy_text(discrepancy)),
        sha256=finding.sha256,
        format=shown(finding.format),
        width_px=finding.width_px,
        height_px=finding.height_px,
        detector=shown(detector),
        evidence=[_evidence_row(item, show_private) for item in finding.evidence],
        reason=shown(finding.reason) or None,
        logit=float(_fixed(finding.logit, 4)),
    )


def _evidence_row(item: Evidence, show_private: bool) -> EvidenceRow:
    value = "present" if item.private and not show_private else item.value
    return EvidenceRow(plugin=shown(item.plugin), key=shown(item.key), value=shown(value), kind=item.kind)
