"""Two real processes under torchrun (gloo, 127.0.0.1) against one: gradients of a step, and the whole schedule."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent


def run(folder: Path, processes: int) -> dict[str, torch.Tensor]:
    """What ``parallel_run.py`` saved."""
    folder.mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        [*launch, str(HERE / "parallel_run.py"), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return load_file(folder / "out.safetensors")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    root = tmp_path_factory.mktemp("parallel")
    return run(root / "one", 1), run(root / "two", 2)


def test_gradients_of_a_step_are_those_of_one_process(both: tuple[dict, dict]) -> None:
    one, two = both
    names = [name for name in one if name.startswith(("balanced.", "even."))]
    assert names
    assert any(one[name].abs().max() > 1e-3 for name in names)
    for name in names:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-5)


def test_the_schedule_ends_with_the_same_scores(both: tuple[dict, dict]) -> None:
    one, two = both
    for name in ("logit", "discrepancy"):
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-3)
