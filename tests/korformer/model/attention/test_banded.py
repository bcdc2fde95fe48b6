"""The chunk products against their definition, by torch's own differentiation."""

import torch
from torch import Tensor

from korformer.model.attention.banded import SELF_BIAS, chunk_backward
from korformer.model.attention.ordered import attend


def inputs() -> tuple[list[Tensor], Tensor]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 5, n, 8, dtype=torch.float64, requires_grad=True) for n in (4, 8, 8))
    bias = torch.zeros(3, 5, 4, 8, dtype=torch.float64)
    bias[torch.rand(bias.shape) < 0.4] = float("-inf")
    bias[..., 0] = SELF_BIAS
    bias[0, 0, 0, 1:] = float("-inf")  # a query that sees nothing but itself
    return [q, k, v], bias


def test_outputs_and_log_sum_exp() -> None:
    (q, k, v), bias = inputs()
    scores = q @ k.mT * 8**-0.5 + bias
    out, lse = attend(q.detach(), k.detach(), v.detach(), bias)
    assert torch.allclose(lse, torch.logsumexp(scores, dim=-1), atol=1e-12)
    assert torch.allclose(out, torch.softmax(scores, dim=-1) @ v, atol=1e-12)


def test_gradients_of_a_softmax_over_more_keys_than_these() -> None:
    """Two sets of keys under one softmax: each gives its share."""
    (q, k, v), bias = inputs()
    whole = torch.softmax(q @ k.mT * 8**-0.5 + bias, dim=-1) @ v
    direction = torch.randn_like(whole)
    expected = torch.autograd.grad(whole, [q, k, v], direction)
    q, k, v, out = (x.detach() for x in (q, k, v, whole))
    lse = torch.logsumexp(q @ k.mT * 8**-0.5 + bias, dim=-1)
    parts = [
        chunk_backward(direction, q, k[..., keys, :], v[..., keys, :], out, lse, bias[..., keys])
        for keys in ([0, 1, 2], [0, 3, 4, 5, 6, 7])
    ]
    # Key 0 is the query itself and in reach of both; where there is another key its share is nothing.
    lonely = bias[..., 1:].isneginf().all(dim=-1)
    grad_q = parts[0][0] + parts[1][0]
    assert torch.allclose(grad_q[~lonely], expected[0][~lonely], atol=1e-12)
    for at, whole_grad in ((1, expected[1]), (2, expected[2])):
        assert torch.allclose(parts[0][at][..., 1:, :], whole_grad[..., 1:3, :], atol=1e-12)
        assert torch.allclose(parts[1][at][..., 1:, :], whole_grad[..., 3:, :], atol=1e-12)


def test_half_precision_keeps_the_log_sum_exp_in_float32() -> None:
    (q, k, v), bias = inputs()
    out, lse = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), bias.float())
    assert out.dtype == torch.bfloat16
    assert lse.dtype == torch.float32
    assert torch.allclose(lse.double(), torch.logsumexp(q @ k.mT * 8**-0.5 + bias, dim=-1), atol=0.05)
