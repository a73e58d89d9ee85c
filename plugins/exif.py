"""Evidence from EXIF: camera, lens, software, date, claims of a generator, and what may identify a person or a place.

Tag numbers and names are those of Exif 3.0 (CIPA DC-008), those of the XP fields Microsoft's. Only the first IFD,
the Exif IFD and the GPS IFD are read; maker notes and thumbnails never are.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from exifread.core.exceptions import InvalidExif
from exifread.core.exif_header import ExifHeader
from PIL import Image

from gendet_cli.plugin.api import Evidence, Sample, hookimpl

NAME = "exif"
MAX_VALUE_CHARS = 500
MAX_FIELD_BYTES = 1 << 20
MAX_IFD_ENTRIES = 1000
"""An IFD of more entries is refused: exifread takes up to 1000 values of each, one by one."""

EXIF_HEADER = b"Exif\x00\x00"
TIFF_HEADERS = {b"II*\x00": "I", b"MM\x00*": "M"}
EXIF_IFD, GPS_IFD = 0x8769, 0x8825


@dataclass(frozen=True, slots=True)
class Field:
    """One EXIF tag and what is said of it.

    Attributes:
        tag: number of the tag.
        name: the standard's name, the evidence's key.
        report: ``info`` a fact to show, ``private`` one that may identify somebody, ``claim`` shown only if it is one.
        tool: it names what made the file, so that the bare name of a generator in it is a claim.
        coding: ``ascii``, ``comment`` (eight bytes of character code first) or ``utf-16`` (Microsoft's XP fields).
    """

    tag: int
    name: str
    report: Literal["info", "private", "claim"]
    tool: bool = False
    coding: Literal["ascii", "comment", "utf-16"] = "ascii"


IMAGE_FIELDS = (
    Field(0x010F, "Make", "info", tool=True),
    Field(0x0110, "Model", "info", tool=True),
    Field(0x0131, "Software", "info", tool=True),
    Field(0x000B, "ProcessingSoftware", "info", tool=True),
    Field(0x0132, "DateTime", "info"),
    Field(0x010E, "ImageDescription", "claim"),
    Field(0x013B, "Artist", "private", tool=True),
    Field(0x8298, "Copyright", "private"),
    Field(0x013C, "HostComputer", "private"),
    Field(0x9C9B, "XPTitle", "claim", coding="utf-16"),
    Field(0x9C9C, "XPComment", "claim", coding="utf-16"),
    Field(0x9C9D, "XPAuthor", "private", tool=True, coding="utf-16"),
    Field(0x9C9E, "XPKeywords", "claim", coding="utf-16"),
    Field(0x9C9F, "XPSubject", "claim", coding="utf-16"),
)
EXIF_FIELDS = (
    Field(0xA434, "LensModel", "info"),
    Field(0xA43A, "RAWDevelopingSoftware", "info", tool=True),
    Field(0xA43B, "ImageEditingSoftware", "info", tool=True),
    Field(0x9003, "DateTimeOriginal", "info"),
    Field(0x9286, "UserComment", "claim", coding="comment"),
    Field(0xA431, "BodySerialNumber", "private"),
    Field(0xA435, "LensSerialNumber", "private"),
    Field(0xA430, "CameraOwnerName", "private"),
    Field(0xFDE8, "OwnerName", "private"),
    Field(0xA437, "Photographer", "private", tool=True),
    Field(0xA420, "ImageUniqueID", "private"),
)
GPS_TAGS = {1: ("LatitudeRef", None), 2: ("Latitude", None), 3: ("LongitudeRef", None), 4: ("Longitude", None)}

MARKS = (
    ("Fooocus", r'"metadata_scheme": ?"fooocus"|"version": ?"Fooocus|Version: Fooocus'),
    ("InvokeAI", r'"app_version": ?"[^"]*invoke|"invokeai_metadata"|"generation_mode": ?"[a-z0-9_]*(txt|img)2img'),
    ("NovelAI", r'"request_type": ?"[A-Za-z]*Generat|"signed_hash": ?"'),
    ("SwarmUI", r'"sui_image_params"'),
    ("ComfyUI", r'"class_type": ?"|"last_node_id": ?\d|^(prompt|workflow): ?\{'),
    ("Stable Diffusion web UI", r"\bSteps: \d+, (Sampler|Size|CFG scale|Seed|Schedule type|Model)\b"),
    ("Stable Diffusion", r'"sd-metadata"|"sampler(_name)?": ?"[^{}]{0,400}"(cfg_?scale|guidance_?scale|seed)": ?"?\d'),
    ("Midjourney", r"\bJob ID: [0-9a-f]{8}-[0-9a-f]{4}-|(?<!\S)--(v|niji) \d(\.\d)?(?!\S)"),
    ("Google AI", r"\b(made|created|generated) with google ai\b"),
    ("generative AI", r"\b(trained|compositeWithTrained)AlgorithmicMedia\b|(?<!not )(?<!no )\bAI[- ]generated\b"),
    ("generative AI", r"(?<!not )\b(generated|created|made|imagined) (by|with|using) (generative )?AI\b"),
)
"""Generators and what their files carry, looked for in every text field."""

NAMES = (
    ("Stable Diffusion", r"stable[ _-]?diffusion|\bsdxl\b|\bdreamstudio\b|\bstability\.?ai\b"),
    ("DALL-E", r"\bdall[-·• ]e(?!\w)|\bdalle[ -]?[23]\b|\bopenai\b|\bchatgpt\b|\bgpt-image\b|\bgpt-4o\b"),
    ("Adobe Firefly", r"\badobe[_ ]firefly\b|^firefly\b"),
    ("Google AI", r"\bgoogle imagen\b|\bimagen[ -]?[234]\b|\bgoogle gemini\b|\bgemini[ -]\d|\bnano banana\b"),
    ("Leonardo.Ai", r"\bleonardo[. ]ai\b"),
    ("FLUX", r"\bflux[. -]?[12]\b|\bflux[. -](dev|schnell|pro|kontext)\b|\bblack forest labs\b"),
    *((name, rf"\b{name.replace(' ', '[ .]?')}\b") for name in (
        "Midjourney", "Novel AI", "Comfy UI", "Swarm UI", "AUTOMATIC1111", "Invoke AI", "Fooocus", "Easy Diffusion",
        "Draw Things", "Ideogram", "Bing Image Creator", "Recraft", "Playground AI", "Craiyon", "NightCafe", "Meta AI",
        "Grok", "Seedream", "Kandinsky 2", "Kandinsky 3",
    )),
)  # fmt: skip
"""Names of generators, looked for only where a file says what made it: a picture may well show a firefly."""

GENERATORS = tuple(  # (name, pattern, looked for in every field)
    (name, re.compile(pattern, re.IGNORECASE), everywhere)
    for table, everywhere in ((MARKS, True), (NAMES, False))
    for name, pattern in table
)


@hookimpl
def gendet_evidence(sample: Sample) -> list[Evidence]:
    """What the EXIF block says; empty without one.

    Raises:
        InvalidExif: there is a block, but it cannot be read.
    """
    block = exif_block(sample.data, sample.format)
    if not block:
        return []
    with _silent_exifread():
        header = _open(block)
        found = _read_ifd(header, header.s2n(4, 4), IMAGE_FIELDS)
        exif_offset, gps_offset = (_pointer(header, tag) for tag in (EXIF_IFD, GPS_IFD))
        if exif_offset:
            found |= _read_ifd(header, exif_offset, EXIF_FIELDS)
        position = _position(header, gps_offset) if gps_offset else ""
    if found.get("DateTimeOriginal"):
        found.pop("DateTime", None)
    evidence = [entry for field in IMAGE_FIELDS + EXIF_FIELDS for entry in _say(field, found.get(field.name, ""))]
    return evidence + ([Evidence(NAME, "GPSPosition", position, private=True)] if position else [])


def exif_block(data: bytes, format: str) -> bytes:
    """The TIFF structure with the EXIF fields of a file whose container Pillow calls ``format``; empty without any."""
    if format in ("TIFF", "GIF", "BMP"):
        return data if format == "TIFF" else b""
    if format == "PNG":
        return _png_exif(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            return bytes(image.info.get("exif") or b"").removeprefix(EXIF_HEADER)


def _png_exif(data: bytes) -> bytes:
    """The first ``eXIf`` chunk, before or after the pixels (Pillow sees the latter only once it has decoded)."""
    start = 8
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        if kind in (b"eXIf", b"IEND"):
            return data[start + 8 : start + 8 + length].removeprefix(EXIF_HEADER)
        start += 12 + length
    return b""


@contextmanager
def _silent_exifread() -> Iterator[None]:
    """Keeps exifread's remarks on odd files off the terminal; what it trips over on broken ones is InvalidExif."""
    logger = logging.getLogger("exifread")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    except (ValueError, struct.error) as error:
        raise InvalidExif(str(error)) from error
    finally:
        logger.disabled = before


def _open(block: bytes) -> ExifHeader:
    if block[:4] not in TIFF_HEADERS:
        raise InvalidExif("the EXIF block does not begin with a classic TIFF header")
    return ExifHeader(io.BytesIO(block), TIFF_HEADERS[block[:4]], 0, 0, strict=False, detailed=True)


def _dump(header: ExifHeader, offset: int, name: str, tags: dict[int, Any]) -> dict[str, Any]:
    """Entries of the IFD at ``offset`` whose tags are in ``tags``, by name.

    With a table of its own exifread neither follows pointers nor takes a maker note for what it is.
    """
    entries = header.s2n(offset, 2)
    if entries > MAX_IFD_ENTRIES:
        raise InvalidExif(f"an IFD of {entries} entries")
    header.dump_ifd(offset, name, tag_dict=tags)
    return {label: header.tags[f"{name} {label}"] for label, _ in tags.values() if f"{name} {label}" in header.tags}


def _pointer(header: ExifHeader, tag: int) -> int:
    """Offset of the IFD that the first one points to by ``tag``; 0 if it does not."""
    found = _dump(header, header.s2n(4, 4), "Pointer", {tag: (str(tag), None)}).get(str(tag))
    return int(found.values[0]) if found and found.values and isinstance(found.values[0], int) else 0


def _read_ifd(header: ExifHeader, offset: int, fields: tuple[Field, ...]) -> dict[str, str]:
    """Cleaned text of each field that is there, by name."""
    coding = {field.name: field.coding for field in fields}
    entries = _dump(header, offset, f"IFD{offset}", {field.tag: (field.name, None) for field in fields})
    return {name: clean(_text(header, entry, coding[name])) for name, entry in entries.items()}


def _text(header: ExifHeader, entry: Any, coding: str) -> str:
    """A field's text from its bytes: exifread drops lists of 1000 values and more, as long prompts are."""
    header.file_handle.seek(entry.field_offset)
    raw = header.file_handle.read(min(entry.field_length, MAX_FIELD_BYTES))
    if coding == "comment":
        return decode_comment(raw, "utf-16-le" if header.endian == "I" else "utf-16-be")
    if coding == "utf-16":
        return raw.decode("utf-16-le", "replace")
    return _decode_8bit(raw.split(b"\x00", 1)[0])


def decode_comment(raw: bytes, order: str) -> str:
    """Text of a UserComment by the character code in its first eight bytes (Exif 3.0, 4.6.6.4).

    Args:
        raw: the field's bytes.
        order: ``utf-16-le`` or ``utf-16-be``, for a Unicode comment that does not tell its byte order.
    """
    code, body = raw[:8].rstrip(b"\x00 ").upper(), raw[8:]
    if code == b"UNICODE":
        return body.decode(_utf16_order(body, order), "replace").lstrip("\ufeff")
    if code == b"JIS":
        return body.decode("iso2022_jp", "replace")
    return _decode_8bit(body if code in (b"ASCII", b"") else raw)


def _utf16_order(body: bytes, order: str) -> str:
    """Byte order of UTF-16 text. Writers disagree whether it follows the TIFF header's, so the text decides."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16-le" if body[:2] == b"\xff\xfe" else "utf-16-be"
    zeros_first, zeros_second = body[0::2].count(0), body[1::2].count(0)
    return order if zeros_first == zeros_second else "utf-16-be" if zeros_first > zeros_second else "utf-16-le"


def _decode_8bit(raw: bytes) -> str:
    """UTF-8 as writers use it, else Latin-1, which takes any byte."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def clean(text: str) -> str:
    """``text`` on one line, without control, format and surrogate characters."""
    spaced = " ".join(text.split())
    return "".join(char for char in spaced if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co")).strip()


def named_generator(text: str, *, tool: bool) -> str:
    """The generator that a text names as the maker of its picture, or an empty string."""
    return next((name for name, pattern, everywhere in GENERATORS if (everywhere or tool) and pattern.search(text)), "")


def _say(field: Field, text: str) -> list[Evidence]:
    """Evidence of one field, none without interest; a claim in a private field only names the generator."""
    generator = named_generator(text, tool=field.tool)
    private = field.report == "private"
    found = []
    if generator:
        shown = text if generator.lower() in text[:MAX_VALUE_CHARS].lower() else f"{generator}: {text}"
        found.append(Evidence(NAME, field.name, generator if private else shown[:MAX_VALUE_CHARS], kind="claim"))
    if text and (private or (field.report == "info" and not generator)):
        found.append(Evidence(NAME, field.name, text[:MAX_VALUE_CHARS], private=private))
    return found


def _position(header: ExifHeader, offset: int) -> str:
    """Latitude and longitude in decimal degrees, or that there is one which cannot be computed; empty without any."""
    tags = _dump(header, offset, "GPS", GPS_TAGS)
    if "Latitude" not in tags and "Longitude" not in tags:
        return ""
    latitude, longitude = (_degrees(tags, axis, limit) for axis, limit in (("Latitude", 90), ("Longitude", 180)))
    if latitude is None or longitude is None:
        return "present, not computable"
    return f"{latitude:.6f}, {longitude:.6f}"


def _degrees(tags: dict[str, Any], axis: str, limit: int) -> float | None:
    """Signed degrees (south and west negative) of one axis, None when it is incomplete or out of range."""
    values = list(tags[axis].values) if axis in tags else []
    reference = str(tags[f"{axis}Ref"].values).strip().upper()[:1] if f"{axis}Ref" in tags else ""
    if len(values) != 3 or reference not in tuple("NS" if limit == 90 else "EW"):
        return None
    if any(not hasattr(value, "denominator") or value.denominator == 0 for value in values):
        return None
    degrees = float(values[0]) + float(values[1]) / 60 + float(values[2]) / 3600
    return None if degrees > limit else -degrees if reference in "SW" else degrees
