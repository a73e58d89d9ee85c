"""The losses against numbers computed by hand or, apart from torch, with numpy."""

import math

import numpy as np
import pytest
import torch

from gendet_cli.model.losses import augmenter_loss, classification_loss, student_fake_loss, student_real_loss

torch.set_num_threads(1)


def tokens(*rows: list[float]) -> torch.Tensor:
    """Rows of four numbers as z (B, 2, 2)."""
    return torch.tensor(rows).view(len(rows), 2, 2)


EAST, NORTH, WEST = [1.0, 0, 0, 0], [0, 1.0, 0, 0], [-1.0, 0, 0, 0]


@pytest.mark.parametrize("loss", [student_real_loss, augmenter_loss])
def test_squared_difference_by_hand(loss) -> None:
    teacher, student = tokens([1.0, 2, 3, 4], [0.0, 0, 0, 0]), tokens([1.0, 0, 3, 1], [1.0, 1, 1, 1])
    assert loss(teacher, student).item() == pytest.approx((0 + 4 + 0 + 9 + 1 + 1 + 1 + 1) / 8)
    assert loss(teacher, teacher).item() == 0


@pytest.mark.parametrize("loss", [student_real_loss, augmenter_loss])
def test_squared_difference_against_numpy(loss) -> None:
    generator = np.random.default_rng(3)
    teacher, student = generator.normal(size=(2, 5, 4, 196))
    expected = np.mean((teacher - student) ** 2)
    assert loss(torch.from_numpy(teacher), torch.from_numpy(student)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("student", "margin", "expected"),
    [
        (EAST, 2.0, 2.0),  # identical: distance 0, loss M
        (EAST, 4.0, 4.0),
        (NORTH, 2.0, 0.0),  # orthogonal: distance 2, on the boundary of M = 2
        (NORTH, 1.0, 0.0),
        (NORTH, 4.0, 2.0),
        (WEST, 2.0, 0.0),  # opposite: distance 4
        (WEST, 4.0, 0.0),  # the boundary of M = 4
        ([math.cos(math.pi / 3), math.sin(math.pi / 3), 0, 0], 2.0, 1.0),  # 60 degrees: distance 2 - 2 cos = 1
    ],
)
def test_margin(student: list[float], margin: float, expected: float) -> None:
    assert student_fake_loss(tokens(EAST), tokens(student), margin).item() == pytest.approx(expected, abs=1e-6)


def test_hinge_is_per_sample_and_not_of_the_mean() -> None:
    loss = student_fake_loss(tokens(EAST, EAST), tokens(EAST, WEST), 2.0)  # distances 0 and 4, their mean is 2
    assert loss.item() == pytest.approx((2 + 0) / 2)


def test_a_sample_beyond_the_margin_has_no_gradient() -> None:
    student = tokens([0.8, 0.6, 0, 0], [-0.8, 0.6, 0, 0]).requires_grad_()
    student_fake_loss(tokens(EAST, EAST), student, 2.0).backward()
    assert student.grad[0].abs().sum() > 0
    assert torch.equal(student.grad[1], torch.zeros(2, 2))


def test_an_equal_student_has_no_gradient_so_its_start_must_be_its_own() -> None:
    student = tokens(EAST).requires_grad_()
    student_fake_loss(tokens(EAST), student, 2.0).backward()
    assert torch.equal(student.grad, torch.zeros(1, 2, 2))


def test_fake_loss_ignores_length_and_compares_flattened() -> None:
    generator = np.random.default_rng(4)
    teacher, student = generator.normal(size=(2, 5, 4, 196))
    flat = [z.reshape(5, -1) / np.linalg.norm(z.reshape(5, -1), axis=1, keepdims=True) for z in (teacher, student)]
    expected = np.maximum(0, 2.5 - np.sum((flat[0] - flat[1]) ** 2, axis=1)).mean()
    found = student_fake_loss(torch.from_numpy(teacher * 3), torch.from_numpy(student / 5), 2.5)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_classification_gives_each_class_half_the_weight() -> None:
    logit, fake = np.array([2.0, -1.0, 0.5, 3.0]), np.array([1.0, 0, 0, 0])
    real_loss = np.log1p(np.exp(logit[1:])).mean()
    fake_loss = np.log1p(np.exp(-2.0))
    found = classification_loss(torch.tensor(logit), torch.tensor(fake))
    assert found.item() == pytest.approx((real_loss + fake_loss) / 2, rel=1e-12)


def test_classification_of_equal_classes_is_plain_cross_entropy() -> None:
    logit, fake = torch.tensor([0.3, -2.0, 1.0, 4.0]), torch.tensor([1.0, 0, 1, 0])
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logit, fake)
    torch.testing.assert_close(classification_loss(logit, fake), plain)


@pytest.mark.parametrize("fake", [0.0, 1.0])
def test_classification_of_a_batch_of_one_class_is_its_mean(fake: float) -> None:
    logit, is_fake = torch.tensor([0.0, 1.0]), torch.full((2,), fake)
    expected = (math.log(2) + math.log1p(math.exp(1.0 if fake == 0 else -1.0))) / 2
    assert classification_loss(logit, is_fake).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", [student_real_loss, augmenter_loss])
def test_sum_is_the_mean_times_the_elements(loss) -> None:
    teacher, student = tokens([1.0, 2, 3, 4], [0.0, 0, 0, 0]), tokens([1.0, 0, 3, 1], [1.0, 1, 1, 1])
    assert loss(teacher, student, "sum").item() == pytest.approx((4 + 9 + 4) / 2)


def test_a_hinge_of_the_batch_takes_the_mean_distance() -> None:
    loss = student_fake_loss(tokens(EAST, EAST), tokens(EAST, WEST), 2.0, "batch")  # distances 0 and 4, their mean is 2
    assert loss.item() == pytest.approx(0)
    assert student_fake_loss(tokens(EAST, EAST), tokens(EAST, NORTH), 2.0, "batch").item() == pytest.approx(1)
