"""What a file is by its first bytes and by its suffix: which pictures are read, and which are known but not read."""

from __future__ import annotations

import re

__all__ = ["HEAD_BYTES", "IMAGE_SUFFIXES", "SUPPORTED", "has_image_suffix", "signature"]

HEAD_BYTES = 512
"""How much of a file :func:`signature` needs to see."""

SUPPORTED = frozenset({"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"})
"""Pillow's names of what is decoded; every other name that :func:`signature` gives is of a format only recognised."""

DECODED = "jpg jpeg jpe jfif jif mpo png apng webp gif bmp dib tif tiff avif avifs heic heics heif heifs hif"
OTHER = (
    "jp2 j2k jpc jpf jpx jpm jxl jxr hdp wdp jng mng psd psb tga icb ico cur icns dds ppm pgm pbm pnm pam pfm svg svgz "
    "exr hdr rgbe pcx dcx sgi rgb rgba bw ras xbm xpm xcf kra ora qoi flif bpg wmf emf eps fits fts dcm dicom djvu djv "
    "ktx ktx2 blp vtf wp2 iff ilbm lbm"
)
RAW = (
    "3fr ari arw cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf pef ptx raf raw rw2 rwl sr2 srf "
    "srw x3f"
)
IMAGE_SUFFIXES = frozenset(f"{DECODED} {OTHER} {RAW}".split())
"""Suffixes, lower case and without the dot, of files that are taken for pictures whatever they hold."""

PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00\x10\x00\x00\x00CR", "camera raw (CR2)"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"8BPS", "Photoshop (PSD)"),
    (b"gimp xcf", "GIMP (XCF)"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"SIMPLE  =", "FITS"),
    (b"icns", "ICNS"),
    (b"/* XPM */", "XPM"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"FLIF", "FLIF"),
    (b"BPG\xfb", "BPG"),
    (b"AT&TFORM", "DjVu"),
    (b"BLP1", "BLP"),
    (b"BLP2", "BLP"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    (b"\x8aMNG", "MNG"),
    (b"\x8bJNG", "JNG"),
    (b"\xabKTX ", "KTX"),
    (b"farbfeld", "farbfeld"),
    (b"FUJIFILMCCD-RAW", "camera raw (RAF)"),
    (b"IIRO", "camera raw (ORF)"),
    (b"IIRS", "camera raw (ORF)"),
    (b"MMOR", "camera raw (ORF)"),
    (b"IIU\x00", "camera raw (RW2)"),
    (b"FOVb", "camera raw (X3F)"),
    (b"\x00MRM", "camera raw (MRW)"),
    (b"<svg", "SVG"),
)

PATTERNS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), name)
    for pattern, name in (
        (rb"RIFF....WEBP", "WEBP"),
        # the size of the header that follows tells a bitmap from a text that starts with BM
        (rb"BM.{12}(?:[\x0c\x10\x28\x34\x38\x40\x6c\x7c])\x00\x00\x00", "BMP"),
        (rb"BA.{4}.{8}BM", "OS/2 bitmap array"),
        (rb"\x00\x00[\x01\x02]\x00[^\x00]\x00.{3}\x00", "ICO or CUR"),
        (rb"P[1-7fF][ \t\r\n]", "PNM"),
        (rb"\x01\xda[\x00\x01][\x01\x02]\x00[\x01-\x03]", "SGI"),
        (rb"\x01\x00\x00\x00.{36} EMF", "EMF"),
        (rb".{128}DICM", "DICOM"),
        (rb"%!PS-Adobe-[\d.]+ EPSF", "EPS"),
        (rb"\xc5\xd0\xd3\xc6", "EPS"),
        (rb"(?:\xef\xbb\xbf)?\s*<\?xml.*<svg", "SVG"),
    )
)

AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})


def _container(head: bytes) -> str:
    """Name of an ISO base media file by its brands (ISO/IEC 14496-12, ``ftyp``), or ``""`` for one of no picture."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, length - 3, 4))]
    if brands[0] == b"crx ":
        return "camera raw (CR3)"
    if AVIF_BRANDS.intersection(brands):
        return "AVIF"
    if HEIF_BRANDS.intersection(brands):
        return "HEIF"
    return "JPEG 2000" if brands[0] in {b"jp2 ", b"jpx "} else ""


def signature(head: bytes) -> str:
    """Name of the picture format that a file's first :data:`HEAD_BYTES` bytes announce, or ``""``.

    A name that is not in :data:`SUPPORTED` is a format that is recognised but not decoded.
    """
    if head[4:8] == b"ftyp":
        return _container(head)
    for prefix, name in PREFIXES:
        if head.startswith(prefix):
            return name
    for pattern, name in PATTERNS:
        if pattern.match(head):
            return name
    return ""


def has_image_suffix(name: str) -> bool:
    """Whether a file name ends as pictures do (:data:`IMAGE_SUFFIXES`), in any case of letters."""
    _, dot, suffix = name.rpartition(".")
    return bool(dot) and suffix.lower() in IMAGE_SUFFIXES
