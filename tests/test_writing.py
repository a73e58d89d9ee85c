"""Report files on a real disk: started, torn at any byte, continued, refused."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gendet_cli.cli.writing import open_reports
from gendet_cli.errors import GendetError, ReportError, SettingsError
from gendet_cli.report.held import Done
from gendet_cli.report.run import RunInfo
from gendet_cli.types import Evidence, Failure, Finding, Outcome, Source, Verdict

DETECTOR = "gendet@1a2b3c4d5e6f"
ENDINGS = (".csv", ".json", ".jsonl")
RUN = RunInfo("0", DETECTOR, "a" * 64, "clip", "b" * 64, {}, {}, ("gendet",), "2025-01-01", "2025-01-02", {})
AWKWARD = ["a", '=1+"2"', "two\nlines\n", os.fsdecode(b"\xff"), "\\xff", "'=1", "", "é,\r", "'"]


def outcome(name: str) -> Outcome:
    source = Source(name, name)
    if name.startswith("bad"):
        return Failure(source, "is\nno picture")
    evidence = (Evidence("exif", "Software", f'"{name}";'),)
    return Finding(source, "a" * 64, "PNG", 1, 2, 1.0, 0.5, 1.0, 0.9091, Verdict.FLAGGED, "", evidence)


def scan(paths: Sequence[Path], names: Iterable[str], *, finish: bool = True, **options: bool) -> list[str]:
    """A scan in small: returns the names that were not done; stops without a finish if asked to."""
    scanned = []
    with open_reports(paths, detector=DETECTOR, **options) as reports:
        for name in names:
            if not reports.done.take(name):
                scanned.append(name)
                reports.write(outcome(name))
        if finish:
            reports.finish(replace(RUN, counts=reports.counts))
    return scanned


def names_in(path: Path) -> list[str]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as stream:
            return [line["input"] for line in csv.DictReader(stream, strict=True)]
    if path.suffix == ".json":
        return [line["input"] for line in json.loads(path.read_text("utf-8"))["rows"]]
    return [json.loads(line)["input"] for line in path.read_text("utf-8").split("\n")[:-1]]


def journal_of(path: Path) -> Path:
    return path.with_name(path.name + ".partial") if path.suffix == ".json" else path


@pytest.fixture(params=ENDINGS)
def report(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"out{request.param}"


def test_each_row_is_on_disk_as_soon_as_it_is_written(report: Path) -> None:
    with open_reports([report], detector=DETECTOR) as reports:
        sizes = [journal_of(report).stat().st_size]
        for name in ("a", "bad"):
            reports.write(outcome(name))
            sizes.append(journal_of(report).stat().st_size)
        assert sizes == sorted(set(sizes))
        assert reports.counts == {"flagged": 1, "unclear": 0, "clear": 0, "failed": 1}


def test_nothing_is_left_beside_a_finished_report(report: Path) -> None:
    scan([report], AWKWARD)
    assert list(report.parent.iterdir()) == [report]
    assert len(names_in(report)) == len(AWKWARD)


def test_without_resume_a_report_is_started_anew(report: Path) -> None:
    report.write_text("something else")
    journal_of(report).write_text("something else")
    scan([report], ["a"])
    assert names_in(report) == ["a"]


def test_an_old_json_report_stays_until_the_new_one_is_finished(tmp_path: Path) -> None:
    report = tmp_path / "out.json"
    scan([report], ["old"])
    scan([report], ["new"], finish=False)
    assert names_in(report) == ["old"]
    assert scan([report], ["new", "more"], resume=True) == ["more"]
    assert names_in(report) == ["new", "more"]


def test_resume_starts_a_report_that_does_not_exist(report: Path) -> None:
    assert scan([report], AWKWARD, resume=True) == AWKWARD


@pytest.mark.parametrize("ending", ENDINGS)
def test_torn_at_any_byte_nothing_is_lost_or_doubled(ending: str, tmp_path: Path) -> None:
    whole, torn = tmp_path / f"whole{ending}", tmp_path / f"torn{ending}"
    scan([whole], AWKWARD)
    scan([torn], AWKWARD, finish=False)
    data, expected = journal_of(torn).read_bytes(), whole.read_bytes()
    for end in range(len(data) + 1):
        journal_of(torn).write_bytes(data[:end])
        scan([torn], AWKWARD, resume=True)
        assert torn.read_bytes() == expected, f"torn at byte {end}"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.characters() | st.sampled_from("\udcff\",'=\n\r\\")).map(lambda t: t.replace("\0", ""))),
    st.floats(0, 1),
    st.sampled_from(ENDINGS),
)
def test_torn_anywhere_with_any_names(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], where: float, ending: str
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    whole, torn = folder / f"whole{ending}", folder / f"torn{ending}"
    scan([whole], names)
    scan([torn], names, finish=False)
    data = journal_of(torn).read_bytes()
    journal_of(torn).write_bytes(data[: round(where * len(data))])
    scan([torn], names, resume=True)
    assert torn.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(ENDINGS, 2)))
def test_killed_between_two_writes(first: str, second: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"one{first}", tmp_path / f"two{second}"]
    scan(paths, AWKWARD[:4], finish=False)
    ahead = journal_of(paths[0]).read_bytes()
    scan(paths, AWKWARD[:2], finish=False)
    journal_of(paths[0]).write_bytes(ahead)
    assert scan(paths, AWKWARD, resume=True) == AWKWARD[2:]
    assert [len(names_in(path)) for path in paths] == [len(AWKWARD)] * 2


def test_counts_hold_every_row_once(tmp_path: Path) -> None:
    paths = [tmp_path / "one.csv", tmp_path / "two.jsonl"]
    scan(paths[:1], ["a", "bad", "c"])
    with open_reports(paths, detector=DETECTOR, resume=True) as reports:
        assert not reports.done.take("a")
        reports.write(outcome("a"))
        reports.write(outcome("d"))
        assert reports.counts == {"flagged": 3, "unclear": 0, "clear": 0, "failed": 1}


def test_without_reports_rows_are_counted_and_nothing_is_done() -> None:
    with open_reports([], detector=DETECTOR, resume=True) as reports:
        assert not reports.done.take("a")
        reports.write(outcome("bad"))
        assert reports.counts["failed"] == 1


def test_failed_rows_are_kept_unless_they_are_retried(report: Path) -> None:
    scan([report], ["a", "bad", "c", "bad too"])
    assert scan([report], ["a", "bad", "c", "bad too"], resume=True) == []
    assert scan([report], ["a", "bad", "c", "bad too"], resume=True, retry_failed=True) == ["bad", "bad too"]
    assert names_in(report) == ["a", "c", "bad", "bad too"]


def test_retrying_keeps_the_rights_of_the_file(tmp_path: Path) -> None:
    report = tmp_path / "out.csv"
    scan([report], ["bad"])
    report.chmod(0o640)
    scan([report], ["bad"], resume=True, retry_failed=True)
    assert report.stat().st_mode & 0o777 == 0o640


def test_names_rendered_alike_are_counted(report: Path) -> None:
    alike = [os.fsdecode(b"\xff"), "\\xff"]
    scan([report], alike[:1], finish=False)
    assert scan([report], alike, resume=True) == alike[1:]
    assert len(names_in(report)) == 2


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abcd")))
def test_done_is_a_multiset(held: list[str], asked: list[str]) -> None:
    from gendet_cli.report.held import _digest

    done, left = Done([map(_digest, held)]), Counter(held)
    for name in asked:
        assert done.take(name) == (left[name] > 0)
        left[name] -= 1


def test_another_detector_is_refused_and_nothing_changes(report: Path) -> None:
    scan([report], ["a"])
    before = report.read_bytes()
    with pytest.raises(ReportError, match="gendet@1a2b3c4d5e6f") as caught:
        open_reports([report], detector="other@000000000000", resume=True)
    assert "--resume" in caught.value.hint
    assert (report.read_bytes(), caught.value.exit_code) == (before, 5)


@pytest.mark.parametrize("text", ["something else", "a,b\n1,2\n", '{"schema_version": 2}\n', "\n", "[]"])
def test_what_is_no_report_is_refused_and_nothing_changes(report: Path, text: str) -> None:
    report.write_text(text)
    with pytest.raises(ReportError, match="line 1"):
        open_reports([report], detector=DETECTOR, resume=True)
    assert report.read_text() == text


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_a_broken_row_is_named_by_its_line(ending: str, tmp_path: Path) -> None:
    report = tmp_path / f"out{ending}"
    scan([report], ["a", "b", "c"])
    lines = report.read_bytes().split(b"\n")
    report.write_bytes(b"\n".join([*lines[:2], b"broken" + lines[2][9:], *lines[3:]]))
    with pytest.raises(ReportError, match="line 3"):
        open_reports([report], detector=DETECTOR, resume=True)


def test_a_stray_quote_does_not_cost_the_rows_behind_it(tmp_path: Path) -> None:
    report = tmp_path / "out.csv"
    scan([report], ["bad1", "bad2", "bad3"])
    report.write_bytes(report.read_bytes().replace(b'"is\nno picture"', b"no picture").replace(b"bad2", b'"bad2'))
    with pytest.raises(ReportError, match="line 3"):
        open_reports([report], detector=DETECTOR, resume=True)


@pytest.mark.parametrize(
    ("names", "options", "error"),
    [
        (["out.txt"], {}, SettingsError),
        (["out"], {}, SettingsError),
        (["out.csv", "./out.csv"], {}, SettingsError),
        (["out.csv"], {"retry_failed": True}, SettingsError),
        (["missing/out.csv"], {}, ReportError),
        (["good.csv", "missing/out.json"], {}, ReportError),
        (["folder.csv"], {}, ReportError),
        (["folder.json"], {"resume": True}, ReportError),
    ],
)
def test_what_cannot_be_opened(
    names: list[str],
    options: dict[str, bool],
    error: type[GendetError],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.csv").mkdir()
    Path("folder.json").mkdir()
    with pytest.raises(error) as caught:
        open_reports([Path(name) for name in names], detector=DETECTOR, **options)
    assert caught.value.hint
    assert sorted(os.listdir()) == ["folder.csv", "folder.json"]


def test_endings_are_known_in_any_case(tmp_path: Path) -> None:
    scan([tmp_path / "OUT.CSV", tmp_path / "Out.Json"], ["a"])
    assert json.loads((tmp_path / "Out.Json").read_text())["run"]["counts"]["flagged"] == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_a_report_error(tmp_path: Path) -> None:
    report = tmp_path / "out.csv"
    report.symlink_to("/dev/full")
    with pytest.raises(ReportError, match="No space left"):
        open_reports([report], detector=DETECTOR)
    with pytest.raises(ReportError, match="no regular file"):
        open_reports([report], detector=DETECTOR, resume=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file size")
@pytest.mark.parametrize("ending", ENDINGS)
def test_half_a_row_is_taken_back(ending: str, tmp_path: Path) -> None:
    """A limit on file size takes part of a row, as a disk does that runs full."""
    report = tmp_path / f"out{ending}"
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2]); import test_writing as t\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "try: t.scan([Path(sys.argv[1])], map(str, range(100)))\n"
        "except t.ReportError as error: sys.exit(int(error.exit_code))\n"
    )
    here = str(Path(__file__).parent)
    assert subprocess.run([sys.executable, "-c", code, str(report), here], timeout=60).returncode == 5
    kept = journal_of(report).read_bytes()
    assert kept.endswith(b"\n")
    assert 2000 < len(kept) <= 3000
    scan([report], map(str, range(100)), resume=True)
    assert names_in(report) == [str(number) for number in range(100)]


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(report: Path) -> None:
    report.parent.chmod(0o500)
    try:
        with pytest.raises(ReportError, match="Permission denied"):
            open_reports([report], detector=DETECTOR)
    finally:
        report.parent.chmod(0o700)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="this system has no /proc")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_that_takes_no_files(ending: str) -> None:
    with pytest.raises(ReportError, match="cannot be opened"):
        open_reports([Path(f"/proc/self/out{ending}")], detector=DETECTOR)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted")
def test_a_report_that_is_deleted_meanwhile(report: Path) -> None:
    with open_reports([report], detector=DETECTOR) as reports:
        reports.write(outcome("a"))
        journal_of(report).unlink()
        with pytest.raises(ReportError, match="deleted"):
            reports.write(outcome("b"))
        with pytest.raises(ReportError, match="deleted"):
            reports.finish(RUN)


def test_a_document_that_cannot_be_put_in_place_keeps_its_journal(tmp_path: Path) -> None:
    report = tmp_path / "out.json"
    with open_reports([report], detector=DETECTOR) as reports:
        reports.write(outcome("a"))
        report.mkdir()
        with pytest.raises(ReportError):
            reports.finish(RUN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.json.partial"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("after", [1, 17, 60])
def test_killed_and_continued(after: int, tmp_path: Path) -> None:
    paths = [tmp_path / f"out{ending}" for ending in ENDINGS]
    code = (
        "import itertools, sys; sys.path.insert(0, sys.argv[1]); import test_writing as t; from pathlib import Path\n"
        "def names():\n"
        "    for number in itertools.count(): print(number, flush=True); yield str(number)\n"
        "t.scan([Path(name) for name in sys.argv[2:]], names())\n"
    )
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent), *map(str, paths)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        begun = after + len(process.stdout.read().splitlines())
    names = [str(number) for number in range(begun + 5)]
    assert len(scan(paths, names, resume=True)) in (5, 6)
    assert [names_in(path) for path in paths] == [names] * 3


def test_memory_stays_flat(tmp_path: Path) -> None:
    import tracemalloc

    report, count = tmp_path / "out.json", 10_000
    with open_reports([report], detector=DETECTOR) as reports:
        one = outcome("a")
        for number in range(count):
            reports.write(replace(one, source=Source(str(number), "")))
    tracemalloc.start()
    with open_reports([report], detector=DETECTOR, resume=True) as reports:
        reports.finish(RUN)
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 * count  # the rows themselves are 400 bytes each; sorting digests takes the most
    assert report.stat().st_size > 350 * count
