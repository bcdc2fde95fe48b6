import pytest
import torch
import torch.nn.functional as F

from korformer.model import losses


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("chunk", [3, 1000])
def test_loss_and_gradients_equal_those_of_torch(with_bias: bool, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_chunk_tokens", lambda vocabulary: chunk)
    torch.manual_seed(0)
    hidden = torch.randn(17, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 6, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(11, dtype=torch.float64, requires_grad=True) if with_bias else None
    targets = torch.randint(0, 11, (17,))
    targets[[2, 5, 16]] = losses.IGNORED
    mean, each = losses.linear_cross_entropy(hidden, weight, bias, targets)
    logits = F.linear(hidden, weight, bias)
    expected = F.cross_entropy(logits, targets)
    assert torch.allclose(mean.double(), expected, atol=1e-6)
    assert torch.allclose(each, F.cross_entropy(logits, targets, reduction="none").float(), atol=1e-6)
    assert torch.allclose(losses.token_losses(hidden, weight, bias, targets), each, atol=1e-6)
    wanted = [hidden, weight, *([bias] if bias is not None else [])]
    ours = torch.autograd.grad(3 * mean, wanted)
    theirs = torch.autograd.grad(3 * expected, wanted)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_nothing_to_predict_is_no_loss() -> None:
    hidden = torch.randn(4, 3, requires_grad=True)
    mean, each = losses.linear_cross_entropy(hidden, torch.randn(5, 3), None, torch.full((4,), losses.IGNORED))
    mean.backward()  # type: ignore[no-untyped-call]
    assert mean.item() == 0
    assert each.eq(0).all()
    assert hidden.grad is not None
    assert hidden.grad.eq(0).all()
