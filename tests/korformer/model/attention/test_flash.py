"""Exact attention with its log-sum-exp against the definition, on the CPU's kernel and on plain products."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from korformer.model.attention import flash
from korformer.model.attention.full import full
from korformer.model.products import fast_products, stays_fp32

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


@pytest.mark.parametrize("biased", [False, True])
def test_without_the_kernel_a_part_of_the_scores_at_a_time(biased: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = rows(9, 0), rows(13, 1), rows(13, 2)
    bias = torch.randn(*q.shape[:2], 9, 13, generator=torch.Generator().manual_seed(5)) if biased else None
    expected = [*flash.attend(q, k, v, bias), *flash.attend_causally(k, k, v)]
    monkeypatch.setattr(flash, "KERNEL_ON", ())
    for scores in (1, 200, 2**26):
        monkeypatch.setattr(flash, "SCORES_AT_ONCE", scores)
        found = [*flash.attend(q, k, v, bias), *flash.attend_causally(k, k, v)]
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)


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


@pytest.mark.parametrize("count", [255, 256, 257, 320, 767, 769])
def test_lengths_that_are_no_whole_blocks(count: int) -> None:
    q, k, v = (rows(count, seed).requires_grad_() for seed in range(3))
    grad = rows(count, 4)
    future = torch.full((count, count), float("-inf"), dtype=q.dtype).triu(1)
    expected, expected_lse = defined(q, k, v, future)
    gradients = torch.autograd.grad(expected, (q, k, v), grad)
    with torch.no_grad():
        out, lse = flash.attend_causally(q, k, v)
        found = flash.attend_causally_backward(grad, q, k, v, out, lse)
    assert out.shape == expected.shape
    assert torch.allclose(out, expected, atol=1e-12)
    assert torch.allclose(lse.double(), expected_lse, atol=1e-12)
    for one, other in zip(found, gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
def test_documents_of_all_lengths_make_few_shapes_of_products(causal: bool) -> None:
    """OneDNN keeps megabytes for every shape among the fast products: memory would grow with each new length."""
    if not stays_fp32():
        pytest.skip("products are torch's usual ones on this processor")
    seen: set[tuple[str, torch.Size]] = set()

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if "scaled_dot_product" in str(func) and torch.backends.mkldnn.matmul.fp32_precision != "none":
                seen.update((str(func), x.shape) for x in args if isinstance(x, Tensor) and x.dim() == 4)
            return func(*args, **(kwargs or {}))

    lengths = range(1, 1100, 9)
    with fast_products(), Recorder():
        for count in lengths:
            q, k, v = (torch.randn(1, 1, count, d, requires_grad=True) for _ in range(3))
            full(q, k, v, torch.zeros(1, count, dtype=torch.int64), causal=causal).sum().backward()
    assert 2 <= len(seen) < len(lengths) / 2
