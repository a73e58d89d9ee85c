"""Data layouts on disk: a folder tree becomes a list of records. Nothing is substituted, nothing is opened."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from gendet_cli.errors import SettingsError

Label = Literal["real", "art", "fake"]
LABELS: tuple[Label, ...] = get_args(Label)
INDEX_COLUMNS = ("path", "split", "label", "source", "content")
IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".mpo"]
)


@dataclass(frozen=True, slots=True)
class Record:
    """One picture of a data set.

    Attributes:
        path: where it is.
        label: ``real`` (photograph), ``art`` (made by people, no plain photograph) or ``fake`` (generated).
        group: source or generator; held out as a whole, never split.
        split: ``train``, ``dev``, ...
        content: ``photo``, ``art`` or empty, for content-matched comparisons.
        subset: the test set of a benchmark that the picture belongs to (a generator's folder of GenImage, one of the
            sets of UniversalFakeDetect), or empty. A real picture shared by several sets has a record in each.
    """

    path: Path
    label: Label
    group: str
    split: str
    content: str = ""
    subset: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the data is: ``root`` for a data set with a tree of its own, ``real`` and ``fake`` for plain folders."""

    root: Path | None = None
    real: Path | None = None
    fake: Path | None = None


def read_open_set(places: Places, split: str) -> list[Record]:
    """The gendet open set: ``<root>/index.csv`` with columns path, split, label, source, content."""
    if places.root is None:
        raise SettingsError("no place for the open set", hint="use --data-root DIR or set GENDET_DATA")
    index = places.root / "index.csv"
    if not index.is_file():
        raise SettingsError(
            f"{index}: no such file", hint="expected <root>/index.csv and <root>/images/<split>/<label>/<source>/"
        )
    with index.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in INDEX_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise SettingsError(
                f"{index}: no column {', '.join(missing)}", hint=f"expected columns: {', '.join(INDEX_COLUMNS)}"
            )
        rows = [row for row in reader if row["split"] == split]
    wrong = sorted({row["label"] for row in rows} - set(LABELS))
    if wrong:
        raise SettingsError(f"{index}: label {', '.join(wrong)}", hint=f"labels are {', '.join(LABELS)}")
    return [
        Record(places.root / row["path"], row["label"], row["source"], split, row["content"])  # type: ignore[arg-type]
        for row in rows
    ]


def read_folders(places: Places, split: str) -> list[Record]:
    """Two folders, real and fake; a sub-folder directly below is a group. All pictures are of the split asked for."""
    if places.real is None or places.fake is None:
        raise SettingsError("the layout `folders` needs two folders", hint="use --real DIR --fake DIR")
    records: list[Record] = []
    for label, folder in (("real", places.real), ("fake", places.fake)):
        if not folder.is_dir():
            raise SettingsError(f"{folder}: no such folder", hint="name a folder of pictures")
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not paths:
            raise SettingsError(f"{folder}: no picture in it", hint="name a folder of pictures")
        for path in paths:
            parts = path.relative_to(folder).parts
            group = f"{label}/{parts[0]}" if len(parts) > 1 else label
            records.append(Record(path, label, group, split))  # type: ignore[arg-type]
    return records


LAYOUTS: Mapping[str, Callable[[Places, str], list[Record]]] = {"open-set": read_open_set, "folders": read_folders}


def read_layout(name: str, places: Places, split: str) -> list[Record]:
    """The records of ``split``. Raises SettingsError for an unknown, wrong or empty layout."""
    if name not in LAYOUTS:
        raise SettingsError(f"unknown layout {name!r}", hint=f"known: {', '.join(LAYOUTS)}")
    records = LAYOUTS[name](places, split)
    labels = {record.label for record in records}
    if "fake" not in labels or not labels - {"fake"}:
        raise SettingsError(
            f"layout {name}, split {split}: found labels {sorted(labels)}, both classes are needed",
            hint="check the folders",
        )
    return records
