"""What a file says before a pixel of it is looked at: format, size, JPEG tables, metadata. Headers only are read."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from PIL import Image, JpegImagePlugin

SUBSAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


@dataclass(frozen=True, slots=True)
class Header:
    """One file's header.

    Attributes:
        format: as Pillow names it, or ``unreadable``.
        file_bytes: size of the file.
        width_px: as stored.
        height_px: as stored.
        bytes_per_pixel: file_bytes over the number of pixels.
        luma_step: mean of the JPEG luminance quantisation table, 0 without one; small means high quality.
        chroma_step: the same of the chrominance table.
        subsampling: of JPEG, e.g. ``4:2:0``, or empty.
        has_exif: whether there is an EXIF block.
        has_icc: whether there is a colour profile.
        other_keys: how many other things the header holds.
    """

    format: str
    file_bytes: int
    width_px: int = 0
    height_px: int = 0
    bytes_per_pixel: float = 0.0
    luma_step: float = 0.0
    chroma_step: float = 0.0
    subsampling: str = ""
    has_exif: bool = False
    has_icc: bool = False
    other_keys: int = 0


NUMBERS = tuple(field.name for field in fields(Header) if field.type not in ("str",))
TEXTS = ("format", "subsampling")


def read_header(path: Path) -> Header:
    """A file's header; what is no picture has the format ``unreadable``. Raises OSError if it cannot be read."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no regular file")
    with path.open("rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a picture said to be a bomb has a header like any other
        size = os.fstat(stream.fileno()).st_size
        try:
            with Image.open(stream) as image:
                return _of(image, size)
        except Exception:  # noqa: BLE001  whatever a reader of damaged files raises, the file has no header
            return Header("unreadable", size)


def _of(image: Image.Image, size: int) -> Header:
    tables = getattr(image, "quantization", None) or {}
    steps = [sum(table) / len(table) for _, table in sorted(tables.items())]
    is_jpeg = isinstance(image, JpegImagePlugin.JpegImageFile)
    sampling = JpegImagePlugin.get_sampling(image) if is_jpeg else -1
    return Header(
        format=image.format or "",
        file_bytes=size,
        width_px=image.width,
        height_px=image.height,
        bytes_per_pixel=size / max(1, image.width * image.height),
        luma_step=steps[0] if steps else 0.0,
        chroma_step=steps[1] if len(steps) > 1 else 0.0,
        subsampling=SUBSAMPLING.get(sampling, "other") if is_jpeg else "",
        has_exif="exif" in image.info,
        has_icc="icc_profile" in image.info,
        other_keys=len(set(image.info) - {"exif", "icc_profile"}),
    )


def as_columns(headers: Sequence[Header]) -> tuple[Any, list[str]]:
    """(float64 (N, C), names): the numbers, the aspect ratio, and a column for each format and subsampling."""
    import numpy as np

    columns: dict[str, list[float]] = {name: [float(getattr(h, name)) for h in headers] for name in NUMBERS}
    columns["aspect"] = [h.width_px / max(1, h.height_px) for h in headers]
    for name in TEXTS:
        for value in sorted({getattr(h, name) for h in headers}):
            columns[f"{name}={value}"] = [float(getattr(h, name) == value) for h in headers]
    return np.array(list(columns.values())).T, list(columns)
