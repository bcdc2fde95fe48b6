"""Attention whose result hangs on a query's own keys alone, to the last bit.

A row of scores may stand in any block: among other queries, and with keys in it that the row must not see, before,
between and behind its own. Whoever reads a text at once, in pieces or token by token then computes the same numbers,
and a hash, which turns on the last bit where two buckets tie, falls the same way. Three things make it so. Scores and
sums over the keys are matrix products, which add up key after key, and a key of weight zero changes no sum. The sum of
the weights is such a product too. And every other operation works on single numbers.

Whether a product adds up in order is the library's affair: oneDNN does (see `korformer.model.products`), for sums of
up to `TERMS` terms whatever the rest of the shape is. Elsewhere results agree to rounding.

Legend: Q queries, K keys, d head width, R sets of keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEVER = -1e9
"""Added to the score of what must not be seen. Finite: a row of nothing else stays a row of numbers."""

TERMS = 1024
"""Terms that one product may sum up; longer sums are made of several."""

SMALL = 4096
"""Multiplications up to which torch does not ask oneDNN for a product."""

_LEAST = -80.0
"""Scores this far below the highest of their row weigh nothing: exp stays clear of what fp32 cannot hold. Nothing is
zero: a sum that begins with a tiny number rounds otherwise where the next product lies halfway between two numbers."""
_NOTHING = 2 * math.exp(_LEAST)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Output (..., Q, d) and log-sum-exp of the scores (..., Q) in at least fp32, without a graph.

    Args:
        q: (..., Q, d) queries.
        k, v: (..., K, d) keys and values.
        bias: (..., Q, K) or what broadcasts to it, added to the scores; no row may be -inf throughout.
    """
    high = torch.promote_types(q.dtype, torch.float32)
    scale = q.shape[-1] ** -0.5
    scores = _product(q * scale, k.mT) if q.dtype == high else (q @ k.mT).to(high).mul_(scale)
    scores.add_(bias)
    highest = scores.amax(dim=-1, keepdim=True)
    weights = torch.threshold_(scores.sub_(highest).clamp_(min=_LEAST).exp_(), _NOTHING, 0.0)
    if q.dtype == high:
        total = _sum(weights)
        out = _product(weights, v).div_(total)
    else:  # no order to keep, and autocast would round the sum
        total = weights.sum(dim=-1, keepdim=True)
        out = weights.div_(total).to(q.dtype) @ v
    return out, total.log_().add_(highest)[..., 0]


def _sum(x: Tensor) -> Tensor:
    """Sum over the last axis, one number added after another, (..., 1)."""
    # A product with a single column, or a small one, would be another routine, with another order.
    columns = max(2, SMALL // (x.numel() or 1) + 1)
    total: Tensor = x @ _ones(x.shape[-1], columns, x.dtype, x.device)
    return total[..., :1]


@lru_cache(maxsize=64)
def _ones(terms: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.ones(terms, columns, dtype=dtype, device=device)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """A @ b, with the rows of `a` several times where a product is so small that another routine would do it."""
    times = SMALL // (a.numel() * b.shape[-1] or 1) + 1
    repeated = a if times == 1 else a.expand(times, *a.shape).movedim(0, -3).flatten(-3, -2)
    product: Tensor = repeated @ b
    return product[..., : a.shape[-2], :]


_whole: ContextVar[bool] = ContextVar("whole sums", default=False)


@contextmanager
def whole_sums() -> Iterator[None]:
    """Within it `linear` adds up as it does with a graph: for a forward pass that is done again with one."""
    before = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(before)


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """What the layer makes of (..., N): in sums of at most `TERMS` terms where no graph is wanted and those can have an
    order, which is on a CPU and in the precision of the weights.
    """
    N = layer.in_features
    without_order = x.device.type != "cpu" or torch.is_autocast_enabled("cpu")
    if N <= TERMS or without_order or torch.is_grad_enabled() or _whole.get():
        y: Tensor = layer(x)
        return y
    y = F.linear(x[..., :TERMS], layer.weight[:, :TERMS])
    for first in range(TERMS, N, TERMS):
        block = slice(first, first + TERMS)
        y += F.linear(x[..., block], layer.weight[:, block])
    return y if layer.bias is None else y.add_(layer.bias)


def merge(outs: Sequence[Tensor], lses: Sequence[Tensor]) -> Tensor:
    """One softmax over several sets of keys: outputs (..., d) and log-sum-exps (...) of R sets to (..., d).

    A key that stands in two sets counts twice.
    """
    highest = lses[0]
    for lse in lses[1:]:
        highest = torch.maximum(highest, lse)
    parts = [(lse - highest).clamp_(min=_LEAST).exp_() for lse in lses]
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    shares = [torch.threshold_(part.div_(total), _NOTHING, 0.0)[..., None].to(outs[0].dtype) for part in parts]
    merged: Tensor = outs[0] * shares[0]
    for out, share in zip(outs[1:], shares[1:], strict=True):
        merged += out * share
    return merged


def weigh_once(q: Tensor, k: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The first half of `attend` for one query a head, in few operations.

    Args:
        q: (H, d) queries.
        k: (H, R, K, d) keys in R sets.
        bias: what broadcasts to (H, R, K), added to the scores, or None.

    Returns:
        weights (H, R, K), not yet divided by their sums; these sums, (H, R, 1); and the log-sum-exps, (H, R, 1).
    """
    H, R, K, d = k.shape
    scores = _product((q * d**-0.5)[:, None], k.view(H, R * K, d).mT).view(H, R, K)
    if bias is not None:
        scores.add_(bias)
    highest = scores.amax(dim=-1, keepdim=True)
    weights = torch.threshold_(scores.sub_(highest).clamp_(min=_LEAST).exp_(), _NOTHING, 0.0)
    total = _sum(weights)
    return weights, total, total.log().add_(highest)


def merge_once(out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
    """`merge` of outputs (H, R, d) with log-sum-exps (H, R, 1) to (H, d); and the shares of the sets, (H, R, 1)."""
    parts = (lse - lse.amax(dim=1, keepdim=True)).clamp_(min=_LEAST).exp_()
    total, *others = parts.unbind(1)
    for part in others:
        total = total + part
    shares = parts.div_(total[:, None])
    merged, *others = (out * shares).unbind(1)
    for other in others:
        merged = merged + other
    return merged, shares
