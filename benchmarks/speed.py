"""What a scan costs beside the bare work, as ratios of one run: no absolute time is worth printing on a shared machine.

    python benchmarks/speed.py FOLDER [pictures] [rounds] [workers]

Three ways take turns over the same pictures, `rounds` times, and the medians are compared:
  bare  Pillow decodes, the same preparation, the same ONNX graphs, in one process, with no limits and no report;
  peer  the usual research script: open_clip's own transform and its torch model, batches of 16;
  scan  `gendet scan`'s recipe: decoding children under limits, evidence, calibration, rows.
Then the peak memory of a scan of few and of many pictures (a fresh process each).
"""

import hashlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps

from gendet_cli.config import ScanSettings
from gendet_cli.detector.detector import Detector, load_detector
from gendet_cli.intake.find import Census
from gendet_cli.intake.prepare import prepare_all
from gendet_cli.plugin.registry import Registry
from gendet_cli.scan import scan
from gendet_cli.types import Finding


def readable(folder: Path, count: int) -> list[Path]:
    """The first ``count`` JPEG, PNG and WebP files below ``folder``, in order of their names' hashes."""
    paths = [path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")]
    return sorted(paths, key=lambda path: hashlib.sha256(str(path.relative_to(folder)).encode()).hexdigest())[:count]


def bare(detector: Detector, paths: list[Path]) -> None:
    """Decode, prepare, run the graphs."""
    for path in paths:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened.convert("RGB"))
        views = prepare_all(image, detector.manifest.preprocessing)
        detector.outputs(tuple(view[None] for view in views))


def peer(paths: list[Path]) -> Callable[[], None]:
    """open_clip in torch, batches of 16."""
    import open_clip
    import torch

    model, _, transform = open_clip.create_model_and_transforms("ViT-B-16-quickgelu", load_weights=False)
    model.eval()

    def run() -> None:
        with torch.inference_mode():
            for start in range(0, len(paths), 16):
                images = []
                for path in paths[start : start + 16]:
                    with Image.open(path) as opened:
                        images.append(transform(opened.convert("RGB")))
                model.encode_image(torch.stack(images))

    return run


def whole(detector: Detector, paths: list[Path], workers: int) -> None:
    """The recipe of a scan; every picture must be scored."""
    settings = ScanSettings(workers=workers)
    rows = scan(
        map(str, paths), detector, settings, listing=None, census=Census(), is_done=lambda _: False, plugins=None
    )
    assert all(isinstance(row, Finding) for row in rows)


def timed(work: Callable[[], None]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_mib(paths: list[Path]) -> int:
    """Peak resident memory of the largest process of one scan, in a fresh interpreter."""
    code = (
        "import sys, resource; from gendet_cli.cli import main\n"
        "main(['scan', *sys.argv[1:], '-q', '--exit-zero'])\n"
        "print(max(resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) // 1024


def main(folder: Path, count: int = 100, rounds: int = 3, workers: int = 1) -> None:
    """Print the table."""
    paths = readable(folder, count)
    few = paths[: max(1, count // 8)]
    memory = [f"{peak_mib(some)} MiB for {len(some)} pictures" for some in (few, paths)]  # before this process grows
    detector = load_detector("gendet", "onnx", "cpu", Registry())
    ways = {
        "bare": lambda: bare(detector, paths),
        "peer": peer(paths),
        "scan": lambda: whole(detector, paths, workers),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            seconds[name].append(timed(work))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{len(paths)} pictures, {rounds} rounds, {workers} decoding processes")
    for other in ("bare", "peer"):
        pairs = [s / o for s, o in zip(seconds["scan"], seconds[other], strict=True)]
        print(f"scan / {other}: {median['scan'] / median[other]:.2f} (rounds {min(pairs):.2f} to {max(pairs):.2f})")
    print(f"peak memory of a scan's largest process: {', '.join(memory)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
