"""The figures of an evaluation as tables for a terminal of 80 columns; figures.json and report.html have them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

PAPER_METHODS = 5
"""Of the paper's methods the last ones fit beside ours; report.html has all."""


def tables(figures: Mapping[str, Any], paper: list[dict[str, Any]]) -> Iterator[Table | str]:
    """What is printed, in order."""
    for identity, rules in figures["thresholds"].items():
        yield heading(figures, identity)
        yield _thresholds(rules)
        results = [result for result in figures["results"] if result["detector"] == identity]
        for result in results:
            if result["comparisons"]:
                yield _comparisons(result)
        for result in results:
            yield _sets(result)
        headline = next(result for result in results if result["condition"] == figures["headline"])
        yield _sources(headline)
        yield _flagged(results)
    for table in paper:
        yield from _beside(table)


def heading(figures: Mapping[str, Any], identity: str) -> str:
    """What was measured, on what."""
    counts = next(result["pictures"] for result in figures["results"] if result["detector"] == identity)
    pictures = ", ".join(f"{count} {label}" for label, count in counts.items())
    left_out = f", {len(figures['unreadable'])} left out" if figures["unreadable"] else ""
    where = f"{figures['protocol']} on {figures['dataset']} {figures['split']}: {pictures}{left_out}"
    from_scratch = figures["detectors"][identity]["training"].get("pretrained") is False
    scratch = ", trained from scratch" if from_scratch else ""
    intervals = "95% intervals: bootstrap over whole sources (a side with one: over its pictures)"
    return f"\n{identity}{scratch}, {where}\n{intervals}, seed {figures['bootstrap']['seed']}"


def _grid(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold", no_wrap=number > 0)
    return table


def _thresholds(rules: list[dict[str, Any]]) -> Table:
    table = Table("threshold", "logit", "how set", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for rule in rules:
        logit = "per set" if rule["oracle"] else "never" if rule["logit"] is None else f"{rule['logit']:.3f}"
        table.add_row(_rule(rule["rule"]), logit, escape(rule["how"]))
    return table


def _rule(name: str) -> str:
    return f"*{name}*" if name == "oracle" else name


def _comparisons(result: Mapping[str, Any]) -> Table:
    table = _grid(escape(result["condition"]), "AUC", "TPR at 1% FPR", "TPR at 5% FPR")
    for name, figures in result["comparisons"].items():
        table.add_row(escape(name), *(interval(figure) for figure in figures.values()))
    return table


def interval(figure: Mapping[str, float]) -> str:
    """A value and its interval, short: ``0.830 .73-.90``."""
    low, high = (f"{figure[key]:.2f}".removeprefix("0") for key in ("low", "high"))
    return f"{figure['value']:.3f} {low}-{high}"


def _sets(result: Mapping[str, Any]) -> Table:
    """By test set, in percent: AP, AUC, TPR and TNR at 0.5, and accuracy by each threshold rule."""
    rules = list(next(iter(result["sets"].values())).get("thresholds", {}))
    accuracies = [f"acc\n{_rule(rule)}" for rule in rules]
    shown = escape(result["condition"]).replace(", ", ",\n")
    table = _grid(shown, "real", "fake", "AP", "AUC", "TPR\n0.5", "TNR\n0.5", *accuracies)
    means = [("mean", result["mean"])] if len(result["sets"]) > 1 else []
    for name, values in [*result["sets"].items(), *means]:
        if "auc" not in values:
            continue
        counts = values.get("pictures", {})
        fakes = counts.get("fake", 0)
        numbers = [str(sum(counts.values()) - fakes), str(fakes)] if counts else ["", ""]
        at_half = values["thresholds"]["0.5"]
        figures = [values["average_precision"], values["auc"], at_half["tpr"], at_half["tnr"]]
        figures += [values["thresholds"][rule]["accuracy"] for rule in rules]
        table.add_row(escape(name), *numbers, *(f"{100 * figure['value']:.1f}" for figure in figures))
    return table


def _sources(result: Mapping[str, Any]) -> Table:
    """One line a source: generators' shares are true positives, those of real and art sources false ones."""
    table = _grid(f"source, {escape(result['condition'])}", "n", "AUC", "above 1% FPR", "above 5% FPR")
    for name, values in result["sources"].items():
        ranks = [interval(values[key]) if key in values else "" for key in ("auc", "share@0.01", "share@0.05")]
        table.add_row(escape(name), str(values["pictures"]), *ranks)
    return table


def _flagged(results: list[dict[str, Any]]) -> Table:
    table = _grid("share flagged", *(escape(result["condition"].replace(" ", "\n")) for result in results[:5]))
    for name in results[0]["sources"]:
        table.add_row(escape(name), *(f"{result['sources'][name]['flagged']:.3f}" for result in results[:5]))
    return table


def _beside(table: Mapping[str, Any]) -> Iterator[Table | str]:
    """Sets are rows, ours and the paper's methods columns; where there are few columns (Table 5) it is turned."""
    note = f"; {table['note']}" if table["note"] else ""
    yield f"\n{table['title']} (percent{note})"
    if len(table["columns"]) <= 2:
        grid = _grid("", *table["columns"])
        for name, row in [*table["ours"].items(), *((f"paper: {n}", r) for n, r in table["paper"].items())]:
            grid.add_row(escape(name), *(_value(row[column]) for column in table["columns"]))
    else:
        theirs = list(table["paper"].items())[::-1][:PAPER_METHODS]
        grid = _grid("", *(escape(name.split("@")[0]) for name in table["ours"]), *(escape(name) for name, _ in theirs))
        for column in grid.columns[1:]:
            column.no_wrap, column.max_width = False, 10
        for name in table["columns"]:
            values = [row[name] for row in (*table["ours"].values(), *(row for _, row in theirs))]
            grid.add_row(escape(name), *map(_value, values))
    yield grid


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
