"""The report of an evaluation as one HTML file: figures, tables and plots inside, no network, no script."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

REFERENCE = re.compile(r'(\bid="|url\(#|xlink:href="#)')


def report_html(
    figures: Mapping[str, Any], paper: Sequence[Mapping[str, Any]], plots: Sequence[tuple[str, str, str]]
) -> str:
    """Every text that is not ours is escaped by the template engine; the plots' SVG is ours.

    Args:
        figures: as in ``figures.json``.
        paper: the published tables beside ours.
        plots: (name, what it shows, SVG text).
    """
    environment = Environment(
        loader=PackageLoader("gendet_cli.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: "-" if value is None else f"{value:.1f}"
    seen = {
        identity: sorted(set(_groups(figures)) & set(detector["training"]["groups"]))
        for identity, detector in figures["detectors"].items()
    }
    inline = [(name, shows, inlined(svg, name, shows)) for name, shows, svg in plots]
    return environment.get_template("report.html").render(figures=figures, paper=paper, plots=inline, seen=seen)


def _groups(figures: Mapping[str, Any]) -> list[str]:
    """Generators that were tested, by the names they have in training."""
    names = {name for result in figures["results"] for name in result["sources"] if name.startswith("fake/")}
    return [*names, *(name.removeprefix("fake/") for name in names)]


def inlined(svg: str, name: str, shows: str) -> Markup:
    """An SVG file's text for use inside HTML: without its XML head, its ids made its own, with a name for readers."""
    body = svg[svg.index("<svg") :]
    body = REFERENCE.sub(lambda match: f"{match.group(1)}{name}-", body)
    return Markup(body.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(shows), 1))
