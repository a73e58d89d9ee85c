"""Pixels to the float32 views a backbone reads, as its weights ask for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gendet_cli.types import Preprocessing

if TYPE_CHECKING:
    from gendet_cli.types import Float32Array

__all__ = ["MAX_ASPECT", "prepare", "prepare_all"]

MAX_ASPECT = 8
"""Of a longer picture only the central part of this aspect is resized: a strip 100,000 times as long as wide would
need gigabytes, and the centre square that is kept does not show the rest."""


def prepare_all(image: Image.Image, preprocessings: tuple[Preprocessing, ...]) -> tuple[Float32Array, ...]:
    """Views of one RGB picture for each part of a backbone, in its order."""
    return tuple(prepare(image, preprocessing) for preprocessing in preprocessings)


def prepare(image: Image.Image, preprocessing: Preprocessing) -> Float32Array:
    """Views of one RGB picture.

    ``resize-crop`` gives the bits of torchvision's ``Resize(size, BICUBIC)``, ``CenterCrop(size)``, ``ToTensor`` and
    ``Normalize`` for pictures up to :data:`MAX_ASPECT`. ``native-crops`` takes squares around the centres of a grid
    of cells, without resizing; a picture that is smaller is mirrored at its edges up to the size.

    Returns:
        float32 (V, 3, size, size), RGB, (x / 255 - mean) / std.
    """
    if preprocessing.rule == "resize-crop":
        squares = [_resize_crop(image, preprocessing.size_px)]
    else:
        squares = _native_crops(image, preprocessing.size_px, preprocessing.views)
    pixels = np.stack(squares).transpose(0, 3, 1, 2)  # (V, 3, size, size) uint8
    mean = np.asarray(preprocessing.mean, np.float32).reshape(1, 3, 1, 1)
    std = np.asarray(preprocessing.std, np.float32).reshape(1, 3, 1, 1)
    views = np.ascontiguousarray(pixels, dtype=np.float32)
    views /= np.float32(255)
    views -= mean
    views /= std
    return views


def _resize_crop(image: Image.Image, size_px: int) -> NDArray[np.uint8]:
    """Shorter side to ``size_px``, then the centre square: uint8 (size, size, 3)."""
    image = _limit_aspect(image)
    width_px, height_px = image.size
    long_px = int(size_px * max(image.size) / min(image.size))
    new_size = (size_px, long_px) if width_px <= height_px else (long_px, size_px)
    resized = image.resize(new_size, Image.Resampling.BICUBIC)
    left, top = (round((side - size_px) / 2.0) for side in resized.size)  # half to even, as torchvision rounds
    return np.asarray(resized.crop((left, top, left + size_px, top + size_px)))


def _limit_aspect(image: Image.Image) -> Image.Image:
    width_px, height_px = (min(side, MAX_ASPECT * min(image.size)) for side in image.size)
    if (width_px, height_px) == image.size:
        return image
    left, top = (image.width - width_px) // 2, (image.height - height_px) // 2
    return image.crop((left, top, left + width_px, top + height_px))


def _native_crops(image: Image.Image, size_px: int, views: int) -> list[NDArray[np.uint8]]:
    """Squares (size, size, 3) around the centres of cells that share the picture evenly, row by row.

    There are ceil(sqrt(V)) columns; a last row with fewer cells has wider ones. One view: the centre. Four: the
    centres of the quadrants.
    """
    columns = math.ceil(math.sqrt(views))
    rows = math.ceil(views / columns)
    squares = []
    for view in range(views):
        row, column = divmod(view, columns)
        cells = min(columns, views - row * columns)
        x_px, y_px = image.width * (2 * column + 1) / (2 * cells), image.height * (2 * row + 1) / (2 * rows)
        squares.append(_square(image, x_px, y_px, size_px))
    return squares


def _square(image: Image.Image, x_px: float, y_px: float, size_px: int) -> NDArray[np.uint8]:
    """The square around (x, y), moved to lie inside the picture; sides that are short are mirrored on both ends."""
    left, top = (
        max(0, min(int(centre - size_px / 2), side - size_px))
        for centre, side in zip((x_px, y_px), image.size, strict=True)
    )
    right, bottom = min(left + size_px, image.width), min(top + size_px, image.height)
    pixels = np.asarray(image.crop((left, top, right, bottom)))
    missing = [size_px - side for side in pixels.shape[:2]]
    return np.pad(pixels, [(m // 2, m - m // 2) for m in missing] + [(0, 0)], mode="symmetric")
