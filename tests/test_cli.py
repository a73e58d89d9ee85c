"""The command as a user meets it: exit codes, rows, invariants, help, resume. Real detector, real pictures."""

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

import gendet_cli
from gendet_cli.cli import main

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND = [sys.executable, "-m", "gendet_cli"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_version() -> None:
    assert run("--version").stdout == f"gendet {gendet_cli.__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        "",
        "scan",
        "train",
        "features",
        "data check",
        "data audit",
        "data fetch",
        "evaluate",
        "compare",
        "export-onnx",
        "plugins",
    ],
)
def test_help_in_the_readme_is_the_real_one(command: str) -> None:
    arguments = [*command.split(), "--help"]
    text = run(*arguments, env={**os.environ, "COLUMNS": "80", "TERM": "dumb"}).stdout
    shown = "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))
    assert f"```\n$ gendet {' '.join(arguments)}\n{shown}\n```" in README


def test_help_imports_neither_torch_nor_onnxruntime() -> None:
    code = (
        "import sys; from gendet_cli.cli import main; main(['scan', '--help']); "
        "sys.exit(bool({'torch', 'onnxruntime', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_scan_never_imports_torch() -> None:
    code = (
        "import sys; from gendet_cli.cli import main; "
        f"main(['scan', {str(SAMPLES / 'rocket.jpg')!r}, '-q']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_every_sample_gets_one_row_in_every_format(tmp_path: Path) -> None:
    reports = [tmp_path / f"r.{ending}" for ending in ("csv", "json", "jsonl")]
    options = [part for report in reports for part in ("--report", str(report))]
    code = main(["scan", str(SAMPLES), *options, "-q"])
    with (SAMPLES / "index.csv").open(newline="", encoding="utf-8") as stream:
        names = sorted(row["file"] for row in csv.DictReader(stream))
    found = rows(reports[0])
    assert sorted(Path(row["input"]).name for row in found) == names
    assert {row["status"] for row in found} == {"scored"}
    expected = 1 if any(row["verdict"] == "flagged" for row in found) else 3
    assert code == (0 if all(row["verdict"] == "clear" for row in found) else expected)
    document = json.loads(reports[1].read_text(encoding="utf-8"))
    schema = json.loads((ROOT / "gendet_cli" / "report" / "schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, schema)
    assert [row["input"] for row in document["rows"]] == [row["input"] for row in found]
    assert len(reports[2].read_text(encoding="utf-8").splitlines()) == len(found)


def test_verdict_follows_from_the_printed_value(tmp_path: Path) -> None:
    report = tmp_path / "r.csv"
    main(["scan", str(SAMPLES), "--report", str(report), "-q"])
    thresholds = json.loads((ROOT / "weights" / "gendet" / "detector.json").read_text(encoding="utf-8"))["thresholds"]
    for row in rows(report):
        value = float(row["log10_lr"])
        verdict = "flagged" if value >= thresholds["flagged"] else "clear" if value < thresholds["clear"] else "unclear"
        assert row["verdict"] == verdict
        assert float(row["p_generated"]) == pytest.approx(1 / (1 + 10**-value), abs=1e-4)


def test_same_bytes_whatever_batch_size_and_workers(tmp_path: Path) -> None:
    texts = set()
    for batch_size, workers in ((1, 1), (32, 2), (3, 2)):
        report = tmp_path / f"{batch_size}-{workers}.csv"
        options = ["--batch-size", str(batch_size), "--workers", str(workers)]
        main(["scan", str(SAMPLES), "--report", str(report), "-q", *options])
        texts.add(report.read_bytes())
    assert len(texts) == 1


def test_torch_and_onnx_agree(tmp_path: Path) -> None:
    logits = []
    for runtime in ("onnx", "torch"):
        report = tmp_path / f"{runtime}.json"
        main(["scan", str(SAMPLES), "--report", str(report), "-q", "--runtime", runtime])
        logits.append([row["logit"] for row in json.loads(report.read_text(encoding="utf-8"))["rows"]])
    assert logits[0] == pytest.approx(logits[1], abs=1e-3)


def test_exported_file_alone_scans_alike(tmp_path: Path) -> None:
    file = tmp_path / "g.onnx"
    assert main(["export-onnx", "--out", str(file)]) == 0
    values = []
    for detector in ("gendet", str(file)):
        report = tmp_path / "r.csv"
        main(["scan", str(SAMPLES), "--report", str(report), "-q", "--detector", detector])
        values.append([(row["input"], row["verdict"], float(row["log10_lr"])) for row in rows(report)])
    for one, other in zip(*values, strict=True):
        assert one[:2] == other[:2]
        assert one[2] == pytest.approx(other[2], abs=2e-3)


def test_stdin_missing_names_and_exit_codes(tmp_path: Path) -> None:
    report = tmp_path / "r.csv"
    result = run("scan", "-", "--report", str(report), input=f"{SAMPLES / 'rocket.jpg'}\n{tmp_path / 'none.jpg'}\n")
    found = rows(report)
    assert [row["status"] for row in found] == ["scored", "failed"]
    assert "none.jpg" in found[1]["input"]
    assert found[1]["reason"]
    assert result.returncode in (1, 3)
    assert run("scan", str(tmp_path / "none.jpg"), "--exit-zero").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["scan"], 2),
        (["scan", "x.jpg", "--runtime", "tea"], 2),
        (["scan", "x.jpg", "--device", "tpu"], 2),
        (["scan", "x.jpg", "--report", "r.xlsx"], 2),
        (["scan", "x.jpg", "--detector", "nobody"], 4),
        (["scan", "x.jpg", "--report", "no/such/folder/r.csv"], 5),
        (["train", "--dataset", "tea"], 2),
        (["train", "--dataset", "folders"], 2),
    ],
)
def test_errors_have_their_code_and_a_hint(arguments: list[str], code: int, tmp_path: Path) -> None:
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert code == 2 or "hint:" in result.stderr


def test_a_damaged_detector_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "gendet"
    folder.mkdir()
    for file in ("detector.json", "model.onnx", "model.safetensors"):
        (folder / file).write_bytes((ROOT / "weights" / "gendet" / file).read_bytes())
    damaged = bytearray((folder / "model.onnx").read_bytes())
    damaged[-1] ^= 1
    (folder / "model.onnx").write_bytes(damaged)
    result = run("scan", str(SAMPLES / "rocket.jpg"), "--detector", str(folder))
    assert result.returncode == 4
    assert "sha256" in result.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("seed", range(3))
def test_killed_and_resumed_loses_and_doubles_nothing(seed: int, tmp_path: Path) -> None:
    report, journal = tmp_path / "r.csv", tmp_path / "r.json"
    arguments = ["scan", str(SAMPLES), "--report", str(report), "--report", str(journal), "--batch-size", "1", "-q"]
    process = subprocess.Popen([*COMMAND, *arguments])
    deadline = time.monotonic() + 60
    wanted = random.Random(seed).randint(1, 8)
    while time.monotonic() < deadline and process.poll() is None:
        if report.is_file() and report.read_bytes().count(b"\n") > wanted:
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert main([*arguments, "--resume"]) in (0, 1, 3)
    whole = tmp_path / "whole.csv"
    main(["scan", str(SAMPLES), "--report", str(whole), "-q"])
    assert report.read_bytes() == whole.read_bytes()
    assert len(json.loads(journal.read_text(encoding="utf-8"))["rows"]) == len(rows(whole))


def test_the_backbone_of_the_readme_runs(tmp_path: Path) -> None:
    code = re.search(r"<!-- backbone -->\n```python\n(.*?)```", README, re.S)
    assert code
    (tmp_path / "colours_plugin.py").write_text(code.group(1), encoding="utf-8")
    info = tmp_path / "colours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: colours\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[gendet]\ncolours = colours_plugin\n", encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
    assert "backbone colours" in run("plugins", env=env).stdout
    for label, files in {
        "real": ("rocket.jpg", "coffee.jpg"),
        "fake": ("cat-autoencoded.jpg", "castle-autoencoded.jpg"),
    }.items():
        (tmp_path / label).mkdir()
        for file in files:
            (tmp_path / label / file).write_bytes((SAMPLES / file).read_bytes())
    options = ["--real", str(tmp_path / "real"), "--fake", str(tmp_path / "fake"), "--out", str(tmp_path / "out" / "d")]
    options += ["--backbone", "colours", "--folds", "2", "--set", "rotations=1"]
    result = run("train", "--dataset", "folders", *options, env=env)
    # four pictures may not be separable out of fold: that is said, not hidden
    assert result.returncode in (0, 2), result.stderr
    assert result.returncode == 0 or "held-out fakes score no higher" in result.stderr
