"""The schedule of GenDet and its ablations, and the linear probe: methods by name.

Teacher first; then rotations of three stages of one epoch each: (a) student on reals, L_r; (b) student on augmented
fakes, alpha * L_f; (c) augmenter on fakes, L_g. Then the classifier on D. One AdamW for the student runs on through (a)
and (b): with two, Adam's scaling would cancel alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gendet_cli.model.losses import (
    HINGES,
    REDUCTIONS,
    augmenter_loss,
    classification_loss,
    student_fake_loss,
    student_real_loss,
)
from gendet_cli.model.networks import FEATURE_NORMS, Augmenter, GenDetHead, LinearHead, Structure, TeacherHead
from gendet_cli.model.training import Epoch, Fit, Run, Stage, chunks, derived_seed, seeded

MEASURED = 256
QUANTILES = (0.1, 0.5, 0.9)
CHOICES = {
    "feature_norm": FEATURE_NORMS,
    "augmenter_form": ("residual", "plain"),
    "z_form": ("tokens", "mean"),
    "pooling": ("mean", "flatten"),
    "reduction": REDUCTIONS,
    "hinge": HINGES,
    "student_start": ("random", "teacher"),
    "student_optimizers": ("one", "two"),
    "classifier_fakes": ("raw", "augmented", "both"),
    "classifier_reals": ("fitted", "held-out"),
}


@dataclass(frozen=True, slots=True)
class GenDetSettings:
    """Settings of GenDet and its ablations. What the paper gives: margin, alpha, rotations. The rest is our choice.

    Attributes:
        margin: M of L_f, in [0, 4].
        alpha: weight of L_f.
        rotations: of the three stages.
        teacher_epochs: cross-entropy epochs of the teacher.
        classifier_epochs: cross-entropy epochs of N_c.
        teacher_lr: learning rate of the teacher.
        student_lr: learning rate of the student.
        augmenter_lr_ratio: G's learning rate over the student's.
        classifier_lr: learning rate of N_c.
        weight_decay: of every AdamW.
        batch_size: rows a step.
        tokens: T, see :class:`gendet_cli.model.networks.Structure`.
        dropout: see there.
        feature_norm: see there.
        augmenter_form: see there.
        z_form: see there.
        pooling: see there.
        reduction: over the elements of z in L_r and L_g, ``mean`` or ``sum``.
        hinge: L_f's, per ``sample`` or of the ``batch``.
        student_start: ``random``, or a copy of the trained ``teacher`` (which has no gradient in L_f).
        student_optimizers: ``one`` that runs on through both stages, or ``two`` (Adam's scaling then cancels alpha).
        classifier_fakes: N_c's fakes: features as they are (``raw``), through G (``augmented``), or ``both``.
        classifier_reals: N_c's reals: those the student was ``fitted`` on, or a ``held-out`` share of pictures.
        held_out_share: that share, in (0, 1).
    """

    margin: float = 2.0
    alpha: float = 0.1
    rotations: int = 10
    teacher_epochs: int = 3
    classifier_epochs: int = 3
    teacher_lr: float = 1e-4
    student_lr: float = 1e-4
    augmenter_lr_ratio: float = 1.0
    classifier_lr: float = 1e-3
    weight_decay: float = 0.01
    batch_size: int = 128
    tokens: int = 4
    dropout: float = 0.0
    feature_norm: str = "unit"
    augmenter_form: str = "residual"
    z_form: str = "tokens"
    pooling: str = "mean"
    reduction: str = "mean"
    hinge: str = "sample"
    student_start: str = "random"
    student_optimizers: str = "one"
    classifier_fakes: str = "raw"
    classifier_reals: str = "fitted"
    held_out_share: float = 0.4

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)!r}, not one of {', '.join(allowed)}"
            for name, allowed in CHOICES.items()
            if getattr(self, name) not in allowed
        ]
        rules = {
            "batch_size and tokens must be at least 1": min(self.batch_size, self.tokens) >= 1,
            "rotations and epochs must be at least 0": min(self.rotations, self.teacher_epochs, self.classifier_epochs)
            >= 0,
            "dropout lies in [0, 1)": 0 <= self.dropout < 1,
            "margin lies in [0, 4]": 0 <= self.margin <= 4,
            "held_out_share lies in (0, 1)": 0 < self.held_out_share < 1,
        }
        problems += [rule for rule, holds in rules.items() if not holds]
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def structure(self) -> Structure:
        """The networks' part."""
        return Structure(self.tokens, self.dropout, self.feature_norm, self.augmenter_form, self.z_form, self.pooling)


@dataclass(frozen=True, slots=True)
class LinearSettings:
    """Settings of the linear probe.

    Attributes:
        c: inverse regularisation strength, as in scikit-learn's LogisticRegression.
        weights: file of a published linear layer, as UnivFD's ``fc_weights.pth``; then nothing is fitted, and features
            are read as they are, not at unit length.
        weights_sha256: what that file must hash to; empty: not checked.
    """

    c: float = 1.0
    weights: str = ""
    weights_sha256: str = ""


def build_gendet(settings: GenDetSettings, dimension: int) -> nn.Module:
    """Teacher, student and classifier, untrained."""
    return GenDetHead(dimension, settings.structure)


def build_teacher(settings: GenDetSettings, dimension: int) -> nn.Module:
    """The teacher with its own head, untrained."""
    return TeacherHead(dimension, settings.structure)


def build_linear(settings: LinearSettings, dimension: int) -> nn.Module:
    """A linear layer, untrained."""
    return LinearHead(dimension, "none" if settings.weights else "unit")


def _adamw(module: nn.Module, lr: float, settings: GenDetSettings) -> torch.optim.AdamW:
    return torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=settings.weight_decay)


def fit_teacher(fit: Fit) -> None:
    """The ablation ``teacher``: cross-entropy, nothing else."""
    head: Any = fit.head
    head.normalise.fit(chunks(fit.x))
    optimizer = _adamw(head, fit.settings.teacher_lr, fit.settings)
    run = Run(fit, {"head": head}, {"teacher": optimizer}, fit.settings.batch_size)
    rows = torch.arange(len(fit.is_fake))
    stage = Stage(
        "teacher", rows, lambda x, y, w: classification_loss(head(x)[1], y, w), optimizer, head, balanced=True
    )
    run.execute([stage] * fit.settings.teacher_epochs)


def fit_gendet(fit: Fit) -> None:
    """GenDet, all stages."""
    _fit_discrepancy(fit, use_fakes=True, use_augmenter=True)


def fit_ts_ad(fit: Fit) -> None:
    """The ablation ``ts-ad``: the student sees reals only."""
    _fit_discrepancy(fit, use_fakes=False, use_augmenter=False)


def fit_ts_ad_fake(fit: Fit) -> None:
    """The ablation ``ts-ad-fake``: adds L_f on the fakes as they are, no augmenter."""
    _fit_discrepancy(fit, use_fakes=True, use_augmenter=False)


def _fit_discrepancy(fit: Fit, *, use_fakes: bool, use_augmenter: bool) -> None:
    s, head = fit.settings, fit.head
    dimension = fit.x.shape[1]
    teacher: Any = seeded(lambda: build_teacher(s, dimension), fit.seed, "teacher")
    teacher.teacher = head.teacher  # the body that inference keeps; the pooled head is dropped afterwards
    head.normalise.fit(chunks(fit.x))  # type: ignore[operator,union-attr]
    teacher.normalise = head.normalise
    augmenter = seeded(lambda: Augmenter(dimension, s.structure), fit.seed, "augmenter")
    networks = {"head": head, "pooled": teacher.pooled, "augmenter": augmenter}
    optimizers = {
        "teacher": _adamw(teacher, s.teacher_lr, s),
        "student": _adamw(head.student, s.student_lr, s),  # type: ignore[arg-type]
        "augmenter": _adamw(augmenter, s.student_lr * s.augmenter_lr_ratio, s),
        "classifier": _adamw(head.classifier, s.classifier_lr, s),  # type: ignore[arg-type]
    }
    if s.student_optimizers == "two":
        optimizers["student-fake"] = _adamw(head.student, s.student_lr, s)  # type: ignore[arg-type]
    stages = GenDetStages(fit, teacher, augmenter, optimizers)
    rotation = [stages.student_real]
    rotation += [stages.student_fake] if use_fakes else []
    rotation += [stages.augment] if use_augmenter else []
    plan = [stages.teach] * s.teacher_epochs + rotation * s.rotations + [stages.classify] * s.classifier_epochs
    Run(fit, networks, optimizers, s.batch_size, stages.measure).execute(plan)


class GenDetStages:
    """The five stages over one set of networks; each names its rows, its loss, its optimizer and what it moves."""

    def __init__(
        self, fit: Fit, teacher: nn.Module, augmenter: nn.Module, optimizers: dict[str, torch.optim.AdamW]
    ) -> None:
        head: Any = fit.head
        self._head, self._augmenter, self._settings, self._device = head, augmenter, fit.settings, fit.speed.device
        rows = torch.arange(len(fit.is_fake))
        reals, fakes = rows[fit.is_fake == 0], rows[fit.is_fake == 1]
        kept, shown = _reals_of(fit, reals)
        student = optimizers["student"]
        start = self._copy_teacher if fit.settings.student_start == "teacher" else None
        self.teach = Stage(
            "teacher",
            rows,
            lambda x, y, w: classification_loss(teacher(x)[1], y, w),
            optimizers["teacher"],
            teacher,
            balanced=True,
        )
        self.student_real = Stage("student-real", kept, self._real_loss, student, head.student, start)
        self.student_fake = Stage(
            "student-fake", fakes, self._fake_loss, optimizers.get("student-fake", student), head.student
        )
        self.augment = Stage("augmenter", fakes, self._augment_loss, optimizers["augmenter"], augmenter)
        seen = torch.cat([shown, fakes]).sort().values
        self.classify = Stage(
            "classifier", seen, self._classify_loss, optimizers["classifier"], head.classifier, balanced=True
        )
        self._shown = {name: fit.x[_spread(part)] for name, part in (("real", reals), ("fake", fakes)) if len(part)}

    def measure(self) -> dict[str, float]:
        """For the log: quantiles of the mean discrepancy of some reals and fakes, and how far G moves the fakes.

        An adversary that is in effect off leaves ``augmenter_step`` (mean of ||G(x) - x|| / ||x||) at 0; one that has
        run away leaves it far above 1.
        """
        measures = {}
        for name, rows in self._shown.items():
            x = self._head.normalise(rows.to(self._device))
            d = self._head.discrepancy(x).mean(dim=(1, 2))  # (n,)
            for quantile in QUANTILES:
                measures[f"d_{name}_p{round(100 * quantile)}"] = float(d.quantile(quantile))
            if name == "fake":
                step = (self._augmenter(x) - x).norm(dim=1) / x.norm(dim=1)  # (n,)
                measures["augmenter_step"] = float(step.mean())
        return measures

    def _copy_teacher(self) -> None:
        self._head.student.load_state_dict(self._head.teacher.state_dict())

    def _real_loss(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        x = self._head.normalise(x)
        return student_real_loss(self._head.teacher(x), self._head.student(x), self._settings.reduction, w)

    def _fake_loss(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        s = self._settings
        x = self._augmenter(self._head.normalise(x))
        loss = student_fake_loss(self._head.teacher(x), self._head.student(x), s.margin, s.hinge, w)
        weighted: Tensor = s.alpha * loss
        return weighted

    def _augment_loss(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        x = self._augmenter(self._head.normalise(x))
        return augmenter_loss(self._head.teacher(x), self._head.student(x), self._settings.reduction, w)

    def _classify_loss(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        x, fakes = self._head.normalise(x), self._settings.classifier_fakes
        if fakes != "raw":
            real, fake = y == 0, y == 1
            parts = [x[real], self._augmenter(x[fake])] + ([x[fake]] if fakes == "both" else [])
            copies = len(parts) - 1  # of each fake, which share its weight
            x = torch.cat(parts)
            y = torch.cat([y[real], *[y[fake]] * copies])
            w = torch.cat([w[real], *[w[fake] / copies] * copies])
        return classification_loss(self._head.classifier(self._head.discrepancy(x)), y, w)


def _spread(rows: Tensor) -> Tensor:
    """At most :data:`MEASURED` of ``rows``, evenly."""
    return rows[torch.linspace(0, len(rows) - 1, min(MEASURED, len(rows))).long()]


def _reals_of(fit: Fit, reals: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of reals for the student and for N_c: the same, or apart by whole pictures, drawn from the seed."""
    if fit.settings.classifier_reals == "fitted":
        return reals, reals
    pictures = torch.unique(fit.picture[reals])
    order = torch.randperm(
        len(pictures), generator=torch.Generator().manual_seed(derived_seed(fit.seed, "held-out reals"))
    )
    shown = torch.isin(fit.picture[reals], pictures[order[: round(fit.settings.held_out_share * len(pictures))]])
    return reals[~shown], reals[shown]


def fit_linear(fit: Fit) -> None:
    """``univfd-linear``: scikit-learn's logistic regression on unit-length features, classes balanced."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    x = torch.cat([nn.functional.normalize(chunk, dim=1) for chunk in chunks(fit.x)]).numpy()
    probe = LogisticRegression(C=fit.settings.c, class_weight="balanced", max_iter=5000, random_state=fit.seed)
    with threadpool_limits(1):  # the order of additions does not depend on the machine's cores
        probe.fit(x, fit.is_fake.numpy())
    head: Any = fit.head
    with torch.no_grad():
        head.linear.weight.copy_(torch.from_numpy(probe.coef_))
        head.linear.bias.copy_(torch.from_numpy(probe.intercept_))
    fit.progress(Epoch("logistic regression", 1, 1, float("nan"), {}))
