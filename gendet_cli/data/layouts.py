"""Data layouts on disk: a folder tree becomes a list of records. Nothing is substituted, nothing is opened.

A layout is a name, the environment variable of its root, its tree in words and a function. Those of the field's
benchmarks are in :mod:`gendet_cli.data.benchmarks`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from gendet_cli.errors import SettingsError

Label = Literal["real", "art", "fake"]
LABELS: tuple[Label, ...] = get_args(Label)
IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".mpo"]
)
INDEX_COLUMNS = ("path", "split", "label", "source", "content")
CSV_COLUMNS = ("path", "label", "group")


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
    """Where the data is: ``root`` of a tree, ``real`` and ``fake`` for plain folders, ``table`` for a CSV file."""

    root: Path | None = None
    real: Path | None = None
    fake: Path | None = None
    table: Path | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to lay a data set out.

    Attributes:
        name: as ``--dataset`` takes it.
        environment: variable that names the root where no option does, or empty.
        tree: what is expected on disk, shown when it is not found.
        splits: what ``read`` knows; empty if any.
        read: (places, split) -> records.
    """

    name: str
    environment: str
    tree: str
    splits: tuple[str, ...]
    read: Callable[[Places, str], list[Record]]


def listing(folder: Path, limit: int = 12) -> str:
    """The names in ``folder``, for an error message."""
    if not folder.is_dir():
        return f"{folder} is no folder"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    more = f", ... ({len(names)} in all)" if len(names) > limit else ""
    return f"{folder} has {', '.join(names[:limit]) or 'nothing'}{more}"


def pictures(folder: Path) -> list[Path]:
    """Files below ``folder`` whose suffix is a picture's, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def _open_set(places: Places, split: str) -> list[Record]:
    assert places.root is not None
    return _table(places.root / "index.csv", split, INDEX_COLUMNS, "source")


def _csv(places: Places, split: str) -> list[Record]:
    if places.table is None:
        raise SettingsError("the layout `csv` needs a file", hint="use --csv FILE")
    return _table(places.table, split, CSV_COLUMNS, "group")


def _table(table: Path, split: str, columns: Sequence[str], group: str) -> list[Record]:
    """Records of a CSV file whose paths are relative to its folder; without a column ``split`` every row is of any."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise SettingsError(
                    f"{table}: no column {', '.join(missing)}", hint=f"expected columns: {', '.join(columns)}"
                )
            rows = [row for row in reader if row.get("split", split) == split]
    except (OSError, ValueError, csv.Error) as error:
        raise SettingsError(f"{table}: {error}", hint="expected a CSV file in UTF-8") from error
    if any(row[name] is None or (not row[name] and name != "content") for row in rows for name in columns):
        raise SettingsError(
            f"{table}: a row without a value for each column", hint=f"expected columns: {', '.join(columns)}"
        )
    wrong = sorted({row["label"] for row in rows} - set(LABELS))
    if wrong:
        raise SettingsError(f"{table}: label {', '.join(wrong)}", hint=f"labels are {', '.join(LABELS)}")
    return [
        Record(
            table.parent / row["path"],
            row["label"],  # type: ignore[arg-type]
            row[group],
            split,
            row.get("content") or "",
            row.get("subset") or "",
        )
        for row in rows
    ]


def _folders(places: Places, split: str) -> list[Record]:
    """Two folders, real and fake; a sub-folder directly below is a group. All pictures are of the split asked for."""
    if places.real is None or places.fake is None:
        raise SettingsError("the layout `folders` needs two folders", hint="use --real DIR --fake DIR")
    records: list[Record] = []
    for label, folder in (("real", places.real), ("fake", places.fake)):
        if not folder.is_dir():
            raise SettingsError(f"{folder}: no such folder", hint="name a folder of pictures")
        paths = pictures(folder)
        if not paths:
            raise SettingsError(f"{folder}: no picture in it", hint="name a folder of pictures")
        for path in paths:
            parts = path.relative_to(folder).parts
            group = f"{label}/{parts[0]}" if len(parts) > 1 else label
            records.append(Record(path, label, group, split))  # type: ignore[arg-type]
    return records


OPEN_SET = Layout(
    "open-set",
    "GENDET_DATA",
    "<root>/index.csv (path, split, label, source, content) and the pictures it names",
    (),
    _open_set,
)
FOLDERS = Layout("folders", "", "--real DIR and --fake DIR, sub-folders are sources", (), _folders)
CSV = Layout("csv", "", "--csv FILE (path, label, group; if you like split, content, subset)", (), _csv)


def splits_of(name: str, places: Places) -> list[str]:
    """The splits that the table of a layout names, or ``train`` for a layout without."""
    table = {"open-set": places.root / "index.csv" if places.root else None, "csv": places.table}.get(name)
    if table is None or not table.is_file():
        return ["train"]
    with table.open(newline="", encoding="utf-8-sig") as stream:
        return sorted({row.get("split") or "train" for row in csv.DictReader(stream)})


def each_once(records: Sequence[Record], note: Callable[[str], None]) -> list[Record]:
    """Every picture of a set once, so that none counts twice in a figure; repeated rows are told to ``note``."""
    once = list({(record.path, record.subset, record.split): record for record in records}.values())
    if len(once) < len(records):
        note(f"{len(records) - len(once)} rows repeat a picture of their set; each picture counts once")
    return once


def layouts() -> dict[str, Layout]:
    """Every layout by name."""
    from gendet_cli.data.benchmarks import GENIMAGE, UNIVERSALFAKEDETECT

    return {layout.name: layout for layout in (OPEN_SET, FOLDERS, CSV, GENIMAGE, UNIVERSALFAKEDETECT)}


def layout(name: str) -> Layout:
    """The layout called ``name``. Raises SettingsError if there is none."""
    known = layouts()
    if name not in known:
        raise SettingsError(f"unknown layout {name!r}", hint=f"known: {', '.join(known)}")
    return known[name]


def read_layout(name: str, places: Places, split: str, subsets: Sequence[str] = ()) -> list[Record]:
    """The records of ``split``, of the named ``subsets`` only where there are any.

    Raises:
        SettingsError: the layout is unknown, wrong, partial or empty; the message shows what was expected and found.
    """
    chosen = layout(name)
    if chosen.environment and places.root is None:
        raise SettingsError(
            f"no place for the layout {name}", hint=f"use --data-root DIR or set {chosen.environment}: {chosen.tree}"
        )
    if chosen.environment and places.root is not None and not places.root.is_dir():
        raise SettingsError(f"{places.root}: no such folder", hint=f"expected {chosen.tree}")
    if chosen.splits and split not in chosen.splits:
        raise SettingsError(f"layout {name} has no split {split!r}", hint=f"splits: {', '.join(chosen.splits)}")
    records = chosen.read(places, split)
    there = {record.subset for record in records}
    missing = sorted(set(subsets) - there)
    if missing:
        raise SettingsError(
            f"layout {name}, split {split}: no {', '.join(missing)}; found {', '.join(sorted(there)) or 'nothing'}",
            hint=f"expected {chosen.tree}",
        )
    records = [record for record in records if not subsets or record.subset in subsets]
    labels = {record.label for record in records}
    if "fake" not in labels or not labels - {"fake"}:
        raise SettingsError(
            f"layout {name}, split {split}: found labels {sorted(labels)}, both classes are needed",
            hint=f"expected {chosen.tree}; {listing(places.root) if places.root else 'check the folders'}",
        )
    return records
