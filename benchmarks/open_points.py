"""What each open point of the paper does: whole sources held out inside split train of the gendet open set.

    GENDET_DATA=DIR python benchmarks/open_points.py runs/features ["METHOD[,SETTING=VALUE...]" ...]

Three folds over whole sources, two degraded copies, seed 0; fake against real + art, scores of N_c and of the mean
discrepancy alone; the median discrepancy of reals the student was fitted on, of unseen reals and of unseen fakes.
Without names every setting is tried alone against the default. Prints Markdown, a line a setting. Split dev is not
looked at.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from gendet_cli.data.folds import whole_group_folds
from gendet_cli.data.layouts import Places, read_layout
from gendet_cli.data.store import Features
from gendet_cli.detector.backbones import open_backbone
from gendet_cli.detector.detector import outputs_of
from gendet_cli.evaluation.metrics import auc, tpr_at_fpr
from gendet_cli.features import features_of
from gendet_cli.plugin.registry import Registry
from gendet_cli.plugin.specs import Runtime
from gendet_cli.train import Fitter, resolve_settings

FOLDS, COPIES = 3, 2
ALONE = [
    "univfd-linear",
    "teacher",
    "ts-ad",
    "ts-ad-fake",
    "gendet",
    "gendet,feature_norm=standard",
    "gendet,dropout=0.2",
    "gendet,weight_decay=0.3",
    "gendet,teacher_epochs=10",
    "gendet,rotations=1",
    "gendet,rotations=3",
    "gendet,rotations=30",
    "gendet,student_lr=1e-5",
    "gendet,student_lr=3e-5",
    "gendet,student_lr=3e-4",
    "gendet,tokens=1",
    "gendet,tokens=8",
    "gendet,z_form=mean",
    "gendet,pooling=flatten",
    "gendet,reduction=sum",
    "gendet,margin=4",
    "gendet,alpha=1",
    "gendet,alpha=10",
    "gendet,student_start=teacher",
    "gendet,student_optimizers=two",
    "gendet,augmenter_lr_ratio=0.1",
    "gendet,augmenter_lr_ratio=10",
    "gendet,classifier_fakes=both",
    "gendet,classifier_fakes=augmented",
    "gendet,classifier_reals=held-out",
    "gendet,classifier_epochs=10",
    "gendet,classifier_lr=1e-4",
]


def held_out(name: str, copies: list[Features], fold: np.ndarray, registry: Registry) -> tuple[np.ndarray, ...]:
    """Logit and mean D (N,) of pictures of unseen sources, and the median D of fitted reals (folds,)."""
    method, *pairs = name.split(",")
    spec = registry.method(method)
    settings = resolve_settings(spec, dict(pair.split("=") for pair in pairs))
    first = copies[0]
    logit, mean_d, fitted = np.empty(len(fold)), np.empty(len(fold)), []
    for number in range(FOLDS):
        unseen = fold == number
        kept = [copy.take(~np.isin(copy.sha256, first.sha256[unseen])) for copy in copies]
        with tempfile.TemporaryDirectory() as work:
            head = Fitter(spec, settings, 0, Path(work), lambda *_: None).fit("fold", kept)
        d, y = outputs_of(head, first.x)
        logit[unseen], mean_d[unseen] = y[unseen], d[unseen]
        fitted.append(np.median(d[~unseen & ~first.is_fake]))
    return logit, mean_d, np.array(fitted)


def line(name: str, logit: np.ndarray, mean_d: np.ndarray, fitted: np.ndarray, fake: np.ndarray) -> str:
    """One line of the table."""
    cells = [name, f"{auc(logit[~fake], logit[fake]):.3f}"]
    cells += [f"{tpr_at_fpr(logit[~fake], logit[fake], fpr):.3f}" for fpr in (0.01, 0.05)]
    if mean_d.any():
        cells += [f"{auc(mean_d[~fake], mean_d[fake]):.3f}", f"{tpr_at_fpr(mean_d[~fake], mean_d[fake], 0.05):.3f}"]
        cells += [f"{value:.2f}" for value in (fitted.mean(), np.median(mean_d[~fake]), np.median(mean_d[fake]))]
    return "| " + " | ".join(cells + [""] * (9 - len(cells))) + " |"


def main(store: Path, names: list[str]) -> None:
    """Print the table."""
    registry = Registry()
    backbone = open_backbone("clip", Runtime("onnx", "cpu"), registry)
    records = read_layout("open-set", Places(Path(os.environ["GENDET_DATA"])), "train")
    copies = [
        features_of(records, backbone, f"training:{copy}", store, workers=1, progress=lambda *_: None, skipped=print)
        for copy in range(COPIES)
    ]
    first = copies[0]
    fold = whole_group_folds(first.label, first.group, FOLDS, print)
    print("| setting | AUC | TPR at 1% | TPR at 5% | AUC, mean D | TPR at 5%, mean D | D fitted | D real | D fake |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in names:
        print(line(name, *held_out(name, copies, fold, registry), first.is_fake), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ALONE)
