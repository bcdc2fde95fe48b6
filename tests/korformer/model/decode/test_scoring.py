import pytest
import torch
from model_variants import CHUNKED, VARIANTS, VOCABULARY, make

from korformer.errors import UsageError
from korformer.model.decode import StepwiseModel


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two rows: documents of 20 and 12 tokens, and one of 25 with padding."""
    generator = torch.Generator().manual_seed(0)
    tokens, targets = (torch.randint(5, VOCABULARY, (2, 32), generator=generator) for _ in range(2))
    documents = torch.tensor([[0] * 20 + [1] * 12, [0] * 25 + [-1] * 7])
    positions = torch.tensor([[*range(20), *range(12)], [*range(25), *[0] * 7]])
    targets[documents < 0] = -100
    targets[0, :5] = -100
    return tokens, documents, positions, targets


@pytest.mark.parametrize("variant", VARIANTS)
def test_in_full_precision_the_losses_are_those_of_the_parallel_reading(variant: str) -> None:
    model = make(variant)
    tokens, documents, positions, targets = batch()
    with torch.no_grad():
        expected = model.token_losses(model(tokens, documents_BT=documents, positions_BT=positions), targets)
        stepwise = StepwiseModel(model, "fp32")
        losses = stepwise.token_losses(stepwise(tokens, documents_BT=documents, positions_BT=positions), targets)
    assert torch.allclose(losses, expected, atol=2e-5)
    assert (losses[targets == -100] == 0).all()


@pytest.mark.parametrize("variant", CHUNKED)
def test_every_decode_is_causal(variant: str) -> None:
    model = make(variant)
    assert not model.strictly_causal
    stepwise = StepwiseModel(model, "fp32")
    assert stepwise.strictly_causal
    tokens, documents, positions, _ = batch()
    hidden = stepwise(tokens, documents_BT=documents, positions_BT=positions)
    tokens[0, 15:] = 5
    changed = stepwise(tokens, documents_BT=documents, positions_BT=positions)
    assert torch.equal(changed[0, :15], hidden[0, :15])
    assert not torch.equal(changed[0, 15:20], hidden[0, 15:20])


def test_an_encoder_is_refused() -> None:
    with pytest.raises(UsageError, match="encoder"):
        StepwiseModel(make("encoder, local"), "fp32")
