"""Training from a feature store larger than its memory, beside a bare torch loop over an array in memory.

    python benchmarks/store.py FOLDER [rows] [dimension]

Makes a synthetic store of GenImage's size in FOLDER (once), trains one epoch of every stage from it in a process that
may take 400 MB beyond what it holds after its imports (RLIMIT_DATA), and runs the same losses over the same rows in
memory in a plain loop in another. Prints peak anonymous memory and rows per second of processor time, as a ratio. The
features are random: nothing here says anything about accuracy.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from gendet_cli.data.layouts import Record
from gendet_cli.data.store import Features, Store, View
from gendet_cli.model.losses import class_weights
from gendet_cli.model.methods import GenDetSettings, GenDetStages, build_gendet, build_teacher
from gendet_cli.model.networks import Augmenter
from gendet_cli.model.training import Fit, Run, Stage
from gendet_cli.train import StoredRows

LIMIT_BYTES = 400 << 20
STAGES = ("teach", "student_real", "student_fake", "augment", "classify")


def make(folder: Path, rows: int, dimension: int) -> Store:
    """The synthetic store; every second row is fake."""
    store = Store(folder, {"synthetic": [rows, dimension]})
    draw = np.random.default_rng(0)

    def views() -> Iterator[View]:
        for number in range(rows):
            label = "fake" if number % 2 else "real"
            record = Record(Path(f"{number:07}.png"), label, f"source-{number % 16}", "train")
            yield View(record, f"{number:064x}", draw.standard_normal(dimension, np.float32))

    known = store.known()
    store.add(view for view in views() if view.sha256 not in known)
    return store


def stages_of(x: object, is_fake: torch.Tensor, dimension: int) -> tuple[Fit, dict[str, Stage]]:
    """The five stages over ``x``."""
    settings = GenDetSettings()
    head, teacher = build_gendet(settings, dimension), build_teacher(settings, dimension)
    teacher.teacher = head.teacher
    augmenter = Augmenter(dimension, settings.structure)
    fit = Fit(x, is_fake, torch.arange(len(is_fake)), settings, head, 0, Path(), lambda *_: None)
    networks = {"teacher": teacher, "student": head.student, "augmenter": augmenter, "classifier": head.classifier}
    optimizers = {name: torch.optim.AdamW(network.parameters(), 1e-4) for name, network in networks.items()}
    stages = GenDetStages(fit, teacher, augmenter, optimizers)
    return fit, {name: getattr(stages, name) for name in STAGES}


def anonymous_bytes(field: str = "RssAnon") -> int:
    """This process's memory that no file stands behind (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def from_store(store: Store) -> dict[str, float]:
    """Rows per second of each stage, and the peak of anonymous memory beyond the start; in flat memory."""
    torch.set_num_threads(1)
    start = anonymous_bytes()
    limit = anonymous_bytes("VmData") + LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    features: Features = store.everything()
    is_fake = torch.from_numpy(features.is_fake.astype(np.float32))
    fit, stages = stages_of(StoredRows(features.x), is_fake, features.x.shape[1])
    run = Run(fit, {"head": fit.head}, {}, fit.settings.batch_size)
    speeds, peak = {}, anonymous_bytes()
    for index, (name, stage) in enumerate(stages.items()):
        began = time.process_time()
        run._epoch(stage, index)
        speeds[name] = len(stage.rows) / (time.process_time() - began)
        peak = max(peak, anonymous_bytes())
    return {**speeds, "peak_mb": (peak - start) / 1e6, "store_mb": features.x.shape[0] * features.x.shape[1] * 4 / 1e6}


def in_memory(store: Store) -> dict[str, float]:
    """Rows per second of a plain loop over a float32 tensor, the same losses and optimizers."""
    torch.set_num_threads(1)
    features = store.everything()
    x, is_fake = torch.from_numpy(features.x[:]), torch.from_numpy(features.is_fake.astype(np.float32))
    fit, stages = stages_of(x, is_fake, x.shape[1])
    speeds = {}
    for name, stage in stages.items():
        fit.head.requires_grad_(False)
        stage.moves.requires_grad_(True)
        began = time.process_time()
        for batch in stage.rows[torch.randperm(len(stage.rows))].split(fit.settings.batch_size):
            stage.optimizer.zero_grad()
            y = is_fake[batch]
            weight = class_weights(y) if stage.balanced else torch.full((len(batch),), 1 / len(batch))
            stage.loss(x[batch], y, weight).backward()
            stage.optimizer.step()
        speeds[name] = len(stage.rows) / (time.process_time() - began)
    return speeds


def measured(way: str, arguments: list[str]) -> dict[str, float]:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, __file__, *arguments, way], stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(folder: Path, rows: int = 324_000, dimension: int = 768, way: str = "") -> None:
    """Print the table, or be one of its processes."""
    store = make(folder, rows, dimension)
    if way:
        print(json.dumps({"store": from_store, "memory": in_memory}[way](store)))
        return
    arguments = [str(folder), str(rows), str(dimension)]
    streamed, bare = measured("store", arguments), measured("memory", arguments)
    print(f"{rows} rows of {dimension}: {streamed['store_mb']:.0f} MB as float32")
    print(f"peak anonymous memory beyond the imports: {streamed['peak_mb']:.0f} MB (allowed {LIMIT_BYTES >> 20} MiB)")
    print("| stage | rows/s from the store | over a bare loop in memory |\n|---|---|---|")
    for name in STAGES:
        print(f"| {name} | {streamed[name]:.0f} | {streamed[name] / bare[name]:.2f} |")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place))
    else:
        main(Path(sys.argv[1]), *map(int, sys.argv[2:4]), *sys.argv[4:])
