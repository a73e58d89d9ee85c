"""Bytes to an upright RGB picture, by stated rules.

* The format is told by the bytes; the file's name plays no part. Of several frames the first is taken.
* A picture of more than :data:`MAX_PIXELS` is refused before it is decoded; a truncated one is refused.
* Orientation (EXIF, or the container's own) is applied; an EXIF block that cannot be read counts as upright.
* Alpha, transparent palette entries and a PNG's transparent colour are laid over white.
* 16-bit grey is divided by 257 to 8 bits and rounded; 32-bit integer grey is clipped to 0..65535 first.
  Floating-point grey is stretched from its own least and greatest value (one value alone: black).
* 1-bit, palette, CMYK, YCbCr and LAB pictures are converted by Pillow; more than 8 bits per colour are cut to 8.
* ICC profiles are ignored: the numbers in the file are the picture.
* Camera raw, also as TIFF or DNG, is refused: what could be read of it is its small preview.
"""

from __future__ import annotations

import codecs
import functools
import io
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import AvifImagePlugin, ExifTags, Image, UnidentifiedImageError

from gendet_cli.intake.signature import HEAD_BYTES, SUPPORTED, signature

__all__ = ["MAX_PIXELS", "DecodeError", "Decoded", "decode"]

MAX_PIXELS = 120_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
"""Pillow's names; an MPO is opened as the JPEG it starts with."""

READ = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC or MPO"
WHITE = (255, 255, 255)
STRIP_PIXELS = 1 << 22
NEW_SUBFILE_TYPE, DNG_VERSION = 254, 50706  # TIFF 6.0, section 8; DNG 1.7
TOO_LARGE = f"more than {MAX_PIXELS // 1_000_000} million pixels; make a smaller copy first"
NO_MEMORY = "needs more memory to decode than one picture may take; make a smaller copy first"
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of each EXIF orientation upright."""


class DecodeError(ValueError):
    """A picture that cannot be decoded; the text says why and, where there is one, the remedy.

    Attributes:
        format: the format as far as it is known, else empty.
        out_of_memory: it was memory that was wanting.
    """

    def __init__(self, reason: str, *, format: str = "", out_of_memory: bool = False) -> None:
        super().__init__(reason)
        self.format = format
        self.out_of_memory = out_of_memory


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded picture: the container as Pillow names it, and the upright RGB pixels."""

    format: str
    image: Image.Image


def decode(data: bytes) -> Decoded:
    """Decode a file's bytes in full, by the rules of this module.

    Raises:
        DecodeError: for whatever is wrong with the bytes.
    """
    kind = signature(data[:HEAD_BYTES])
    if kind not in SUPPORTED and (reason := _refusal(data, kind)):
        raise DecodeError(reason, format=kind)
    _register()
    name = kind or "BMP"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                name = image.format or kind
                _check(image)
                image.load()
                return Decoded(name, _upright(_flatten(image), _orientation(image)))
    except DecodeError as error:
        raise DecodeError(str(error), format=name) from error
    except Exception as error:  # Pillow and its plugins raise any class on broken data; this is the boundary
        memory = isinstance(error, MemoryError) or "out of memory" in str(error)
        raise DecodeError(_reason(error, name, memory), format=name, out_of_memory=memory) from error


@functools.cache
def _register() -> None:
    """HEIC through libheif; one decoding thread, so that memory and time do not depend on the machine."""
    pillow_heif.register_heif_opener()
    pillow_heif.options.DECODE_THREADS = 1
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def _refusal(data: bytes, kind: str) -> str:
    """Why bytes without a supported signature are not tried, or ``""`` when Pillow shall decide."""
    head = data[:HEAD_BYTES]
    if not data:
        return "the file is empty; get the original again"
    if kind:
        return f"{kind} is not supported; convert it to PNG or JPEG first"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the picture itself; run `git lfs pull`"
    if re.match(rb"\s*<(!doctype html|html|head|body)", head, re.IGNORECASE):
        return "a web page, not a picture; save the picture itself"
    if not head.strip(b"\0"):
        return "the file holds only zeros; get the original again"
    if _is_text(head):
        return "text, not a picture"
    return "" if head.startswith(b"BM") else f"not a picture in a format that is read ({READ}); convert it first"


def _is_text(head: bytes) -> bool:
    if re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end of what is seen
    except UnicodeDecodeError:
        return False
    return True


def _check(image: Image.Image) -> None:
    width_px, height_px = image.size
    if width_px * height_px > MAX_PIXELS:
        raise DecodeError(f"{width_px} x {height_px} pixels are {TOO_LARGE}")
    if width_px < 1 or height_px < 1:
        raise DecodeError("the picture has no pixels")
    tags = getattr(image, "tag_v2", {})
    if DNG_VERSION in tags or tags.get(NEW_SUBFILE_TYPE, 0) == 1:
        raise DecodeError("camera raw is not supported (only its preview could be read); develop it to TIFF or JPEG")


def _reason(error: Exception, name: str, memory: bool) -> str:
    """One line without addresses, so that the same file gives the same reason everywhere."""
    if memory:
        return NO_MEMORY
    if isinstance(error, Image.DecompressionBombError):
        return TOO_LARGE
    if isinstance(error, UnidentifiedImageError):
        return f"its {name} header cannot be read: damaged, or of a rare kind; get the original, or convert it to PNG"
    text = " ".join(re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>", "the file", str(error)).split())
    said = text[:160] if isinstance(error, OSError | ValueError | SyntaxError | RuntimeError) and text else ""
    return f"damaged {name}: {said or type(error).__name__}; get the original again"


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8 of a loaded picture; formats that turn the pixels themselves report 1."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  broken metadata of any kind; the pixels are sound, and the rule above says upright
        return 1
    return value if value in TURNS else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _flatten(image: Image.Image) -> Image.Image:
    """Any mode to RGB, transparency over white."""
    if image.mode == "F":
        return _grey(image, _stretch(image))
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _grey(image, _to_8_bits, image.info.get("transparency"))
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(top, full-width strip) of about :data:`STRIP_PIXELS`, so that intermediate copies stay small."""
    width_px, height_px = image.size
    rows = max(1, STRIP_PIXELS // width_px)
    for top in range(0, height_px, rows):
        yield top, image.crop((0, top, width_px, min(top + rows, height_px)))


def _over_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", image.size, WHITE)
    for top, strip in _strips(image):
        straight = strip.convert("LA") if strip.mode == "La" else strip
        coloured = straight.convert("RGBA")
        canvas.paste(coloured, (0, top), coloured.getchannel("A"))
    return canvas


def _grey(
    image: Image.Image, convert: Callable[[NDArray[Any]], NDArray[np.uint8]], transparent: object = None
) -> Image.Image:
    """Grey of many bits to RGB, strip by strip; pixels equal to ``transparent`` become white."""
    canvas = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        values = np.asarray(strip)
        pixels = convert(values)
        if isinstance(transparent, int):
            pixels = np.where(values == transparent, np.uint8(255), pixels)
        canvas.paste(Image.fromarray(pixels).convert("RGB"), (0, top))
    return canvas


def _to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """0..65535 to 0..255, rounded (65535 = 255 * 257)."""
    scaled: NDArray[np.uint8] = ((np.clip(values, 0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8)
    return scaled


def _stretch(image: Image.Image) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """The map from [min, max] of a float picture to 0..255. Raises DecodeError for values that are not finite."""
    extremes = [(float(values.min()), float(values.max())) for _, s in _strips(image) for values in (np.asarray(s),)]
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    if not np.isfinite(extremes).all():
        raise DecodeError("it holds values that are infinite or not a number; export it to 8 or 16 bits first")
    scale = 255.0 / (high - low) if high > low else 0.0
    return lambda values: np.rint((values.astype(np.float64) - low) * scale).astype(np.uint8)
