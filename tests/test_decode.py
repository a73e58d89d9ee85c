import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from gendet_cli.intake.decode import MAX_PIXELS, DecodeError, decode


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture(width_px: int = 48, height_px: int = 32) -> Image.Image:
    """A smooth colour gradient, so that lossy formats stay close to it."""
    y, x = np.mgrid[0:height_px, 0:width_px]
    return Image.fromarray(np.stack([4 * x % 256, 6 * y % 256, 2 * (x + y) % 256], -1).astype(np.uint8))


def png(width_px: int, height_px: int, depth: int, colour: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG built by hand: what Pillow reads but does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width_px, height_px, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data).image)


@pytest.mark.parametrize(
    ("format", "tolerance"),
    [("JPEG", 24), ("PNG", 0), ("WEBP", 24), ("BMP", 0), ("TIFF", 0), ("AVIF", 24), ("HEIF", 24), ("MPO", 24)],
)
def test_supported_formats(format: str, tolerance: int):
    import pillow_heif

    pillow_heif.register_heif_opener()
    extra = {"save_all": True, "append_images": [picture().rotate(180)]} if format == "MPO" else {}
    decoded = decode(saved(picture(), format, quality=95, **extra))
    assert decoded.format == format
    assert decoded.image.mode == "RGB"
    difference = np.abs(np.asarray(decoded.image, int) - np.asarray(picture(), int))
    assert difference.mean() <= tolerance / 4


def test_first_frame_of_an_animation():
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        data = saved(
            red, format, save_all=True, append_images=[blue], **({"lossless": True} if format == "WEBP" else {})
        )
        assert (pixels(data) == (255, 0, 0)).all(), format


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation(orientation: int, format: str):
    """Each stored picture, turned as its tag says, is the upright one."""
    upright = picture(16, 8)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Transpose members that undo each orientation
    stored = upright.transpose(Image.Transpose(back[orientation])) if orientation in back else upright
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    lossless = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format, {})
    decoded = decode(saved(stored, format, exif=exif, **lossless)).image
    assert decoded.size == upright.size
    assert np.abs(np.asarray(decoded, int) - np.asarray(upright, int)).max() <= (6 if format == "JPEG" else 0)


def test_broken_exif_counts_as_upright():
    data = saved(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f", quality=100)
    assert decode(data).image.size == picture().size


def test_alpha_over_white():
    half = Image.new("RGBA", (3, 1))
    half.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)])
    assert pixels(saved(half, "PNG")).tolist() == [[[255, 0, 0], [255, 255, 255], [127, 127, 127]]]
    grey = Image.new("LA", (2, 1))
    grey.putdata([(10, 255), (10, 0)])
    assert pixels(saved(grey, "PNG"))[0, :, 0].tolist() == [10, 255]


def test_transparent_palette_over_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 255, 9, 9, 9])
    palette.putdata([0, 1])
    assert pixels(saved(palette, "PNG", transparency=1)).tolist() == [[[0, 0, 255], [255, 255, 255]]]
    assert pixels(saved(palette, "GIF", transparency=1)).tolist() == [[[0, 0, 255], [255, 255, 255]]]
    assert pixels(saved(palette, "PNG", transparency=b"\xff\x80")).tolist() == [[[0, 0, 255], [132, 132, 132]]]


def test_transparent_colour_over_white():
    colour = Image.new("RGB", (2, 1))
    colour.putdata([(1, 2, 3), (4, 5, 6)])
    assert pixels(saved(colour, "PNG", transparency=(4, 5, 6))).tolist() == [[[1, 2, 3], [255, 255, 255]]]
    grey = Image.new("L", (2, 1))
    grey.putdata([7, 8])
    assert pixels(saved(grey, "PNG", transparency=8))[0, :, 0].tolist() == [7, 255]
    deep = png(2, 1, 16, 0, b"\0" + struct.pack(">HH", 257, 514), (b"tRNS", struct.pack(">H", 514)))
    assert pixels(deep)[0, :, 0].tolist() == [1, 255]


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey(order: str):
    """Divided by 257 and rounded, in either byte order, as PNG and TIFF."""
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    expected = [0, 0, 1, 1, 128, 255]
    mode = "I;16" if order == "<" else "I;16B"
    image = Image.frombytes(mode, (6, 1), values.astype(f"{order}u2").tobytes())
    assert pixels(saved(image, "TIFF"))[0, :, 0].tolist() == expected
    assert pixels(saved(Image.fromarray(values), "PNG"))[0, :, 1].tolist() == expected


def test_32_bit_integer_grey_is_clipped():
    image = Image.fromarray(np.array([[-5, 0, 65535, 70000]], np.int32))
    assert pixels(saved(image, "TIFF"))[0, :, 2].tolist() == [0, 0, 255, 255]


def test_float_grey_is_stretched():
    image = Image.fromarray(np.array([[-1.0, 0.0, 1.0]], np.float32))
    assert pixels(saved(image, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]
    flat = Image.fromarray(np.full((1, 3), 7.0, np.float32))
    assert pixels(saved(flat, "TIFF")).max() == 0


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_float_grey_that_is_not_finite(value: float):
    image = Image.fromarray(np.array([[0.0, value]], np.float32))
    with pytest.raises(DecodeError, match="not a number"):
        decode(saved(image, "TIFF"))


def test_16_bit_colour_keeps_the_high_bytes():
    data = png(1, 1, 16, 2, b"\0" + struct.pack(">HHH", 0x12FF, 0x3400, 0xFFFF))
    assert pixels(data).tolist() == [[[0x12, 0x34, 0xFF]]]


def test_one_bit_cmyk_lab():
    one = Image.new("1", (2, 1))
    one.putpixel((0, 0), 1)
    assert pixels(saved(one, "PNG"))[0, :, 0].tolist() == [255, 0]
    cmyk = Image.new("CMYK", (1, 1), (0, 255, 255, 0))
    assert pixels(saved(cmyk, "TIFF")).tolist() == [[[255, 0, 0]]]
    assert np.abs(pixels(saved(cmyk, "JPEG", quality=100)).astype(int) - (255, 0, 0)).max() <= 4
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.new("RGB", (1, 1), (200, 50, 50)), transform)
    assert lab is not None
    assert np.abs(pixels(saved(lab, "TIFF")).astype(int) - (200, 50, 50)).max() <= 3


def test_icc_profile_is_ignored():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (pixels(saved(picture(), "PNG", icc_profile=profile)) == np.asarray(picture())).all()


def test_strips_join_without_a_seam(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gendet_cli.intake.decode.STRIP_PIXELS", 100)
    image = picture(40, 33).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    white = Image.new("RGBA", image.size, "white")
    expected = np.asarray(Image.alpha_composite(white, image).convert("RGB"), int)
    assert np.abs(pixels(saved(image, "PNG")).astype(int) - expected).max() <= 1
    deep = np.arange(33 * 40, dtype=np.uint16).reshape(33, 40) * 49
    assert (pixels(saved(Image.fromarray(deep), "PNG"))[..., 0] == (deep.astype(int) + 128) // 257).all()


def test_bomb_is_refused_before_decoding():
    for side_px in (11_000, 13_000, 60_000):
        with pytest.raises(DecodeError, match="120 million pixels"):
            decode(png(side_px, side_px, 8, 2, b""))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just a note, saved as picture.jpg\n", "text"),
        ("un été à la plage, ".encode() * 60, "text"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"),
        (bytes(4096), "zeros"),
        (bytes(range(128, 256)) * 8, "not a picture"),
        (b"BM\xff\xff\xff\xff\0\0\0\0\x36\0\0\0\x42\0\0\0\1\0\0\0", "BMP"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "JPEG 2000 is not supported; convert"),
        (b"\xff\x0a" + bytes(99), "JPEG XL is not supported; convert"),
        (b"8BPS\0\1" + bytes(99), "PSD"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not supported; convert"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "camera raw"),
    ],
)
def test_reasons(data: bytes, reason: str):
    with pytest.raises(DecodeError, match=reason):
        decode(data)


@pytest.mark.parametrize("tags", [{254: 1}, {50706: b"\1\4\0\0"}])
def test_tiff_of_a_camera_raw_preview_is_refused(tags: dict[int, object]):
    with pytest.raises(DecodeError, match="camera raw"):
        decode(saved(picture(), "TIFF", tiffinfo=tags))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_truncated(format: str):
    data = saved(picture(160, 120), format)
    with pytest.raises(DecodeError) as caught:
        decode(data[: len(data) // 2])
    assert caught.value.format == format
    assert " at 0x" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_memory_error_is_told_apart(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("gendet_cli.intake.decode._flatten", fail)
    with pytest.raises(DecodeError) as caught:
        decode(saved(picture(), "PNG"))
    assert caught.value.out_of_memory


SEEDS: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: saved(picture(), "JPEG", exif=_exif()),
    "PNG": lambda: saved(picture().convert("P"), "PNG", transparency=3, exif=_exif()),
    "WEBP": lambda: saved(picture(), "WEBP", exif=_exif()),
    "GIF": lambda: saved(picture(), "GIF"),
    "TIFF": lambda: saved(picture(), "TIFF", compression="tiff_lzw"),
    "BMP": lambda: saved(picture(), "BMP"),
}


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Software] = "camera"
    return exif


@pytest.mark.parametrize("format", list(SEEDS))
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_mutated_pictures_decode_or_raise_decode_error(format: str, data: st.DataObject):
    damaged = bytearray(SEEDS[format]())
    for _ in range(data.draw(st.integers(1, 8))):
        # half of the blows go to the header, where structure is
        limit = data.draw(st.sampled_from([min(64, len(damaged)), len(damaged)]))
        damaged[data.draw(st.integers(0, limit - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    try:
        image = decode(bytes(damaged)).image
    except DecodeError:
        return
    assert image.mode == "RGB"
    assert 0 < image.width * image.height <= MAX_PIXELS
