"""GenDet, its ablations and what it is measured against on the same stored features, as methods of ``gendet train``.

``univfd-linear`` and ``univfd-knn`` are Ojha et al. 2023 ("Towards universal fake image detectors that generalize
across generative models"): a linear layer, or nearest neighbours, on CLIP's image embedding. Their released linear
layer (``fc_weights.pth``, for ViT-L/14) is read with ``--set weights=FILE``; ``gendet train`` then only calibrates it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendet_cli.plugin import api
from gendet_cli.plugin.api import MethodSpec, WeightsError, hookimpl

if TYPE_CHECKING:
    from gendet_cli.plugin.api import Fit


def _later(name: str, module: str = "methods") -> Callable[..., Any]:
    """A function of a module of :mod:`gendet_cli.model`, imported (with torch) when it is called."""

    def call(*arguments: Any) -> Any:
        return getattr(getattr(api, module), name)(*arguments)

    return call


def _spec(name: str, summary: str, settings: str, build: str, fit: str, *, discrepancy: bool) -> MethodSpec:
    return MethodSpec(name, summary, _later(settings), _later(build), _later(fit), discrepancy)


def fit_linear(fit: Fit) -> dict[str, Any]:
    """Logistic regression, or the published layer that the settings name.

    Raises:
        WeightsError: the file is missing, of another hash, or no linear layer of this dimension.
    """
    from gendet_cli.plugin.api import finetuning, methods, pretrained

    file = fit.settings.weights
    if not file:
        methods.fit_linear(fit)
        return {}
    state, digest = pretrained.read_state(Path(file), fit.settings.weights_sha256)
    try:
        finetuning.put_weights(fit.head.linear, state)  # type: ignore[arg-type]
    except ValueError as error:
        raise WeightsError(
            f"{file}: no linear layer over {fit.x.shape[1]} features: {error}",
            hint="UnivFD's fc_weights.pth goes with --backbone clip:ViT-L-14-quickgelu/openai@native",
        ) from error
    return {"pretrained": True, "weights_sha256": digest}


@hookimpl
def gendet_methods() -> list[MethodSpec]:
    """The ladder of the paper's Tables 1 and 2, and UnivFD's linear probe and nearest neighbours."""
    ours = ("GenDetSettings", "build_gendet")
    return [
        _spec(
            "gendet", "teacher, student, augmenter, classifier: the whole method", *ours, "fit_gendet", discrepancy=True
        ),
        _spec("ts-ad", "student on reals only", *ours, "fit_ts_ad", discrepancy=True),
        _spec("ts-ad-fake", "student on reals and fakes, no augmenter", *ours, "fit_ts_ad_fake", discrepancy=True),
        _spec("teacher", "the teacher alone", "GenDetSettings", "build_teacher", "fit_teacher", discrepancy=False),
        MethodSpec(
            "univfd-linear",
            "logistic regression, or a published linear layer",
            _later("LinearSettings"),
            _later("build_linear"),
            fit_linear,
            has_discrepancy=False,
        ),
        MethodSpec(
            "univfd-knn",
            "distance to the nearest real and fake training features",
            _later("NeighbourSettings", "neighbours"),
            _later("build_neighbours", "neighbours"),
            _later("fit_neighbours", "neighbours"),
            has_discrepancy=False,
        ),
    ]
