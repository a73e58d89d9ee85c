"""The networks: their shapes, the paper's structure, the scale of a feature, and the augmenter's start."""

import pytest
import torch
from torch import nn

from gendet_cli.model.networks import (
    Augmenter,
    Classifier,
    GenDetHead,
    LinearHead,
    Normalise,
    Pooled,
    Structure,
    TeacherHead,
    Tokens,
    block,
)

torch.set_num_threads(1)
N, D = 6, 16


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(1)) * 3


def filled(network: nn.Module) -> nn.Module:
    """``network`` in evaluation mode, every parameter random, so that nothing holds merely because it is zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network.eval()


def test_a_block_is_one_layer_of_width_196_with_four_heads_and_expansion_4() -> None:
    layer = block(0.0)
    assert layer.self_attn.embed_dim == 196
    assert layer.self_attn.num_heads == 4
    assert (layer.linear1.in_features, layer.linear1.out_features) == (196, 4 * 196)
    assert (layer.linear2.in_features, layer.linear2.out_features) == (4 * 196, 196)
    assert layer(torch.zeros(2, 3, 196)).shape == (2, 3, 196)


@pytest.mark.parametrize("tokens", [1, 4])
def test_teacher_and_student_turn_a_feature_into_tokens(features: torch.Tensor, tokens: int) -> None:
    body = Tokens(D, Structure(tokens=tokens))
    assert (body.embed.in_features, body.embed.out_features) == (D, tokens * 196)
    assert body(features).shape == (N, tokens, 196)


@pytest.mark.parametrize("make", [lambda: Tokens(D, Structure()), lambda: Classifier(Structure())])
def test_each_network_has_one_block(make) -> None:
    assert sum(isinstance(part, nn.TransformerEncoderLayer) for part in make().modules()) == 1


def test_pooled_is_the_mean_over_tokens_then_a_linear_layer() -> None:
    pooled, z = filled(Pooled(Structure())), torch.randn(N, 4, 196)
    by_hand = sum(z[:, t] for t in range(4)) / 4 @ pooled.linear.weight[0] + pooled.linear.bias
    assert pooled(z).shape == (N,)
    torch.testing.assert_close(pooled(z), by_hand)


def test_classifier_gives_one_logit_a_picture() -> None:
    assert Classifier(Structure())(torch.rand(N, 4, 196)).shape == (N,)


def test_unit_features_have_length_root_d_whatever_their_scale(features: torch.Tensor) -> None:
    unit = Normalise("unit", D)
    torch.testing.assert_close(unit(features).norm(dim=1), torch.full((N,), D**0.5))
    torch.testing.assert_close(unit(features * 7), unit(features))


def test_features_stay_as_they_are_without_a_norm(features: torch.Tensor) -> None:
    assert torch.equal(Normalise("none", D)(features), features)


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="'layer'"):
        Normalise("layer", D)
    with pytest.raises(ValueError, match="'layer'"):
        GenDetHead(D, Structure(feature_norm="layer"))


def test_the_augmenter_starts_as_the_identity(features: torch.Tensor) -> None:
    assert torch.equal(Augmenter(D, Structure())(features), features)


def test_the_augmenter_keeps_the_shape_and_can_leave_the_identity(features: torch.Tensor) -> None:
    augmenter = Augmenter(D, Structure())
    augmenter(features).square().sum().backward()
    assert augmenter.project.weight.grad.abs().sum() > 0
    augmented = filled(Augmenter(D, Structure()))(features)
    assert augmented.shape == (N, D)
    assert not torch.equal(augmented, features)


def test_the_head_is_the_classifier_over_the_squared_difference(features: torch.Tensor) -> None:
    head = filled(GenDetHead(D, Structure()))
    unit = Normalise("unit", D)(features)
    difference = (head.teacher(unit) - head.student(unit)) ** 2
    discrepancy, logit = head(features)
    assert difference.shape == (N, 4, 196)
    torch.testing.assert_close(discrepancy, difference.flatten(1).mean(1))
    torch.testing.assert_close(logit, head.classifier(difference))
    assert (discrepancy.shape, logit.shape) == ((N,), (N,))
    assert (discrepancy > 0).all()


def test_a_student_equal_to_its_teacher_has_no_discrepancy(features: torch.Tensor) -> None:
    head = GenDetHead(D, Structure()).eval()
    head.student.load_state_dict(head.teacher.state_dict())
    assert torch.equal(head(features)[0], torch.zeros(N))


def test_teacher_and_student_start_apart(features: torch.Tensor) -> None:
    assert (GenDetHead(D, Structure()).eval()(features)[0] > 0).all()


def test_inference_holds_neither_augmenter_nor_pooled_teacher_head() -> None:
    head = GenDetHead(D, Structure())
    assert {name.split(".")[0] for name in head.state_dict()} == {"teacher", "student", "classifier"}
    assert not any(isinstance(part, Augmenter) for part in head.modules())
    assert not any("pooled" in name or "linear.weight" in name for name in head.teacher.state_dict())


@pytest.mark.parametrize("make", [lambda: TeacherHead(D, Structure()), lambda: LinearHead(D)])
def test_heads_without_a_student_have_discrepancy_zero(features: torch.Tensor, make) -> None:
    discrepancy, logit = filled(make())(features)
    assert torch.equal(discrepancy, torch.zeros(N))
    assert logit.shape == (N,)
    assert logit.std() > 0


def test_the_linear_probe_reads_unit_length_features(features: torch.Tensor) -> None:
    probe = filled(LinearHead(D))
    by_hand = (features / features.norm(dim=1, keepdim=True)) @ probe.linear.weight[0] + probe.linear.bias
    torch.testing.assert_close(probe(features)[1], by_hand)


def test_standard_features_have_mean_0_and_deviation_1_of_the_training_set(features: torch.Tensor) -> None:
    standard = Normalise("standard", D)
    standard.fit(features.split(4))
    torch.testing.assert_close(standard(features).mean(0), torch.zeros(D), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard(features).std(0), torch.ones(D))
    again = Normalise("standard", D)
    again.load_state_dict(standard.state_dict())
    assert torch.equal(again(features), standard(features))


def test_the_mean_of_tokens_is_one_token(features: torch.Tensor) -> None:
    bodies = [filled(Tokens(D, Structure(z_form=form))) for form in ("tokens", "mean")]
    torch.testing.assert_close(bodies[1](features), bodies[0](features).mean(1, keepdim=True))
    assert GenDetHead(D, Structure(z_form="mean", pooling="flatten")).eval()(features)[1].shape == (N,)


def test_flattened_pooling_reads_every_token() -> None:
    pooled, z = filled(Pooled(Structure(pooling="flatten"))), torch.randn(N, 4, 196)
    torch.testing.assert_close(pooled(z), z.flatten(1) @ pooled.linear.weight[0] + pooled.linear.bias)


def test_a_plain_augmenter_adds_nothing(features: torch.Tensor) -> None:
    plain, residual = (filled(Augmenter(D, Structure(augmenter_form=form))) for form in ("plain", "residual"))
    torch.testing.assert_close(plain(features) + features, residual(features))
    assert not torch.equal(Augmenter(D, Structure(augmenter_form="plain"))(features), features)
