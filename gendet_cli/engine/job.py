"""What a decoding child is told once, before its first picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gendet_cli.types import Preprocessing

__all__ = ["Job"]


@dataclass(frozen=True, slots=True)
class Job:
    """How every picture of a run is read.

    Attributes:
        preprocessing: one entry per part of the detector's backbone.
        transform: name of what is done to the decoded picture before it is prepared, as
            :func:`gendet_cli.data.degrade.transform` knows it (``raw``, ``aligned``, ``training:<k>``).
        evidence: whether evidence plugins are asked.
        plugins: names of the only plugins to load, or None for all that are installed.
        show_private: whether private values (positions, serial numbers, names) are handed on.
    """

    preprocessing: tuple[Preprocessing, ...]
    transform: str = "raw"
    evidence: bool = True
    plugins: tuple[str, ...] | None = None
    show_private: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values, as sent to a child."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Job:
        """The inverse of :meth:`to_json`; tuples come back as tuples."""
        parts = tuple(Preprocessing.from_json(part) for part in values["preprocessing"])
        plugins = None if values["plugins"] is None else tuple(values["plugins"])
        return cls(**{**values, "preprocessing": parts, "plugins": plugins})
