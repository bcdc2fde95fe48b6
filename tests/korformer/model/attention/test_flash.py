"""Exact attention with its log-sum-exp against the definition, on the CPU's kernel and on plain products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from korformer.model.attention import flash

B, H, Q, K, d = 2, 3, 7, 11, 8


def rows(count: int, seed: int) -> Tensor:
    return torch.randn(B, H, count, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def defined(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    scores = q @ k.mT / d**0.5 + bias
    return torch.softmax(scores, -1) @ v, torch.logsumexp(scores, -1)


@pytest.mark.parametrize("biased", [False, True])
def test_attention_to_all_keys(biased: bool) -> None:
    q, k, v = rows(Q, 0), rows(K, 1), rows(K, 2)
    bias = rows(Q, 3)[:1, :1, :, :1].expand(1, 1, Q, K).clone() if biased else None
    if bias is not None:
        bias[..., ::2] = -1e9
    out, lse = flash.attend(q, k, v, bias)
    expected, expected_lse = defined(q, k, v, torch.zeros(Q, K, dtype=q.dtype) if bias is None else bias)
    assert torch.allclose(out, expected, atol=1e-12)
    assert torch.allclose(lse.double(), expected_lse, atol=1e-12)


def test_attention_to_the_past() -> None:
    q, k, v = rows(Q, 0), rows(Q, 1), rows(Q, 2)
    future = torch.full((Q, Q), float("-inf"), dtype=q.dtype).triu(1)
    out, lse = flash.attend_causally(q, k, v)
    expected, expected_lse = defined(q, k, v, future)
    assert torch.allclose(out, expected, atol=1e-12)
    assert torch.allclose(lse.double(), expected_lse, atol=1e-12)


def test_without_the_kernel_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = rows(Q, 0), rows(Q, 1), rows(Q, 2)
    expected = [*flash.attend(q, k, v), *flash.attend_causally(q, k, v)]
    monkeypatch.setattr(flash, "KERNEL_ON", ())
    found = [*flash.attend(q, k, v), *flash.attend_causally(q, k, v)]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_the_halves_of_a_gradient_add_up() -> None:
    q, k, v = (rows(Q, seed).requires_grad_() for seed in range(3))
    grad = rows(Q, 4)
    future = torch.full((Q, Q), float("-inf"), dtype=q.dtype).triu(1)
    expected = torch.autograd.grad(defined(q, k, v, future)[0], (q, k, v), grad)
    with torch.no_grad():
        out, lse = flash.attend_causally(q, k, v)
        found = flash.attend_causally_backward(grad, q, k, v, out, lse)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-10)
