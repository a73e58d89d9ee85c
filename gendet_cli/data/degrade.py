"""What happens to a picture between its maker and the scanner, as seeded functions of its pixels.

Every random number comes from a generator seeded by the picture's own sha256, so a view is the same
picture in every run, on every machine and in every order.
"""

import io
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from PIL import Image

Transform = Callable[[Image.Image, str], Image.Image]
"""(RGB picture, sha256 of its file) -> RGB picture."""

SHRINK_PROBABILITY = 0.6
SHRINK_RANGE = (0.5, 1.0)
TRAIN_JPEG_RANGE = (50, 96)
ALIGN_JPEG_RANGE = (60, 95)


def recompress(image: Image.Image, quality: int) -> Image.Image:
    """The picture after one JPEG save at ``quality`` (1 to 95 and above), Pillow's default tables."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    with Image.open(buffer, formats=["JPEG"]) as saved:
        return saved.convert("RGB")


def shrink(image: Image.Image, factor: float) -> Image.Image:
    """The picture at ``factor`` (0 to 1) of its width and height, Lanczos, at least one pixel a side."""
    width_px, height_px = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width_px, height_px), Image.Resampling.LANCZOS)


def keep(image: Image.Image, sha256: str) -> Image.Image:
    """The picture as it is (*raw*)."""
    return image


def align(image: Image.Image, sha256: str) -> Image.Image:
    """JPEG at a quality in 60-95 drawn from the file's hash, so that format tells nothing of the class."""
    return recompress(image, random.Random(sha256).randint(*ALIGN_JPEG_RANGE))


def training_copy(image: Image.Image, sha256: str, copy: int) -> Image.Image:
    """The ``copy``-th training view: perhaps shrunk, always one JPEG save; the same rule for both classes."""
    draw = random.Random(f"{sha256}:{copy}")
    if draw.random() < SHRINK_PROBABILITY:
        image = shrink(image, draw.uniform(*SHRINK_RANGE))
    return recompress(image, draw.randint(*TRAIN_JPEG_RANGE))


def transform(name: str) -> Transform:
    """The transform called ``raw``, ``aligned`` or ``training:<copy>``. Raises KeyError for another name."""
    kind, _, copy = name.partition(":")
    if kind == "training":
        return partial(training_copy, copy=int(copy))
    return {"raw": keep, "aligned": align}[name]


def recipe(name: str) -> dict[str, Any]:
    """The transform called ``name`` with every constant it depends on: part of the key of what is computed from it."""
    constants: dict[str, dict[str, Any]] = {
        "raw": {},
        "aligned": {"jpeg": ALIGN_JPEG_RANGE},
        "training": {"shrink_p": SHRINK_PROBABILITY, "shrink": SHRINK_RANGE, "jpeg": TRAIN_JPEG_RANGE},
    }
    return {"name": name, **constants[name.partition(":")[0]]}
