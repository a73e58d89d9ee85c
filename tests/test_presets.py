"""The paper's presets from the command line on exact miniatures, with a small open_clip model and weights made here.

Real pictures throughout; the weights are random, so no figure means anything.
"""

import json
import os
from pathlib import Path

import miniature
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from gendet_cli.cli import main

pytestmark = pytest.mark.skipif("GENDET_DATA" not in os.environ, reason="GENDET_DATA is not set: no gendet open set")
SMALL = "ViT-S-32-alt"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    network = open_clip.create_model(SMALL, load_weights=False)
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, file)
    return f"clip:{SMALL}/{file}"


@pytest.mark.parametrize(("preset", "sets"), [("genimage", 8), ("universalfakedetect", 19)])
def test_a_preset_trains_and_its_protocol_measures(preset: str, sets: int, backbone: str, tmp_path: Path) -> None:
    root = getattr(miniature, preset)(tmp_path / "data", 6 if preset == "genimage" else 3)
    place = ["--data-root", str(root), "--features", str(tmp_path / "store"), "-q"]
    few = ["--folds", "2", "--set", "rotations=1", "--set", "teacher_epochs=1", "--set", "classifier_epochs=1"]
    for seed in range(6):  # random features may rank a dozen pictures the wrong way round, which calibration refuses
        out = tmp_path / f"detector-{seed}"
        code = main(
            ["train", "--preset", preset, "--backbone", backbone, "--seed", str(seed), "--out", str(out), *few, *place]
        )
        if code == 0:
            break
    assert code == 0
    manifest = json.loads((out / "detector.json").read_text(encoding="utf-8"))
    assert manifest["settings"]["classifier_lr"] == {"genimage": 1e-3, "universalfakedetect": 1e-5}[preset]
    assert manifest["training"]["copies"] == 0
    assert all("sdv4" in g or "progan" in g for g in manifest["training"]["groups"])
    assert (out / "log" / "final.csv").is_file()
    figures = tmp_path / "figures"
    options = ["--protocol", preset, "--detector", str(out), "--out", str(figures), "--no-plots"]
    assert main(["evaluate", *options, *place]) == 0
    text = (figures / "report.html").read_text(encoding="utf-8")
    written = json.loads((figures / "figures.json").read_text(encoding="utf-8"))
    assert "https://" not in text.replace("https://arxiv.org", "")
    assert len({name for name in _names(written) if name in _expected(preset)}) == sets


def _names(value: object) -> set[str]:
    """Every key and text in a JSON value."""
    if isinstance(value, dict):
        return set(value) | {name for part in value.values() for name in _names(part)}
    if isinstance(value, list):
        return {name for part in value for name in _names(part)}
    return {value} if isinstance(value, str) else set()


def _expected(preset: str) -> set[str]:
    from gendet_cli.data.benchmarks import GENIMAGE_SUBSETS, UFD_SETS

    return set(GENIMAGE_SUBSETS.values()) if preset == "genimage" else set(UFD_SETS)
