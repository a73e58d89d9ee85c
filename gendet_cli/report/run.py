"""What a JSON report says of the run that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gendet_cli.report.rows import shown

__all__ = ["RunInfo"]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The ``run`` part of a JSON report.

    Attributes:
        version: of gendet.
        detector: as on the rows: ``name@`` and 12 digits of its hash.
        detector_sha256: the whole hash, 64 hexadecimal digits.
        backbone: full name, e.g. ``clip:ViT-B-16-quickgelu/openai``.
        weights_sha256: digest of the backbone's weights, 64 hexadecimal digits.
        thresholds: plain JSON values as the manifest has them: ``flagged``, ``clear`` and the rates they were set at.
        plugins: version of each plugin by name.
        command: the command line, one entry per argument.
        started: UTC, ISO 8601.
        finished: UTC, ISO 8601.
        counts: number of rows by kind (``flagged``, ``unclear``, ``clear``, ``failed``); more counts may be added.
        tool: the program's name.
    """

    version: str
    detector: str
    detector_sha256: str
    backbone: str
    weights_sha256: str
    thresholds: Mapping[str, Any]
    plugins: Mapping[str, str]
    command: tuple[str, ...]
    started: str
    finished: str
    counts: Mapping[str, int]
    tool: str = "gendet"

    def to_json(self) -> dict[str, Any]:
        """Plain values, in a fixed order; arguments that are not UTF-8 are shown as names are."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain |= {key: dict(value) for key, value in plain.items() if isinstance(value, Mapping)}
        return {"tool": plain.pop("tool"), **plain, "command": [shown(argument) for argument in self.command]}
