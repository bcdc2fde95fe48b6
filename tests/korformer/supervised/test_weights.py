from collections.abc import Callable

import pytest
import torch

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.heads import HeadSpec
from korformer.supervised.weights import HIGHEST_RATE, LOWEST_RATE, begin_weights, suited_learning_rate

HEADS = {"classify": HeadSpec(reads="first", outputs=3)}


def parameters(model: ReformerModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.lm.named_parameters()}


def test_the_body_is_the_bases_and_the_heads_are_drawn_by_the_seed(shaped: Callable[..., ModelConfig]) -> None:
    base = ReformerModel(shaped(), 50, HEADS)
    base.initialise(9)
    model = ReformerModel(shaped(), 50, HEADS)
    begin_weights(model, base, 1)
    one, of_base = parameters(model), parameters(base)
    for name, value in one.items():
        assert torch.equal(value, of_base[name]) != (name.startswith("heads.") and name.endswith("weight")), name
    begin_weights(model, base, 1)
    assert all(torch.equal(value, one[name]) for name, value in parameters(model).items())
    begin_weights(model, base, 2)
    other = parameters(model)
    assert {name for name in one if not torch.equal(one[name], other[name])} == {
        "heads.classify.dense.weight", "heads.classify.out.weight",
    }  # fmt: skip
    begin_weights(model, base, 2, with_heads=True)
    assert all(torch.equal(value, of_base[name]) for name, value in parameters(model).items())


def test_without_a_base_everything_is_drawn(shaped: Callable[..., ModelConfig]) -> None:
    model = ReformerModel(shaped(), 50, HEADS)
    begin_weights(model, None, 1)
    one = parameters(model)
    begin_weights(model, None, 2)
    assert not torch.equal(one["token_emb.weight"], model.lm.token_emb.weight)


@pytest.mark.parametrize(
    ("size", "dim", "frozen", "expected"),
    [
        (0.02, 16, False, LOWEST_RATE),
        (0.2, 16, False, 2e-3),
        (9.0, 16, False, HIGHEST_RATE),
        (0.2, 512, False, 1e-3),
        (0.2, 16, True, LOWEST_RATE),
    ],
)
def test_larger_weights_have_a_higher_learning_rate(
    shaped: Callable[..., ModelConfig], size: float, dim: int, frozen: bool, expected: float
) -> None:
    model = ReformerModel(shaped(dim=dim), 50)
    with torch.no_grad():
        model.lm.token_emb.weight.copy_(torch.tensor([size, -size]).repeat(25 * dim).view(50, dim))
    assert suited_learning_rate(model, frozen=frozen) == pytest.approx(expected)
