import csv
import io
import os
import struct
import zlib
from pathlib import Path

import pillow_heif
import pytest
from exifread.core.exceptions import InvalidExif
from gendet_plugins import exif
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gendet_cli.types import Evidence, Sample, Source

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
ASCII, LONG, RATIONAL = 2, 4, 5
GREY = Image.new("RGB", (16, 16), "grey")
A1111 = "a duck\nNegative prompt: monochrome\nSteps: 15, Sampler: DDIM, CFG scale: 7, Seed: 1, Size: 512x512"


def block(image: dict | None = None, camera: dict | None = None, gps: dict | None = None) -> Image.Exif:
    fields = Image.Exif()
    fields.update(image or {})
    fields.get_ifd(EXIF_IFD).update(camera or {})
    fields.get_ifd(GPS_IFD).update(gps or {})
    return fields


def sample(data: bytes, format: str = "JPEG") -> Sample:
    return Sample(Source("a", "a"), data, "", format, GREY)


def saved(fields: Image.Exif | bytes, format: str = "JPEG") -> Sample:
    buffer = io.BytesIO()
    GREY.save(buffer, format, exif=b"Exif\0\0" + fields if isinstance(fields, bytes) else fields)
    return sample(buffer.getvalue(), format)


def found(given: Sample) -> dict[str, tuple[str, str, bool]]:
    return {entry.key: (entry.value, entry.kind, entry.private) for entry in exif.gendet_evidence(sample=given)}


def comment(raw: bytes) -> tuple[str, str, bool] | None:
    return found(saved(block(camera={0x9286: raw}))).get("UserComment")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "MPO"])
def test_camera_software_lens_and_date_are_facts_in_every_container(format: str) -> None:
    if format == "HEIF":
        pillow_heif.register_heif_opener()
    fields = block(
        {0x010F: "Canon", 0x0110: "EOS R5", 0x0131: "GIMP 2.10", 0x0132: "2024:01:02 03:04:05"},
        {0x9003: "2023:01:02 03:04:05", 0xA434: "RF 50mm"},
    )
    assert found(saved(fields, format)) == {
        "Make": ("Canon", "info", False),
        "Model": ("EOS R5", "info", False),
        "Software": ("GIMP 2.10", "info", False),
        "LensModel": ("RF 50mm", "info", False),
        "DateTimeOriginal": ("2023:01:02 03:04:05", "info", False),
    }


def test_a_tiff_is_its_own_exif() -> None:
    assert found(sample(tiff(((0x0131, ASCII, b"GIMP 2.10\0"),)), "TIFF")) == {"Software": ("GIMP 2.10", "info", False)}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_without_exif_says_nothing(format: str) -> None:
    buffer = io.BytesIO()
    GREY.save(buffer, format)
    assert exif.gendet_evidence(sample=sample(buffer.getvalue(), format)) == []


def test_the_date_of_change_is_given_when_there_is_no_date_of_taking() -> None:
    assert found(saved(block({0x0132: "2024:01:02 03:04:05"}))) == {"DateTime": ("2024:01:02 03:04:05", "info", False)}


def test_what_may_identify_somebody_is_private() -> None:
    fields = block(
        {0x013B: "Ann Example", 0x8298: "(c) Ann", 0x013C: "anns-laptop", 0x9C9D: "Ann".encode("utf-16-le")},
        {0xA431: "123", 0xA435: "456", 0xA430: "Ann", 0xFDE8: "Bob", 0xA437: "Cy", 0xA420: "f00d"},
    )
    values = found(saved(fields))
    assert all(kind == "info" and private for _, kind, private in values.values())
    assert {key: value for key, (value, _, _) in values.items()} == {
        "Artist": "Ann Example",
        "Copyright": "(c) Ann",
        "HostComputer": "anns-laptop",
        "XPAuthor": "Ann",
        "BodySerialNumber": "123",
        "LensSerialNumber": "456",
        "CameraOwnerName": "Ann",
        "OwnerName": "Bob",
        "Photographer": "Cy",
        "ImageUniqueID": "f00d",
    }


@pytest.mark.parametrize(
    ("gps", "position"),
    [
        ({1: "N", 2: (52.0, 30.0, 36.0), 3: "E", 4: (13.0, 22.0, 30.0)}, "52.510000, 13.375000"),
        ({1: "S", 2: (33.0, 30.0, 0.0), 3: "W", 4: (70.0, 15.0, 0.0)}, "-33.500000, -70.250000"),
        ({2: (33.0, 30.0, 0.0), 4: (70.0, 15.0, 0.0)}, "present, not computable"),
        ({1: "N", 2: (133.0, 0.0, 0.0), 3: "E", 4: (70.0, 15.0, 0.0)}, "present, not computable"),
    ],
)
def test_a_position_is_given_in_degrees_and_private(gps: dict, position: str) -> None:
    assert found(saved(block(gps=gps))) == {"GPSPosition": (position, "info", True)}


def test_a_position_over_zero_is_not_computed() -> None:
    over_zero = struct.pack("<6I", 52, 0, 30, 1, 0, 1)
    axes = ((1, ASCII, b"N\0"), (2, RATIONAL, over_zero), (3, ASCII, b"E\0"), (4, RATIONAL, over_zero))
    first_ifd = 8  # serves as the GPS IFD too
    fields = tiff((*axes, (GPS_IFD, LONG, first_ifd)))
    assert found(saved(fields)) == {"GPSPosition": ("present, not computable", "info", True)}


@pytest.mark.parametrize(
    ("software", "generator"),
    [
        ("Midjourney 6.1", "Midjourney"),
        ("DALL·E 3", "DALL-E"),
        ("dall-e", "DALL-E"),
        ("Adobe Firefly", "Adobe Firefly"),
        ("Adobe_Firefly 1.0", "Adobe Firefly"),
        ("Imagen 3", "Google AI"),
        ("Made with Google AI", "Google AI"),
        ("InvokeAI", "Invoke AI"),
        ("Fooocus v2.2.1", "Fooocus"),
        ("NovelAI", "Novel AI"),
        ("Leonardo.Ai", "Leonardo.Ai"),
        ("Ideogram", "Ideogram"),
        ("FLUX.1-dev", "FLUX"),
        ("flux dev", "FLUX"),
        ("stable-diffusion.cpp", "Stable Diffusion"),
        ("ComfyUI", "Comfy UI"),
        ("AUTOMATIC1111", "AUTOMATIC1111"),
    ],
)
def test_a_generator_named_as_software_is_a_claim(software: str, generator: str) -> None:
    value, kind, private = found(saved(tiff(((0x0131, ASCII, software.encode() + b"\0"),))))["Software"]
    assert exif.named_generator(software, tool=True) == generator
    assert software in value
    assert (kind, private) == ("claim", False)


@pytest.mark.parametrize(
    "text",
    [
        "Adobe Photoshop 24.0",
        "Luminar Neo",
        "Imagen",
        "f.lux",
        "Dalle Nogare",
        "Leonardo Rossi",
        "Fluxus Photo",
        "17.3",
    ],
)
def test_other_software_is_not_a_claim(text: str) -> None:
    assert exif.named_generator(text, tool=True) == ""


@pytest.mark.parametrize(
    "text", ["a firefly at night", "Midjourney exhibition, Berlin", "not AI-generated", "Steps: 12"]
)
def test_a_description_that_only_mentions_a_name_is_no_claim(text: str) -> None:
    assert found(saved(block({0x010E: text}))) == {}


@pytest.mark.parametrize(
    ("text", "generator"),
    [
        (A1111, "Stable Diffusion web UI"),
        ('{"3": {"inputs": {"seed": 5}, "class_type": "KSampler"}}', "ComfyUI"),
        ('workflow:{"last_node_id": 11, "nodes": []}', "ComfyUI"),
        ('{"base_model": "x", "metadata_scheme": "fooocus", "seed": "1"}', "Fooocus"),
        ('{"request_type": "PromptGenerateRequest", "signed_hash": "x"}', "NovelAI"),
        ('{"app_version": "invokeai 3.0", "generation_mode": "sdxl_txt2img"}', "InvokeAI"),
        ('{"sd-metadata": {}}', "Stable Diffusion"),
        ('{"sampler": "Euler a", "cfg_scale": 7}', "Stable Diffusion"),
        ('{"sui_image_params": {}}', "SwarmUI"),
        ("a cat --ar 16:9 --v 6.1 Job ID: 1a2b3c4d-1111-2222-3333-444455556666", "Midjourney"),
        ("Made with Google AI", "Google AI"),
        ("http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia", "generative AI"),
        ("This picture was AI-generated.", "generative AI"),
    ],
)
@pytest.mark.parametrize("tag", [0x010E, 0x010F, 0x9C9C])
def test_what_generators_write_is_a_claim_in_any_text(text: str, generator: str, tag: int) -> None:
    raw = text.encode("utf-16-le") if tag == 0x9C9C else text
    ((value, kind, _),) = found(saved(block({tag: raw}))).values()
    assert kind == "claim"
    assert generator.lower() in value.lower()
    assert " ".join(text.split()) in value


def test_a_claim_in_a_private_field_does_not_tell_the_private_rest() -> None:
    evidence = exif.gendet_evidence(sample=saved(block({0x013B: "Ann Example with Midjourney"})))
    assert evidence == [
        Evidence("exif", "Artist", "Midjourney", kind="claim"),
        Evidence("exif", "Artist", "Ann Example with Midjourney", private=True),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b"ASCII\0\0\0" + A1111.encode(),
        b"UNICODE\0" + A1111.encode("utf-16-le"),
        b"UNICODE\0" + A1111.encode("utf-16-be"),
        b"UNICODE\0" + A1111.encode("utf-16"),
        b"JIS\0\0\0\0\0" + A1111.encode("iso2022_jp"),
        b"\0" * 8 + A1111.encode(),
        A1111.encode(),
    ],
    ids=["ascii", "utf-16-le", "utf-16-be", "bom", "jis", "undefined", "no code"],
)
def test_a_user_comment_is_read_in_every_character_code(raw: bytes) -> None:
    assert comment(raw) == (f"Stable Diffusion web UI: {' '.join(A1111.split())}", "claim", False)


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_a_unicode_comment_that_does_not_tell_its_order_has_that_of_the_file(order: str) -> None:
    assert exif.decode_comment(b"UNICODE\0" + "鴨の写真".encode(order), order) == "鴨の写真"


def test_a_japanese_comment_is_read() -> None:
    assert exif.decode_comment(b"JIS\0\0\0\0\0" + "鴨の写真".encode("iso2022_jp"), "utf-16-le") == "鴨の写真"


def test_a_long_prompt_is_still_a_claim_and_cut() -> None:
    value, kind, _ = comment(b"UNICODE\0" + ("a very long prompt, " * 400 + A1111).encode("utf-16-be")) or ("", "", 0)
    assert value.startswith("Stable Diffusion web UI: a very long prompt")
    assert (len(value), kind) == (500, "claim")


def test_a_comment_of_a_person_is_left_alone() -> None:
    assert comment(b"ASCII\0\0\0" + b"Grandma's birthday") is None


def test_values_hold_no_control_characters_and_are_cut() -> None:
    value, _, _ = found(saved(tiff(((0x0131, ASCII, ("a\x1b[31m\r\nb\u202ec" + "x" * 600).encode()),))))["Software"]
    assert value == ("a[31m bc" + "x" * 600)[:500]


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs"])))
def test_clean_text_is_one_line_that_can_be_encoded(text: str) -> None:
    cleaned = exif.clean(text)
    cleaned.encode("utf-8")
    assert cleaned.isprintable() or not cleaned.isascii()


def test_text_that_is_not_utf8_is_read_as_latin_1() -> None:
    assert found(saved(tiff(((0x0131, ASCII, b"Caf\xe9 1\0"),))))["Software"] == ("Café 1", "info", False)


def test_a_png_chunk_after_the_pixels_is_found() -> None:
    buffer = io.BytesIO()
    GREY.save(buffer, "PNG")
    data, payload = buffer.getvalue(), tiff(((0x0131, ASCII, b"GIMP 2.10\0"),))
    chunk = struct.pack(">I", len(payload)) + b"eXIf" + payload + struct.pack(">I", zlib.crc32(b"eXIf" + payload))
    assert found(sample(data[:-12] + chunk + data[-12:], "PNG"))["Software"][0] == "GIMP 2.10"


def test_a_maker_note_and_a_thumbnail_are_not_read() -> None:
    fields = block({0x010F: "Canon"}, {0x927C: bytes(range(256)) * 8})
    assert found(saved(fields)) == {"Make": ("Canon", "info", False)}


@pytest.mark.parametrize("broken", [b"nonsense", b"II+\0\x08\0\0\0", b"II*\0\x08\0\0\0\xff\xff" + b"\0" * 40])
def test_a_broken_block_raises_exifreads_own_error(broken: bytes) -> None:
    with pytest.raises(InvalidExif):
        exif.gendet_evidence(sample=saved(broken))


def test_a_pointer_before_the_block_is_exifreads_own_error() -> None:
    raw = bytearray(tiff(((GPS_IFD, LONG, 0xFFFFFF01),)))
    raw[12] = 9  # SLONG: -255
    with pytest.raises(InvalidExif, match="-255"):
        exif.gendet_evidence(sample=saved(bytes(raw)))


@settings(deadline=None, max_examples=60)
@given(st.integers(8, 200), st.integers(0, 255))
def test_one_damaged_byte_never_leaks_a_remark(place: int, value: int) -> None:
    raw = bytearray(
        tiff(
            (
                (0x010F, ASCII, b"Canon\0"),
                (0x0131, ASCII, b"GIMP 2.10.34 on Linux\0"),
                (GPS_IFD, LONG, 9),
                (EXIF_IFD, LONG, 8),
            )
        )
    )
    raw[place % len(raw)] = value
    try:
        evidence = exif.gendet_evidence(sample=saved(bytes(raw)))
    except InvalidExif:
        return
    assert all(len(entry.value) <= 500 for entry in evidence)


def test_exifreads_remarks_stay_inside(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    truncated = tiff(((0x010F, ASCII, b"Canon\0"), (0x0131, ASCII, b"\xff\xfe\xfd\xfc\xfb\0")))[:-3]
    exif.gendet_evidence(sample=saved(truncated))
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def tiff(entries: tuple[tuple[int, int, bytes | int], ...]) -> bytes:
    """A little-endian TIFF structure of one IFD, built by hand."""
    rows, heap, start = b"", b"", 8 + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        if isinstance(value, int):
            rows += struct.pack("<HHII", tag, kind, 1, value)
        else:
            count = len(value) // (8 if kind == RATIONAL else 1)
            place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", start + len(heap))
            rows += struct.pack("<HHI", tag, kind, count) + place
            heap += value if len(value) > 4 else b""
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + rows + b"\0\0\0\0" + heap


DATA = os.environ.get("GENDET_DATA", "")


@pytest.mark.skipif(not DATA, reason="GENDET_DATA does not name the open data set")
def test_the_files_of_the_open_set_say_what_they_hold() -> None:
    from gendet_cli.intake.decode import DecodeError, decode

    folder, without_exif, claims = Path(DATA) / "provenance", [], []
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        data = (folder / row["file"]).read_bytes()
        try:
            format = decode(data).format
        except DecodeError:
            continue
        evidence = exif.gendet_evidence(sample=sample(data, format))
        if "EXIF" in row["signals_seen_in_bytes"] and not evidence:
            without_exif.append(row["file"])
        claims += [(row["file"], entry.value) for entry in evidence if entry.kind == "claim"]
    assert without_exif == []
    ((file, claim),) = claims
    assert file == "3f475651_automatic1111_cropped.jpg"
    assert claim.startswith("Stable Diffusion web UI: photo of a duck")
