"""GenDet, its ablations and the linear probe it is measured against, as methods of ``gendet train``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gendet_cli.plugin.api import MethodSpec, hookimpl


def _later(name: str) -> Callable[..., Any]:
    """A function of :mod:`gendet_cli.model.methods`, imported (with torch) when it is called."""

    def call(*arguments: Any) -> Any:
        from gendet_cli.plugin.api import methods

        return getattr(methods, name)(*arguments)

    return call


def _spec(name: str, summary: str, settings: str, build: str, fit: str, *, discrepancy: bool) -> MethodSpec:
    return MethodSpec(name, summary, _later(settings), _later(build), _later(fit), discrepancy)


@hookimpl
def gendet_methods() -> list[MethodSpec]:
    """The ladder of the paper's Tables 1 and 2, and UnivFD's linear probe."""
    ours = ("GenDetSettings", "build_gendet")
    return [
        _spec(
            "gendet", "teacher, student, augmenter, classifier: the whole method", *ours, "fit_gendet", discrepancy=True
        ),
        _spec("ts-ad", "student on reals only", *ours, "fit_ts_ad", discrepancy=True),
        _spec("ts-ad-fake", "student on reals and fakes, no augmenter", *ours, "fit_ts_ad_fake", discrepancy=True),
        _spec("teacher", "the teacher alone", "GenDetSettings", "build_teacher", "fit_teacher", discrepancy=False),
        _spec(
            "univfd-linear", "logistic regression", "LinearSettings", "build_linear", "fit_linear", discrepancy=False
        ),
    ]
