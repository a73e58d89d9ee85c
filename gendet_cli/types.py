"""The values that flow from a name to a row. Frozen: identity travels with the pixels, never beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    Float32Array = NDArray[np.float32]

__all__ = [
    "Evidence",
    "Failure",
    "Finding",
    "Outcome",
    "Prepared",
    "Preprocessing",
    "Sample",
    "Score",
    "Source",
    "Verdict",
]


class Verdict(StrEnum):
    """What is said of a picture. None of the three is proof, and none says that a photo is real."""

    FLAGGED = "flagged"
    UNCLEAR = "unclear"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class Source:
    """One input. ``name`` is how it was given and is reported; ``path`` is where the bytes are.

    Both are text as :func:`os.fsdecode` makes it: bytes that are not UTF-8 are kept as lone surrogates.
    """

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture read and decoded.

    Attributes:
        source: where it came from.
        data: the file's bytes.
        sha256: hexadecimal digest of ``data``.
        format: container as Pillow names it (``JPEG``, ``PNG``, ...).
        image: upright RGB picture, alpha over white.
    """

    source: Source
    data: bytes
    sha256: str
    format: str
    image: Image


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing a plugin read from a file, under the standard's own term.

    Attributes:
        plugin: name of the plugin, e.g. ``exif``.
        key: the standard's term, e.g. ``Software``.
        value: what was found, as text.
        kind: ``info`` a fact of the file, ``claim`` the file says a generator made it, ``error`` the plugin failed.
        private: the value may identify a person, place or device; shown only on request.
    """

    plugin: str
    key: str
    value: str
    kind: Literal["info", "claim", "error"] = "info"
    private: bool = False


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How pixels become the float32 views of a backbone. Belongs to the weights, never to a command line.

    Attributes:
        rule: ``resize-crop``: shorter side to ``size_px`` (bicubic, antialiased), then the centre square, one view;
            ``native-crops``: ``views`` squares of ``size_px`` cut without resizing.
        size_px: side of a view.
        views: number of views V per picture.
        mean: per channel (RGB), subtracted after scaling to [0, 1].
        std: per channel (RGB), divided by.
    """

    rule: Literal["resize-crop", "native-crops"]
    size_px: int
    views: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def to_json(self) -> dict[str, Any]:
        """Plain values, as written into a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of :meth:`to_json`; tuples come back as tuples."""
        plain = dict(values)
        return cls(**{**plain, "mean": tuple(plain["mean"]), "std": tuple(plain["std"])})


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture ready to be scored.

    Attributes:
        source: where it came from.
        sha256: hexadecimal digest of the file.
        format: container as Pillow names it.
        width_px: width after EXIF orientation.
        height_px: height after EXIF orientation.
        evidence: what the evidence plugins found.
        views: one float32 array (V, 3, size, size) per part of the detector's backbone.
    """

    source: Source
    sha256: str
    format: str
    width_px: int
    height_px: int
    evidence: tuple[Evidence, ...]
    views: tuple[Float32Array, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """What a detector says of one picture.

    Attributes:
        logit: the classifier's output N_c(D), a real number; larger means more like a generated picture.
        discrepancy: mean of (z_t - z_s)^2 over the elements, >= 0; None for methods without a student.
    """

    logit: float
    discrepancy: float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """A scored picture: one row.

    Attributes:
        source: where it came from.
        sha256: hexadecimal digest of the file.
        format: container as Pillow names it.
        width_px: width after EXIF orientation.
        height_px: height after EXIF orientation.
        logit: the classifier's output, rounded as printed.
        discrepancy: mean squared teacher/student difference, rounded as printed, or None.
        log10_lr: calibrated log10 likelihood ratio generated : not generated, rounded as printed.
        p_generated: LR / (1 + LR), the probability at even prior odds.
        verdict: decided on ``log10_lr`` as printed.
        reason: why the verdict is ``unclear`` although there is a score; else empty.
        evidence: what the evidence plugins found.
    """

    source: Source
    sha256: str
    format: str
    width_px: int
    height_px: int
    logit: float
    discrepancy: float | None
    log10_lr: float
    p_generated: float
    verdict: Verdict
    reason: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """An input that could not be scored: one row. ``sha256`` and ``format`` are given as far as they are known."""

    source: Source
    reason: str
    sha256: str = ""
    format: str = ""


Outcome = Finding | Failure
"""What every input ends as."""
