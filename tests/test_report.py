"""Rows as text: golden files, the published schema, and rules that hold for any text."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from rich.console import Console

import gendet_cli.report
from gendet_cli.report import csv_rows, json_rows, rows, table
from gendet_cli.report.formats import FORMATS
from gendet_cli.report.run import RunInfo
from gendet_cli.types import Evidence, Failure, Finding, Outcome, Source, Verdict

GOLDEN = Path(__file__).parent / "golden"
DETECTOR = "gendet@1a2b3c4d5e6f"
SCHEMA = json.loads((Path(gendet_cli.report.__file__).parent / "schema.json").read_text("utf-8"))
RUN = RunInfo(
    version="0.1.0",
    detector=DETECTOR,
    detector_sha256="1a2b3c4d5e6f" + "0" * 52,
    backbone="clip:ViT-B-16-quickgelu/openai",
    weights_sha256="b" * 64,
    thresholds={"flagged": {"log10_lr": 1.25, "fpr": 0.01}, "clear": {"log10_lr": -0.5, "miss_rate": 0.1}},
    plugins={"clip": "0.1.0", "exif": "0.1.0"},
    command=("gendet", "scan", os.fsdecode(b"caf\xe9"), "--report", "out.json"),
    started="2025-01-02T03:04:05Z",
    finished="2025-01-02T03:04:06Z",
    counts={"flagged": 1, "unclear": 1, "clear": 7, "failed": 2, "skipped": 5},
)


def finding(name: str, **changes: object) -> Finding:
    one = Finding(
        Source(name, name), "a" * 64, "JPEG", 640, 480, -1.5, 0.25, -0.75, 0.15098, Verdict.CLEAR, "", evidence=()
    )
    return replace(one, **changes)  # type: ignore[arg-type]


OUTCOMES: tuple[Outcome, ...] = (
    finding(
        "photos/flagged.png",
        format="PNG",
        logit=3.14159,
        discrepancy=1.23456789e-5,
        log10_lr=2.0,
        p_generated=0.990099,
        verdict=Verdict.FLAGGED,
        evidence=(
            Evidence("exif", "Software", "Stable Diffusion; v1.5\nsteps=20 \\o/", kind="claim"),
            Evidence("exif", "a=b", "c"),
            Evidence("exif", "BodySerialNumber", "0815", private=True),
            Evidence("broken", "error", "ValueError: no", kind="error"),
        ),
    ),
    finding("photos/unclear.jpg", log10_lr=-0.0004, p_generated=0.5, verdict=Verdict.UNCLEAR, reason="64 px wide"),
    finding("photos/no-student.jpg", discrepancy=None),
    Failure(Source("photos/text.jpg", "photos/text.jpg"), "not a picture: text", sha256="c" * 64),
    Failure(Source("missing*.png", "missing*.png"), "finds nothing"),
    finding(os.fsdecode(b"photos/caf\xe9.jpg")),
    finding('=HYPERLINK("http://a.example","b")'),
    finding("'=1"),
    finding("two\nlines\rand \u202egpj.exe"),
    finding('a "quoted", name'),
    finding("photos/[red]x[/red].jpg"),
)
ROWS = [rows.row(outcome, DETECTOR) for outcome in OUTCOMES]
any_text = st.text(st.characters() | st.sampled_from("\udc80\udcff\ud800\"',;=+-@\t\r\n\\")).map(
    lambda text: text.replace("\0", "")
)


def rendered(ending: str) -> str:
    format_ = FORMATS[ending]
    if format_.is_document:
        return "".join(json_rows.render(ROWS, RUN))
    return format_.header + "".join(map(format_.render_row, ROWS))


@pytest.mark.parametrize("ending", sorted(FORMATS))
def test_golden(ending: str) -> None:
    assert rendered(ending).encode() == (GOLDEN / f"report{ending}").read_bytes()


def test_the_columns_are_those_of_the_readme_order() -> None:
    assert csv_rows.header() == (
        "input,status,verdict,p_generated,log10_lr,discrepancy,sha256,format,width_px,height_px,detector,evidence,reason\n"
    )


def test_document_and_lines_keep_the_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(json.loads(rendered(".json")))
    line_validator = Draft202012Validator({"$ref": "#/$defs/line", "$defs": SCHEMA["$defs"]})
    for line in rendered(".jsonl").rstrip("\n").split("\n"):
        line_validator.validate(json.loads(line))
        assert not line_validator.is_valid({**json.loads(line), "schema_version": 2})
        assert not line_validator.is_valid({**json.loads(line), "more": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "real"},
        {"p_generated": 1.5},
        {"p_generated": None},
        {"sha256": "A"},
        {"more": 1},
        {"status": "failed"},
        {"evidence": [{"plugin": "exif", "key": "a", "value": "b"}]},
    ],
)
def test_the_schema_is_strict(change: dict[str, object]) -> None:
    document = {"schema_version": 1, "run": RUN.to_json(), "rows": [{**ROWS[0], **change}]}
    assert not Draft202012Validator(SCHEMA).is_valid(json.loads(json.dumps(document)))


def test_schema_names_every_field_once() -> None:
    assert set(SCHEMA["$defs"]["row"]["properties"]) == {*rows.COLUMNS, "logit"} == set(ROWS[0])


def test_an_empty_document_is_valid() -> None:
    Draft202012Validator(SCHEMA).validate(json.loads("".join(json_rows.render([], RUN))))


def test_csv_and_json_say_the_same() -> None:
    for values, line in zip(ROWS, csv.DictReader(io.StringIO(rendered(".csv"), newline="")), strict=True):
        for column in ("p_generated", "log10_lr", "discrepancy", "width_px", "height_px"):
            assert (float(line[column]) if line[column] else None) == values[column]  # type: ignore[literal-required]


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        (rows.p_generated_text, 0.99996, "1.0000"),
        (rows.log10_lr_text, -0.0004, "0.000"),
        (rows.log10_lr_text, -12.3456, "-12.346"),
        (rows.discrepancy_text, 1.23456789e-5, "1.23457e-05"),
        (rows.discrepancy_text, 0.0, "0"),
        (rows.discrepancy_text, -0.0, "0"),
        (rows.discrepancy_text, 1234567.0, "1.23457e+06"),
    ],
)
def test_numbers_as_printed(text, value: float, expected: str) -> None:  # type: ignore[no-untyped-def]
    assert text(value) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_text_to_float_to_text_is_stable(value: float) -> None:
    for text in (rows.p_generated_text, rows.log10_lr_text, rows.discrepancy_text):
        assert text(float(text(value))) == text(value)
        assert not text(value).startswith("-0.000") or float(text(value)) != 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        rows.row(finding("a", log10_lr=value), DETECTOR)


def test_private_values_are_shown_only_on_request() -> None:
    assert "0815" not in rendered(".json") + rendered(".csv") + rendered(".jsonl")
    assert rows.row(OUTCOMES[0], DETECTOR, show_private=True)["evidence"][2]["value"] == "0815"


@pytest.mark.parametrize(
    ("text", "expected"),
    [(os.fsdecode(b"\xff\xc3\xa4"), "\\xffä"), ("\ud800", "\\ud800"), ("a\nb", "a\nb"), ("\\xff", "\\xff")],
)
def test_shown(text: str, expected: str) -> None:
    assert rows.shown(text) == expected


@given(any_text, any_text, st.lists(st.tuples(any_text, any_text)))
def test_csv_reads_back_through_the_csv_module(name: str, reason: str, evidence: list[tuple[str, str]]) -> None:
    pieces = tuple(Evidence("exif", key, value) for key, value in evidence)
    values = rows.row(finding(name, reason=reason, evidence=pieces), DETECTOR)
    text = csv_rows.render_row(values)
    [cells] = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert tuple(cells) == csv_rows._cells(values)
    assert not any(cell[:1] in tuple("=+@\t\r\n") for cell in cells if cell)
    assert csv_rows.parse_row(text.encode()) == rows.Recorded(rows.shown(name), "clear", DETECTOR)
    assert json_rows.read_row(json_rows.render_row(values).encode()) == values


@given(any_text, any_text)
def test_no_two_names_become_one_cell(first: str, second: str) -> None:
    same = csv_rows._neutralised(first) == csv_rows._neutralised(second)
    assert same == (first == second)


def test_numbers_are_never_neutralised() -> None:
    [cells] = csv.reader([csv_rows.render_row(rows.row(finding("a", log10_lr=-3.0), DETECTOR))])
    assert cells[4] == "-3.000"


def test_a_cell_longer_than_the_csv_modules_limit_is_read_back() -> None:
    long = finding("a", evidence=(Evidence("exif", "UserComment", "x" * 200_000),))
    before = csv.field_size_limit()
    assert csv_rows.parse_row(csv_rows.render_row(rows.row(long, DETECTOR)).encode()).name == "a"
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    "data", [b"a,b\n", b"\xff\n", b'"a"b,c\n', b"x,scored,real,,,,,,,,d,,\n", b"x,y,,,,,,,,,d,,\n"]
)
def test_what_is_no_csv_row(data: bytes) -> None:
    with pytest.raises(rows.MalformedRowError):
        csv_rows.parse_row(data)


@pytest.mark.parametrize("data", [b"{}\n", b"[1]\n", b"\xff\n", b"{", b'{"schema_version": 2}\n'])
def test_what_is_no_json_row(data: bytes) -> None:
    with pytest.raises(rows.MalformedRowError):
        json_rows.parse_row(data)


def test_a_json_row_of_unknown_status_is_refused() -> None:
    for change in ({"status": "done"}, {"verdict": "real"}, {"input": 1}):
        line = json.dumps({"schema_version": 1, **ROWS[0], **change})
        with pytest.raises(rows.MalformedRowError):
            json_rows.parse_row(line.encode())


def test_a_document_is_cut_into_the_lines_of_jsonl() -> None:
    lines = io.BytesIO(rendered(".json").encode())
    assert b"".join(record.data for record in json_rows.split_document(lines)) == rendered(".jsonl").encode()


@pytest.mark.parametrize("spoil", [lambda d: d[:-1], lambda d: d[:40], lambda d: d + b"x", lambda d: b"[" + d])
def test_a_spoilt_document_is_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(rows.MalformedRowError):
        list(json_rows.split_document(io.BytesIO(spoil(rendered(".json").encode()))))


def printed(width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table.heading(width))
    for outcome in OUTCOMES:
        console.print(table.line(outcome, width))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_table_fits_and_cuts_nothing(width: int) -> None:
    lines = printed(width)
    assert max(map(len, lines)) <= width
    assert sum(text.count("flagged") for text in lines) >= 1
    assert "…" not in "".join(lines)


def test_the_table_shows_names_as_they_are() -> None:
    text = "\n".join(printed(200))
    assert "photos/[red]x[/red].jpg" in text
    assert "two\\nlines\\rand \\u202egpj.exe" in text
    assert "caf\\xe9.jpg" in text
    assert "0.9901     2.000      640x480" in text
    assert "exif.Software=Stable Diffusion; v1.5\\nsteps=20" in text
    assert "finds nothing" in text
    assert "64 px wide" in text


def test_verdicts_are_coloured() -> None:
    console = Console(width=100, file=io.StringIO(), force_terminal=True, color_system="standard", no_color=False)
    console.print(table.line(OUTCOMES[0], 100))
    assert "\x1b[1;31mflagged\x1b[0m" in console.file.getvalue()  # type: ignore[attr-defined]


@given(any_text)
def test_visible_text_is_printable(text: str) -> None:
    seen = table.visible(text)
    seen.encode()
    assert not {"\x1b", "\u202e", "\u200b", "\n", "\x9b"} & set(seen)


def test_summary() -> None:
    counts = {"flagged": 3, "unclear": 2, "clear": 6, "failed": 1, "skipped": 9}
    assert table.summary(counts) == "12 pictures: 3 flagged, 2 unclear, 6 clear, 1 failed"
    assert table.summary({"clear": 1}) == "1 picture: 0 flagged, 0 unclear, 1 clear, 0 failed"
