"""The paper's tables beside ours. Numbers are percentages as printed there (arXiv 2312.08880, Tables 1 to 7)."""

from __future__ import annotations

import csv
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gendet_cli.evaluation.protocols import PROTOCOLS, PaperTable

SWEEP = "table5_sweep"
TITLES = {
    "table1_ufd_ap": "Table 1: average precision, UniversalFakeDetect",
    "table2_ufd_acc": "Table 2: accuracy, UniversalFakeDetect",
    "table3_genimage_acc": "Table 3: accuracy, GenImage",
    "table4_degraded_acc": "Table 4: accuracy, degraded SD V1.4",
    SWEEP: "Table 5: margin M and weight alpha, UniversalFakeDetect",
    "table6_cross_acc": "Table 6: accuracy across data sets",
    "table7_cross_ap": "Table 7: average precision across data sets",
}
MEANS = ("mAP", "avg_acc")
ALIASES = {"deepfake": "deepfakes", "seeingdark": "sitd"}
"""Names of folders, letters and digits alone, that are not the paper's."""


def published(table: str) -> dict[str, dict[str, float]]:
    """By method (Table 5: by M and alpha) the values of every column, in percent."""
    rows = {}
    for row in _lines(table):
        name = row.pop("method", None) or sweep_name(float(row.pop("M")), float(row.pop("alpha")))
        rows[name] = {key: float(value) for key, value in row.items()}
    return rows


def _lines(table: str) -> list[dict[str, str]]:
    path = importlib.resources.files("gendet_cli.evaluation") / "paper" / f"{table}.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def sweep_pairs() -> list[tuple[float, float]]:
    """(M, alpha) of every row of Table 5."""
    return [(float(row["M"]), float(row["alpha"])) for row in _lines(SWEEP)]


def sweep_name(margin: float, alpha: float) -> str:
    """A row of Table 5."""
    return f"M {margin:g}, alpha {alpha:g}"


def plain_name(name: str) -> str:
    """A set's name without case, blanks and marks, so that a folder's name finds the paper's column."""
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    return ALIASES.get(letters, letters)


def beside(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every table of the protocol: ``title``, ``columns`` and ``rows``, ours first, by name; a missing value is None.

    Our rows are of the condition that stands beside the paper's numbers; in Table 4 the columns raw, fakes aligned and
    both aligned are rows of their own, in Table 5 a detector is a row.
    """
    protocol = PROTOCOLS.get(figures["protocol"])
    tables = []
    same = protocol and (figures["headline"], figures["split"]) == (protocol.headline, protocol.split)
    for table in protocol.tables if protocol and same else ():  # another condition or split stands beside nothing
        theirs = published(table.file)
        names = list(next(iter(theirs.values())))
        rows = _sweep(figures) if table.file == SWEEP else _ours(figures, table, names)
        note = f"accuracy at the threshold `{table.rule}`" if table.rule else ""
        tables.append({"title": TITLES[table.file], "note": note, "columns": names, "ours": rows, "paper": theirs})
    return tables


def _ours(figures: Mapping[str, Any], table: PaperTable, names: list[str]) -> dict[str, dict[str, float | None]]:
    rows: dict[str, dict[str, float | None]] = {}
    if table.columns == "degradations":
        degradations = {c["name"]: c["degradation"] for c in figures["conditions"]}
        for result in figures["results"]:
            degradation = degradations[result["condition"]]
            if degradation and result["mean"]:
                name = f"{result['detector']}, {result['condition'].removeprefix(f'{degradation}, ')}"
                rows.setdefault(name, dict.fromkeys(names))[degradation] = _percent(result["mean"], table)
        for row in rows.values():
            row["avg_acc"] = _mean([row[name] for name in names if name not in MEANS])
        return rows
    for result in figures["results"]:
        if result["condition"] == figures["headline"]:
            found = {plain_name(name): values for name, values in result["sets"].items() if "auc" in values}
            row = {
                name: _percent(found[plain_name(name)], table) if plain_name(name) in found else None for name in names
            }
            mean = next(name for name in names if name in MEANS)
            rows[result["detector"]] = {**row, mean: _mean([row[name] for name in names if name not in MEANS])}
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    """Over the paper's own sets, all of them, and no other that is there; else none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _sweep(figures: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    rows: dict[str, dict[str, float | None]] = {}
    for result in figures["results"]:
        settings = figures["detectors"][result["detector"]]["settings"]
        if result["condition"] == figures["headline"] and {"margin", "alpha"} <= settings.keys():
            name = sweep_name(settings["margin"], settings["alpha"])
            of_set = {plain_name(name): values for name, values in result["sets"].items() if "auc" in values}
            paper_sets = [
                plain_name(name) for name in next(iter(published("table1_ufd_ap").values())) if name not in MEANS
            ]
            found = [of_set.get(name) for name in paper_sets]
            rows[f"{name} ({result['detector']})"] = {
                "avg_acc": _mean([v and 100 * v["thresholds"]["oracle"]["accuracy"]["value"] for v in found]),
                "mAP": _mean([v and 100 * v["average_precision"]["value"] for v in found]),
            }
    return rows


def _percent(values: Mapping[str, Any], table: PaperTable) -> float:
    figure = values["thresholds"][table.rule]["accuracy"] if table.rule else values["average_precision"]
    return 100 * float(figure["value"])
