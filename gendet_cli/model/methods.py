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

from gendet_cli.model.losses import augmenter_loss, classification_loss, student_fake_loss, student_real_loss
from gendet_cli.model.networks import Augmenter, GenDetHead, LinearHead, Structure, TeacherHead
from gendet_cli.model.training import Fit, Run, Stage, seeded


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
        student_lr: learning rate of the student and of G.
        classifier_lr: learning rate of N_c.
        weight_decay: of every AdamW.
        batch_size: rows a step.
        tokens: T, see :class:`gendet_cli.model.networks.Structure`.
        dropout: see there.
        feature_norm: see there.
    """

    margin: float = 2.0
    alpha: float = 0.1
    rotations: int = 10
    teacher_epochs: int = 3
    classifier_epochs: int = 3
    teacher_lr: float = 1e-4
    student_lr: float = 1e-4
    classifier_lr: float = 1e-3
    weight_decay: float = 0.01
    batch_size: int = 128
    tokens: int = 4
    dropout: float = 0.0
    feature_norm: str = "unit"

    def __post_init__(self) -> None:
        if self.feature_norm not in ("unit", "none"):
            raise ValueError(f"feature_norm is {self.feature_norm!r}, not unit or none")
        if (
            min(self.batch_size, self.tokens) < 1
            or min(self.rotations, self.teacher_epochs, self.classifier_epochs) < 0
        ):
            raise ValueError("batch_size and tokens must be at least 1, rotations and epochs at least 0")
        if not (0 <= self.dropout < 1 and 0 <= self.margin <= 4):
            raise ValueError("dropout lies in [0, 1), margin in [0, 4]")

    @property
    def structure(self) -> Structure:
        """The networks' part."""
        return Structure(self.tokens, self.dropout, self.feature_norm)


@dataclass(frozen=True, slots=True)
class LinearSettings:
    """The linear probe: inverse regularisation strength, as in scikit-learn's LogisticRegression."""

    c: float = 1.0


def build_gendet(settings: GenDetSettings, dimension: int) -> nn.Module:
    """Teacher, student and classifier, untrained."""
    return GenDetHead(dimension, settings.structure)


def build_teacher(settings: GenDetSettings, dimension: int) -> nn.Module:
    """The teacher with its own head, untrained."""
    return TeacherHead(dimension, settings.structure)


def build_linear(settings: LinearSettings, dimension: int) -> nn.Module:
    """A linear layer, untrained."""
    return LinearHead(dimension)


def _adamw(module: nn.Module, lr: float, settings: GenDetSettings) -> torch.optim.AdamW:
    return torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=settings.weight_decay)


def fit_teacher(fit: Fit) -> None:
    """The ablation ``teacher``: cross-entropy, nothing else."""
    head: Any = fit.head
    optimizer = _adamw(head, fit.settings.teacher_lr, fit.settings)
    run = Run(fit, {"head": head}, {"teacher": optimizer}, fit.settings.batch_size)
    rows = torch.arange(len(fit.x))
    stage = Stage("teacher", rows, lambda x, y: classification_loss(head(x)[1], y), optimizer, head)
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
    augmenter = seeded(lambda: Augmenter(dimension, s.structure), fit.seed, "augmenter")
    networks = {"head": head, "pooled": teacher.pooled, "augmenter": augmenter}
    optimizers = {
        "teacher": _adamw(teacher, s.teacher_lr, s),
        "student": _adamw(head.student, s.student_lr, s),  # type: ignore[arg-type]
        "augmenter": _adamw(augmenter, s.student_lr, s),
        "classifier": _adamw(head.classifier, s.classifier_lr, s),  # type: ignore[arg-type]
    }
    stages = GenDetStages(fit, teacher, augmenter, optimizers)
    rotation = [stages.student_real]
    rotation += [stages.student_fake] if use_fakes else []
    rotation += [stages.augment] if use_augmenter else []
    plan = [stages.teach] * s.teacher_epochs + rotation * s.rotations + [stages.classify] * s.classifier_epochs
    Run(fit, networks, optimizers, s.batch_size).execute(plan)


class GenDetStages:
    """The five stages over one set of networks; each names its rows, its loss, its optimizer and what it moves."""

    def __init__(
        self, fit: Fit, teacher: nn.Module, augmenter: nn.Module, optimizers: dict[str, torch.optim.AdamW]
    ) -> None:
        head: Any = fit.head
        self._head, self._augmenter, self._settings = head, augmenter, fit.settings
        rows = torch.arange(len(fit.x))
        reals, fakes = rows[fit.is_fake == 0], rows[fit.is_fake == 1]
        self.teach = Stage(
            "teacher", rows, lambda x, y: classification_loss(teacher(x)[1], y), optimizers["teacher"], teacher
        )
        self.student_real = Stage("student-real", reals, self._real_loss, optimizers["student"], head.student)
        self.student_fake = Stage("student-fake", fakes, self._fake_loss, optimizers["student"], head.student)
        self.augment = Stage("augmenter", fakes, self._augment_loss, optimizers["augmenter"], augmenter)
        self.classify = Stage("classifier", rows, self._classify_loss, optimizers["classifier"], head.classifier)

    def _real_loss(self, x: Tensor, y: Tensor) -> Tensor:
        x = self._head.normalise(x)
        return student_real_loss(self._head.teacher(x), self._head.student(x))

    def _fake_loss(self, x: Tensor, y: Tensor) -> Tensor:
        x = self._augmenter(self._head.normalise(x))
        loss = student_fake_loss(self._head.teacher(x), self._head.student(x), self._settings.margin)
        weighted: Tensor = self._settings.alpha * loss
        return weighted

    def _augment_loss(self, x: Tensor, y: Tensor) -> Tensor:
        x = self._augmenter(self._head.normalise(x))
        return augmenter_loss(self._head.teacher(x), self._head.student(x))

    def _classify_loss(self, x: Tensor, y: Tensor) -> Tensor:
        return classification_loss(self._head.classifier(self._head.discrepancy(self._head.normalise(x))), y)


def fit_linear(fit: Fit) -> None:
    """``univfd-linear``: scikit-learn's logistic regression on unit-length features, classes balanced."""
    from sklearn.linear_model import LogisticRegression

    x = nn.functional.normalize(fit.x, dim=1).numpy()
    probe = LogisticRegression(C=fit.settings.c, class_weight="balanced", max_iter=5000, random_state=fit.seed)
    probe.fit(x, fit.is_fake.numpy())
    head: Any = fit.head
    with torch.no_grad():
        head.linear.weight.copy_(torch.from_numpy(probe.coef_))
        head.linear.bias.copy_(torch.from_numpy(probe.intercept_))
    fit.progress("logistic regression", 1, 1, float("nan"))
