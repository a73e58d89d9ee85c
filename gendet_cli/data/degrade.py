"""What happens to a picture between its maker and the scanner, as seeded functions of its pixels.

Every random number comes from a generator seeded by the picture's own sha256, so a view is the same
picture in every run, on every machine and in every order.
"""

import io
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from PIL import Image, ImageFilter

Transform = Callable[[Image.Image, str], Image.Image]
"""(RGB picture, sha256 of its file) -> RGB picture."""

SHRINK_PROBABILITY = 0.6
SHRINK_RANGE = (0.5, 1.0)
TRAIN_JPEG_RANGE = (50, 96)
ALIGN_JPEG_RANGE = (60, 95)
WIDE_TWICE_PROBABILITY = 0.4
WIDE_CROP_PROBABILITY = 0.3
WIDE_AREA_RANGE = (0.3, 1.0)
WIDE_SHRINK_PROBABILITY = 0.6
WIDE_SIDE_PX = 224
WIDE_BLUR_PROBABILITY = 0.15
WIDE_SIGMA_RANGE = (0.0, 1.5)
WIDE_WEBP_PROBABILITY = 0.15
WIDE_QUALITY_RANGE = (40, 95)
CNNDET_SIGMA_RANGE = (0.0, 3.0)
CNNDET_JPEG_RANGE = (30, 100)
FLIP_PROBABILITY = 0.5
WEB_SHRINK_RANGE = (0.4, 0.8)
WEB_JPEG_RANGE = (75, 85)
HARD_AREA_RANGE = (0.6, 1.0)
HARD_SIGMA_RANGE = (0.0, 1.5)
HARD_JPEG_RANGE = (40, 60)


def recompress(image: Image.Image, quality: int, format_: str = "JPEG") -> Image.Image:
    """The picture after one lossy save at ``quality`` (1 to 95 and above), Pillow's default tables."""
    buffer = io.BytesIO()
    image.save(buffer, format_, quality=quality)
    buffer.seek(0)
    with Image.open(buffer, formats=[format_]) as saved:
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


def web(image: Image.Image, sha256: str) -> Image.Image:
    """The tier *web*: aligned, then shrunk and saved again, as a site does; all numbers from the one generator."""
    draw = random.Random(sha256)
    image = recompress(image, draw.randint(*ALIGN_JPEG_RANGE))
    image = shrink(image, draw.uniform(*WEB_SHRINK_RANGE))
    return recompress(image, draw.randint(*WEB_JPEG_RANGE))


def hard(image: Image.Image, sha256: str) -> Image.Image:
    """The tier *hard*: aligned, then a crop of the same aspect anywhere in the picture, blur, a strong JPEG save."""
    draw = random.Random(sha256)
    image = recompress(image, draw.randint(*ALIGN_JPEG_RANGE))
    image = _part(image, draw.uniform(*HARD_AREA_RANGE), draw)
    image = image.filter(ImageFilter.GaussianBlur(draw.uniform(*HARD_SIGMA_RANGE)))
    return recompress(image, draw.randint(*HARD_JPEG_RANGE))


def _part(image: Image.Image, area: float, draw: random.Random) -> Image.Image:
    """A crop of ``area`` (0 to 1) of the picture and of its aspect, anywhere in it."""
    width_px, height_px = (max(1, round(length * area**0.5)) for length in image.size)
    left, top = draw.randint(0, image.width - width_px), draw.randint(0, image.height - height_px)
    return image.crop((left, top, left + width_px, top + height_px))


def wide_copy(image: Image.Image, sha256: str, copy: int) -> Image.Image:
    """The ``copy``-th wide training view: what a picture may go through on its way, once or twice.

    Perhaps a crop, perhaps shrunk to a shorter side anywhere (log-uniform) between its own and 224 px, perhaps blurred,
    then a JPEG or WebP save. The same rule for both classes; pictures of 12 megapixels and of 300 px come to overlap.
    """
    draw = random.Random(f"{sha256}:wide:{copy}")
    for _ in range(2 if draw.random() < WIDE_TWICE_PROBABILITY else 1):
        if draw.random() < WIDE_CROP_PROBABILITY:
            image = _part(image, draw.uniform(*WIDE_AREA_RANGE), draw)
        if draw.random() < WIDE_SHRINK_PROBABILITY and min(image.size) > WIDE_SIDE_PX:
            image = shrink(image, (WIDE_SIDE_PX / min(image.size)) ** draw.random())
        if draw.random() < WIDE_BLUR_PROBABILITY:
            image = image.filter(ImageFilter.GaussianBlur(draw.uniform(*WIDE_SIGMA_RANGE)))
        format_ = "WEBP" if draw.random() < WIDE_WEBP_PROBABILITY else "JPEG"
        image = recompress(image, draw.randint(*WIDE_QUALITY_RANGE), format_)
    return image


def low_resolution(image: Image.Image, sha256: str, side_px: int) -> Image.Image:
    """Shrunk (bicubic, antialiased) until the shorter side has ``side_px``; a smaller picture is left as it is."""
    factor = side_px / min(image.size)
    if factor >= 1:
        return image
    width_px, height_px = (max(side_px, round(side * factor)) for side in image.size)
    return image.resize((width_px, height_px), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, sha256: str, quality: int) -> Image.Image:
    """One JPEG save at ``quality``."""
    return recompress(image, quality)


def blur(image: Image.Image, sha256: str, sigma_px: int) -> Image.Image:
    """Gaussian blur."""
    return image.filter(ImageFilter.GaussianBlur(sigma_px))


def centre(image: Image.Image, sha256: str, side_px: int) -> Image.Image:
    """The centre square of ``side_px``, without resizing, as UniversalFakeDetect reads its test sets.

    A side that is shorter is left whole (its code pads with black).
    """
    width_px, height_px = (min(side, side_px) for side in image.size)
    left, top = (image.width - width_px) // 2, (image.height - height_px) // 2
    return image.crop((left, top, left + width_px, top + height_px))


def training_copy(image: Image.Image, sha256: str, copy: int) -> Image.Image:
    """The ``copy``-th training view: perhaps shrunk, always one JPEG save; the same rule for both classes."""
    draw = random.Random(f"{sha256}:{copy}")
    if draw.random() < SHRINK_PROBABILITY:
        image = shrink(image, draw.uniform(*SHRINK_RANGE))
    return recompress(image, draw.randint(*TRAIN_JPEG_RANGE))


def cnndet(image: Image.Image, sha256: str, p: float, epoch: int) -> Image.Image:
    """Wang et al. 2020, section 3.1: Gaussian blur, sigma ~ U[0, 3], then JPEG, quality ~ U{30, ..., 100}.

    Each with probability ``p``, drawn anew each epoch.
    """
    draw = random.Random(f"{sha256}:cnndet:{epoch}")
    blurs, sigma = draw.random() < p, draw.uniform(*CNNDET_SIGMA_RANGE)
    saves, quality = draw.random() < p, draw.randint(*CNNDET_JPEG_RANGE)
    if blurs:
        image = image.filter(ImageFilter.GaussianBlur(sigma))
    return recompress(image, quality) if saves else image


def random_crop(image: Image.Image, sha256: str, size_px: int, epoch: int) -> Image.Image:
    """A square of ``size_px`` anywhere in the picture, perhaps flipped; a side that is shorter is left whole."""
    draw = random.Random(f"{sha256}:crop:{epoch}")
    width_px, height_px = (min(side, size_px) for side in image.size)
    left, top = (draw.randint(0, side - kept) for side, kept in zip(image.size, (width_px, height_px), strict=True))
    image = image.crop((left, top, left + width_px, top + height_px))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.random() < FLIP_PROBABILITY else image


PLAIN: dict[str, Transform] = {"raw": keep, "aligned": align, "web": web, "hard": hard}
BY_STRENGTH: dict[str, Callable[[Image.Image, str, int], Image.Image]] = {
    "lr": low_resolution,
    "jpeg": jpeg,
    "blur": blur,
    "centre": centre,
}
"""Families whose names end in a number: ``lr-112``, ``jpeg-65``, ``blur-3``, ``centre-224``."""


def transform(name: str) -> Transform:
    """The transform called ``name``; names joined by ``+`` are applied one after the other.

    ``raw``, ``aligned``, ``web``, ``hard``, ``training:<copy>``, ``wide:<copy>``, ``lr-<side>``, ``jpeg-<quality>``,
    ``blur-<sigma>``, ``centre-<side>``, and for end-to-end training ``cnndet-<p>:<epoch>`` and ``crop-<size>:<epoch>``.

    Raises:
        KeyError: for another name.
    """
    steps = [_step(part) for part in name.split("+")]
    return steps[0] if len(steps) == 1 else partial(_in_turn, steps)


def _in_turn(steps: Sequence[Transform], image: Image.Image, sha256: str) -> Image.Image:
    for step in steps:
        image = step(image, sha256)
    return image


def _step(name: str) -> Transform:
    kind, _, number = name.partition(":")
    family, _, strength = kind.partition("-")
    if kind == "training":
        return partial(training_copy, copy=int(number))
    if kind == "wide":
        return partial(wide_copy, copy=int(number))
    if family == "cnndet":
        return partial(cnndet, p=float(strength), epoch=int(number))
    if family == "crop":
        return partial(random_crop, size_px=int(strength), epoch=int(number))
    if strength.isdigit():
        apply = BY_STRENGTH[family]
        return lambda image, sha256: apply(image, sha256, int(strength))
    return PLAIN[name]


def recipe(name: str) -> dict[str, Any]:
    """The transform called ``name`` with every constant it depends on: part of the key of what is computed from it."""
    aligned = {"jpeg": ALIGN_JPEG_RANGE}
    constants: dict[str, dict[str, Any]] = {
        "aligned": aligned,
        "training": {"shrink_p": SHRINK_PROBABILITY, "shrink": SHRINK_RANGE, "jpeg": TRAIN_JPEG_RANGE},
        "wide": {
            "twice_p": WIDE_TWICE_PROBABILITY,
            "crop": (WIDE_CROP_PROBABILITY, WIDE_AREA_RANGE),
            "shrink": (WIDE_SHRINK_PROBABILITY, WIDE_SIDE_PX),
            "blur": (WIDE_BLUR_PROBABILITY, WIDE_SIGMA_RANGE),
            "save": (WIDE_WEBP_PROBABILITY, WIDE_QUALITY_RANGE),
        },
        "web": {**aligned, "shrink": WEB_SHRINK_RANGE, "last_jpeg": WEB_JPEG_RANGE},
        "hard": {**aligned, "area": HARD_AREA_RANGE, "sigma_px": HARD_SIGMA_RANGE, "last_jpeg": HARD_JPEG_RANGE},
    }
    parts = [constants.get(part.partition(":")[0], {}) for part in name.split("+")]
    return {"name": name, **{key: value for part in parts for key, value in part.items()}}
