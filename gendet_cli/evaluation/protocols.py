"""The protocols: which split of which layout, under which conditions, in which sets, beside which published table."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gendet_cli.data.layouts import Record
from gendet_cli.errors import SettingsError

Sets = Literal["subset", "generator", "all"]


@dataclass(frozen=True, slots=True)
class Condition:
    """How the pictures are shown to the detector.

    Attributes:
        name: as printed.
        fake: transform of generated pictures, as :func:`gendet_cli.data.degrade.transform` knows it.
        other: transform of photographs and art.
        degradation: the paper's name of it (Table 4), or empty.
    """

    name: str
    fake: str
    other: str
    degradation: str = ""


@dataclass(frozen=True, slots=True)
class PaperTable:
    """A table of the paper to print beside ours.

    Attributes:
        file: its CSV file, without suffix.
        figure: ``average_precision`` or ``accuracy``.
        rule: of the threshold an accuracy is at.
        columns: what its columns are: ``sets`` or ``degradations``.
    """

    file: str
    figure: Literal["average_precision", "accuracy"]
    rule: str = ""
    columns: Literal["sets", "degradations"] = "sets"


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to measure.

    Attributes:
        name: as given to ``gendet evaluate --protocol``.
        summary: one line.
        layout: of the data, unless another is asked for.
        split: of the layout that is tested.
        conditions: what is printed, in order.
        headline: name of the condition that stands beside the paper's numbers, and that thresholds are chosen under.
        validation_split: of the layout, to choose a threshold on; empty where it has none.
        sets: what a test set is: the layout's ``subset``, each ``generator`` against all other pictures, or ``all``.
        subsets: names of the only subsets that are used, or empty.
        per_class: at most so many pictures of a class in a set.
        tables: of the paper.
    """

    name: str
    summary: str
    layout: str
    split: str
    conditions: tuple[Condition, ...]
    headline: str
    validation_split: str = ""
    sets: Sets = "all"
    subsets: tuple[str, ...] = ()
    per_class: int | None = None
    tables: tuple[PaperTable, ...] = ()

    @property
    def transforms(self) -> tuple[str, ...]:
        """Every transform a picture is seen under, each once."""
        return tuple(dict.fromkeys(name for c in self.conditions for name in (c.other, c.fake)))

    def restricted(self, names: Sequence[str]) -> Protocol:
        """This protocol under some of its conditions. Raises SettingsError for one it has not."""
        known = [condition.name for condition in self.conditions]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise SettingsError(
                f"protocol {self.name} has no condition {', '.join(unknown)}", hint=f"it has: {', '.join(known)}"
            )
        kept = tuple(condition for condition in self.conditions if condition.name in names)
        headline = self.headline if self.headline in names else kept[0].name
        return replace(self, conditions=kept, headline=headline)


def columns(prefix: str = "", degradation: str = "") -> tuple[Condition, ...]:
    """Raw, fakes aligned, both aligned; ``prefix`` is a transform that comes after alignment."""
    raw, aligned = prefix or "raw", f"aligned+{prefix}" if prefix else "aligned"
    label = f"{degradation}, " if degradation else ""
    return (
        Condition(f"{label}raw", raw, raw, degradation),
        Condition(f"{label}fakes aligned", aligned, raw, degradation),
        Condition(f"{label}both aligned", aligned, aligned, degradation),
    )


TIERS = (Condition("web", "web", "web"), Condition("hard", "hard", "hard"))
"""On top of *both aligned*, which is the tier *clean*."""

STANDARD = (*columns(), *TIERS)
DEGRADATIONS: Mapping[str, str] = {
    "LR_112": "lr-112",
    "LR_64": "lr-64",
    "JPEG_q65": "jpeg-65",
    "JPEG_q30": "jpeg-30",
    "Blur_s3": "blur-3",
    "Blur_s5": "blur-5",
}
"""Table 4's columns, as transforms."""

UFD_TABLES = (
    PaperTable("table1_ufd_ap", "average_precision"),
    PaperTable("table2_ufd_acc", "accuracy", "oracle"),
)
UFD_CONDITIONS = (Condition("as published", "centre-224", "centre-224"), *STANDARD)
DEGRADED = tuple(c for name, transform in DEGRADATIONS.items() for c in columns(transform, name))

_ALL = (
    Protocol("open-set", "the gendet open set, split dev", "open-set", "dev", STANDARD, "both aligned"),
    Protocol("folders", "pictures of your own, real and fake", "folders", "test", STANDARD, "both aligned"),
    Protocol(
        "universalfakedetect",
        "Tables 1 and 2: 19 sets, at most 1,000 pictures a class, the centre 224 px",
        "universalfakedetect",
        "test",
        UFD_CONDITIONS,
        "as published",
        validation_split="val",
        sets="subset",
        per_class=1000,
        tables=UFD_TABLES,
    ),
    Protocol(
        "genimage",
        "Table 3: 8 subsets, accuracy at 0.5",
        "genimage",
        "val",
        STANDARD,
        "raw",
        sets="subset",
        tables=(PaperTable("table3_genimage_acc", "accuracy", "0.5"),),
    ),
    Protocol(
        "degraded",
        "Table 4: SD V1.4 under resizing, JPEG and blur",
        "genimage",
        "val",
        (*columns(), *DEGRADED),
        "raw",
        sets="subset",
        subsets=("SD V1.4",),
        tables=(PaperTable("table4_degraded_acc", "accuracy", "0.5", "degradations"),),
    ),
    Protocol(
        "sweep",
        "Table 5: detectors of several margins M and weights alpha, side by side",
        "universalfakedetect",
        "test",
        UFD_CONDITIONS,
        "as published",
        validation_split="val",
        sets="subset",
        per_class=1000,
        tables=(PaperTable("table5_sweep", "accuracy", "oracle"),),
    ),
    Protocol(
        "cross",
        "Tables 6 and 7: trained on SD V1.4, tested on IF, CogView2, StyleGAN; 1,000 pictures a class",
        "folders",
        "test",
        STANDARD,
        "raw",
        sets="generator",
        per_class=1000,
        tables=(
            PaperTable("table6_cross_acc", "accuracy", "0.5"),
            PaperTable("table7_cross_ap", "average_precision"),
        ),
    ),
)
PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in _ALL}


def read_protocol(name: str) -> Protocol:
    """The protocol called ``name``. Raises SettingsError if there is none."""
    if name not in PROTOCOLS:
        raise SettingsError(f"unknown protocol {name!r}", hint=f"known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def kept(records: Sequence[Record], protocol: Protocol, seed: int) -> list[Record]:
    """The records a protocol tests: at most ``per_class`` of a class in a set, drawn by ``seed``, in their order."""
    if protocol.per_class is None:
        return list(records)
    classes: dict[tuple[str, bool], list[int]] = {}
    for index, record in enumerate(records):
        is_fake = record.label == "fake"
        name = record.group if protocol.sets == "generator" and is_fake and not record.subset else record.subset
        classes.setdefault((name, is_fake), []).append(index)
    draw = random.Random(seed)
    drawn = [draw.sample(rows, min(len(rows), protocol.per_class)) for _, rows in sorted(classes.items())]
    return [records[index] for index in sorted(index for rows in drawn for index in rows)]
