"""Exact miniatures of the benchmarks' trees, out of the gendet open set: real pictures, few of each.

    GENDET_DATA=DIR python tests/miniature.py FOLDER

What the folders are named after is not what is in them: a generator of the open set stands in for each. File kinds are
as published: GenImage's `ai` is PNG and its `nature` JPEG.
"""

import os
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from PIL import Image

from gendet_cli.data.benchmarks import UFD_DIFFUSION_SETS, UFD_GAN_SETS
from gendet_cli.data.layouts import Places, Record, read_layout

GENIMAGE_FOLDERS = (
    "imagenet_midjourney",
    "imagenet_ai_0419_sdv4",
    "imagenet_ai_0424_sdv5",
    "imagenet_ai_0508_adm",
    "imagenet_glide",
    "imagenet_ai_0424_wukong",
    "imagenet_ai_0419_vqdm",
    "imagenet_ai_0419_biggan",
)
PROGAN_CLASSES = ("airplane", "cat")


def _taken(label: str) -> Iterator[Record]:
    """Records of the open set's train split, a source at a time in turn, endlessly."""
    records = [r for r in read_layout("open-set", Places(Path(os.environ["GENDET_DATA"])), "train") if r.label == label]
    groups = sorted({record.group for record in records})
    queues = {group: cycle([r for r in records if r.group == group]) for group in groups}
    while True:
        yield from (next(queues[group]) for group in groups)


class _Filler:
    """Puts pictures into folders; no picture twice until the open set runs out."""

    def __init__(self, per_cell: int) -> None:
        self._per_cell = per_cell
        self._sources = {"real": _taken("real"), "fake": _taken("fake")}

    def fill(self, folder: Path, label: str, suffix: str) -> None:
        folder.mkdir(parents=True)
        for number in range(self._per_cell):
            with Image.open(next(self._sources[label]).path) as image:
                image.convert("RGB").save(
                    folder / f"{number:03}.{suffix}", **({"quality": 92} if suffix != "png" else {})
                )


def genimage(root: Path, per_cell: int = 4) -> Path:
    """`<root>/<generator folder>/{train,val}/{ai,nature}`, eight generators."""
    filler = _Filler(per_cell)
    for folder in GENIMAGE_FOLDERS:
        for split in ("train", "val"):
            filler.fill(root / folder / split / "ai", "fake", "png")
            filler.fill(root / folder / split / "nature", "real", "JPEG")
    return root


def universalfakedetect(root: Path, per_cell: int = 4) -> Path:
    """ForenSynths' train, val and test, and the diffusion sets with the reals they share."""
    filler = _Filler(per_cell)
    pairs = (("0_real", "real"), ("1_fake", "fake"))
    for split in ("train", "val"):
        for name in PROGAN_CLASSES:
            for part, label in pairs:
                filler.fill(root / split / "progan" / name / part, label, "png")
    for name in UFD_GAN_SETS:
        place = root / "test" / name
        for inner in PROGAN_CLASSES if name in ("progan", "cyclegan", "stylegan") else ("",):
            for part, label in pairs:
                filler.fill(place / inner / part, label, "png")
    for shared in sorted(set(UFD_DIFFUSION_SETS.values())):
        filler.fill(root / shared / "0_real", "real", "jpg")
    for name in UFD_DIFFUSION_SETS:
        filler.fill(root / name / "1_fake", "fake", "png")
    return root


if __name__ == "__main__":
    genimage(Path(sys.argv[1]) / "genimage")
    universalfakedetect(Path(sys.argv[1]) / "universalfakedetect")
