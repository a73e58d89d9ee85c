"""Plots of an evaluation, by matplotlib (the extra ``plots``): ROC, discrepancies, degradations, t-SNE; SVG and PNG."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import roc_curve

from gendet_cli.errors import SettingsError
from gendet_cli.evaluation.figures import Rows, under
from gendet_cli.evaluation.paper import published
from gendet_cli.evaluation.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

KINDS = {"real": "#0072b2", "art": "#e69f00", "seen fake": "#999999", "unseen fake": "#d55e00"}
"""What a picture is, and its colour (Okabe and Ito's, told apart by the colour-blind too)."""
BINS = 40
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # names of sets and detectors are text, never formulas
    "svg.hashsalt": "gendet",  # the same figures give the same bytes
}


def require_matplotlib() -> None:
    """Raises SettingsError where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise SettingsError("plots need matplotlib", hint="pip install 'gendet[plots]', or use --no-plots")


def draw(folder: Path, predictions: Predictions, figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Every plot these predictions have rows for, as SVG and PNG in ``folder``; gives (name, what it shows, SVG)."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        return [(name, shows, save(drawing, folder, name)) for name, shows, drawing in _drawings(predictions, figures)]


def _drawings(predictions: Predictions, figures: Mapping[str, Any]) -> Iterator[tuple[str, str, Drawing]]:
    rows, about = Rows(predictions.columns()), predictions.about
    detectors = list(about["detectors"])
    for number, identity in enumerate(detectors):
        mark = f"-{number + 1}" if len(detectors) > 1 else ""
        mine = rows.where((rows.detector == identity) & (rows.split == about["split"]))
        drawing, axes = _panels()
        _roc(axes[0], mine, about)
        yield f"roc{mark}", f"ROC of {identity}, fakes against all other pictures", drawing
        drawing, axes = _panels()
        _histograms(axes[0], mine, about, identity)
        yield f"discrepancy{mark}", f"{_axis(mine)[1]} of {identity}: real, art, seen and unseen fakes", drawing
        if predictions.vectors is not None and identity in predictions.vectors["detector"].to_pylist():
            drawing, axes = _panels(height=5)
            _tsne(axes[0], predictions, identity, figures["bootstrap"]["seed"])
            yield f"tsne{mark}", f"t-SNE of the discrepancy of {identity} (the paper's Figure 1)", drawing
    drawing, axes = _panels()
    _curves(axes[0], figures)
    yield "conditions", "AUC by condition, with 95% intervals", drawing
    if any(condition["degradation"] for condition in about["conditions"]):
        drawing, axes = _panels(height=4)
        _degradation_curves(axes[0], figures)
        yield "degradation-curves", "Accuracy at 0.5 under the degradations of Table 4, and the published one", drawing
        drawing, axes = _panels(len(detectors))
        for identity, axis in zip(detectors, axes, strict=True):
            _degradations(axis, rows.where(rows.detector == identity), about, identity)
        yield "degradations", "Real and fake under the degradations of Table 4 (the paper's Figure 3)", drawing


def _panels(count: int = 1, height: float = 3.2) -> tuple[Drawing, Any]:
    """A drawing with ``count`` axes, one below the other."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(7, height * count), layout="constrained")
    return drawing, drawing.subplots(count, squeeze=False)[:, 0]


def svg_of(drawing: Drawing) -> str:
    """The drawing as SVG text."""
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


def save(drawing: Drawing, folder: Path, name: str) -> str:
    """``name.svg`` and ``name.png`` in ``folder``; gives the SVG text."""
    svg = svg_of(drawing)
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    drawing.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
    return svg


def kinds_of(rows: Rows, detector: Mapping[str, Any]) -> Any:
    """One of :data:`KINDS` for every row; a generator is seen if the detector was trained on its pictures."""
    seen = np.isin(rows.group.astype(str), detector["training"]["groups"])
    return np.where(rows.is_fake, np.where(seen, "seen fake", "unseen fake"), rows.label.astype(str))


def _roc(axis: Axes, rows: Rows, about: Mapping[str, Any]) -> None:
    for condition in about["conditions"]:
        shown = under(rows, condition, about["split"])
        fpr, tpr, _ = roc_curve(shown.is_fake, shown.logit)
        axis.plot(fpr, tpr, label=condition["name"], linewidth=1.2)
    axis.plot([0, 1], [0, 1], color="#cccccc", linewidth=0.8)
    axis.set(xlabel="false positive rate (real and art)", ylabel="true positive rate (fakes)", aspect="equal")
    axis.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))


def _axis(rows: Rows) -> tuple[Any, str]:
    """What is drawn of every row: the discrepancy, or the logit where the method has none."""
    if np.isnan(rows.discrepancy).all():
        return rows.logit, "Logit"
    return np.log10(np.maximum(rows.discrepancy, 1e-12)), "log10 discrepancy"


def _histograms(axis: Axes, rows: Rows, about: Mapping[str, Any], identity: str) -> None:
    condition = next(c for c in about["conditions"] if c["name"] == about["headline"])
    shown = under(rows, condition, about["split"])
    values, name = _axis(shown)
    kinds = kinds_of(shown, about["detectors"][identity])
    edges = np.histogram_bin_edges(values, BINS).tolist()
    for kind, colour in KINDS.items():
        mine = values[kinds == kind]
        if len(mine):
            weights = np.full(len(mine), 1 / len(mine))
            label = f"{kind} ({len(mine)})"
            axis.hist(mine, edges, weights=weights, histtype="step", color=colour, label=label, linewidth=1.4)
    axis.set(xlabel=f"{name}, {condition['name']}", ylabel="share of pictures")
    axis.legend(frameon=False, fontsize=8)


def _curves(axis: Axes, figures: Mapping[str, Any]) -> None:
    names = list(dict.fromkeys(result["condition"] for result in figures["results"]))
    for identity in figures["detectors"]:
        found = [r["mean"]["auc"] for r in figures["results"] if r["detector"] == identity and r["mean"]]
        values = np.array([[f["value"], f["value"] - f["low"], f["high"] - f["value"]] for f in found]).clip(min=0)
        axis.errorbar(range(len(found)), values[:, 0], yerr=values[:, 1:].T, marker="o", capsize=3, label=identity)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axis.set(ylabel="AUC, mean over the sets")
    axis.legend(frameon=False, fontsize=8)


def _degradation_curves(axis: Axes, figures: Mapping[str, Any]) -> None:
    """A line for every detector and column (raw, fakes aligned, both aligned); the paper's dashed."""
    degradations = {c["name"]: c["degradation"] for c in figures["conditions"] if c["degradation"]}
    places = {name: place for place, name in enumerate(dict.fromkeys(degradations.values()))}
    lines: dict[str, dict[int, dict[str, float]]] = {}
    for result in figures["results"]:
        degradation = degradations.get(result["condition"])
        if degradation and result["mean"]:
            line = f"{result['detector']}, {result['condition'].removeprefix(f'{degradation}, ')}"
            lines.setdefault(line, {})[places[degradation]] = result["mean"]["thresholds"]["0.5"]["accuracy"]
    for line, found in lines.items():
        values = np.array([[f["value"], f["value"] - f["low"], f["high"] - f["value"]] for f in found.values()]).clip(0)
        axis.errorbar(list(found), values[:, 0], yerr=values[:, 1:].T, marker="o", capsize=3, label=line)
    for method, colour in (("GenDet", "#444444"), ("CNNDet", "#aaaaaa")):
        row = published("table4_degraded_acc")[method]
        shares = [row[name] / 100 for name in places]
        axis.plot(list(places.values()), shares, linestyle="--", color=colour, label=f"{method}, published")
    axis.set_xticks(list(places.values()), list(places))
    axis.set(ylabel="accuracy at 0.5")
    axis.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2)


def _degradations(axis: Axes, rows: Rows, about: Mapping[str, Any], identity: str) -> None:
    """Boxes from the first to the third quartile, whiskers at 5% and 95%; fakes aligned like the others."""
    shown = [c for c in about["conditions"] if c["fake"] == c["other"] and not c["name"].endswith("raw")]
    for place, condition in enumerate(shown):
        part = under(rows, condition, about["split"])
        values, name = _axis(part)
        for shift, (kind, mask) in zip(
            (-0.18, 0.18), (("real", ~part.is_fake), ("unseen fake", part.is_fake)), strict=True
        ):
            box = axis.boxplot(
                values[mask], positions=[place + shift], widths=0.3, whis=(5, 95), showfliers=False, patch_artist=True
            )
            box["boxes"][0].set(facecolor=KINDS[kind], alpha=0.6)
    axis.set_xticks(range(len(shown)), [c["degradation"] or "none" for c in shown])
    axis.set(ylabel=name, title=f"{identity}: real (left) and fake (right), both aligned")


def _tsne(axis: Axes, predictions: Predictions, identity: str, seed: int) -> None:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    table: Any = predictions.vectors
    table = table.filter(np.array(table["detector"].to_pylist()) == identity)
    column = table["discrepancy"].combine_chunks()
    vectors = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), -1)
    rows = Rows({name: table[name].to_numpy() for name in ("group", "label")})
    kinds = kinds_of(rows, predictions.about["detectors"][identity])
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    with threadpool_limits(1):  # the order of additions, and so the picture, does not depend on the machine's cores
        places = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(vectors)
    for kind, colour in KINDS.items():
        mine = places[kinds == kind]
        if len(mine):
            axis.scatter(mine[:, 0], mine[:, 1], s=6, color=colour, label=f"{kind} ({len(mine)})", alpha=0.7)
    axis.set(xticks=[], yticks=[], xlabel=f"perplexity {perplexity:g}, seed {seed}")
    axis.legend(frameon=False, fontsize=8)
