"""causal_lsh: hashed attention in which nothing depends on the future, on padding or on length.

In each round a query attends to the last `window` tokens before it that share its bucket and its document; the
rounds' sets are joined as a multiset under one softmax; a token with nothing to attend to returns its own value. Inside
a bucket the sorted order is the order of time, so the parallel form here and a token-by-token decode see the same sets.

Legend: B samples, H heads, G = B x H, R rounds, N = G x R, T tokens, d head width.
"""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from korformer.model.attention import banded
from korformer.model.attention.ordered import merge
from korformer.model.attention.sorting import sort_groups


def sort_by_bucket(buckets_BHRT: Tensor, documents_BT: Tensor, n_buckets: int) -> tuple[Tensor, Tensor]:
    """Order of the tokens by (document, bucket, time), and where each group begins.

    Returns:
        order (B, H, R, T) int32, the token at each rank, and lower (B, H, R, T) int32, the rank at which its group
        begins.
    """
    T = buckets_BHRT.shape[-1]
    order, group = sort_groups(buckets_BHRT, documents_BT, n_buckets)
    rank = torch.arange(T, device=group.device, dtype=torch.int32)
    begins = torch.ones_like(group, dtype=torch.bool)
    begins[..., 1:] = group[..., 1:] != group[..., :-1]
    lower = torch.cummax(torch.where(begins, rank, 0), dim=-1).values
    return order, lower


def gather_rows(x_GTd: Tensor, order_GRT: Tensor) -> Tensor:
    """Rows of each sequence in each round's order, (G x R, T, d)."""
    G, T, d = x_GTd.shape
    first = torch.arange(0, G * T, T, device=order_GRT.device)[:, None, None]
    return x_GTd.reshape(G * T, d).index_select(0, (order_GRT + first).view(-1)).view(-1, T, d)


def _to_times(x_NTd: Tensor, inverse_GRT: Tensor) -> Tensor:
    """Rows of (G x R, T, d) back in the order of time, (G, R, T, d)."""
    N, T, d = x_NTd.shape
    first = torch.arange(0, N * T, T, device=inverse_GRT.device).view(*inverse_GRT.shape[:2], 1)
    return x_NTd.reshape(N * T, d).index_select(0, (inverse_GRT + first).view(-1)).view(*inverse_GRT.shape, d)


def _inverse(order_GRT: Tensor) -> Tensor:
    T = order_GRT.shape[-1]
    ranks = torch.arange(T, device=order_GRT.device).expand_as(order_GRT)
    return torch.empty_like(order_GRT).scatter_(2, order_GRT, ranks)


def _parts(sequences: int, device: torch.device) -> list[slice]:
    """Sequences that go through the kernel together: on a CPU one, whose chunks stay in cache; elsewhere all."""
    step = 1 if device.type == "cpu" else sequences
    return [slice(first, first + step) for first in range(0, sequences, step)]


def merged_forward(
    q_GTd: Tensor, k_GTd: Tensor, v_GTd: Tensor, order_GRT: Tensor | None, lower_GRT: Tensor, chunk: int, window: int
) -> tuple[Tensor, Tensor]:
    """One softmax over the banded attentions of all rounds: output (G, T, d) and log-sum-exp (G, T).

    Args:
        q_GTd, k_GTd, v_GTd: queries, unit-length keys and values in the order of time.
        order_GRT: token at each rank; None where every rank is its token.
        lower_GRT: rank at which each rank's group begins.
        chunk, window: as in `banded.forward`.
    """
    total_GT = q_GTd.new_empty(q_GTd.shape[:2], dtype=torch.promote_types(q_GTd.dtype, torch.float32))
    merged_GTd = torch.empty_like(q_GTd)  # with the strides of the queries: heads side by side, where they are
    for part in _parts(len(q_GTd), q_GTd.device):
        rows = [x[part] for x in (q_GTd, k_GTd, v_GTd)]
        lower_NT = lower_GRT[part].flatten(0, 1)
        if order_GRT is None:
            q, k, v = rows
            merged_GTd[part], total_GT[part] = banded.forward(q, k, v, lower_NT, chunk, window)
            continue
        order = order_GRT[part].long()
        q, k, v = (gather_rows(x, order) for x in rows)
        out_NTd, lse_NT = banded.forward(q, k, v, lower_NT, chunk, window)
        inverse = _inverse(order)
        lse_GRT = lse_NT.view_as(inverse).gather(2, inverse)
        total_GT[part] = torch.logsumexp(lse_GRT, dim=1)
        merged_GTd[part] = merge(_to_times(out_NTd, inverse).unbind(1), lse_GRT.unbind(1))
    return merged_GTd, total_GT


def merged_backward(
    grad_GTd: Tensor,
    q_GTd: Tensor,
    k_GTd: Tensor,
    v_GTd: Tensor,
    out_GTd: Tensor,
    lse_GT: Tensor,
    order_GRT: Tensor | None,
    lower_GRT: Tensor,
    chunk: int,
    window: int,
) -> list[Tensor]:
    """Gradients of queries, keys and values, each (G, T, d), summed over the rounds."""
    gradients = [torch.empty_like(q_GTd) for _ in range(3)]
    for part in _parts(len(q_GTd), q_GTd.device):
        rows = [x[part] for x in (grad_GTd, q_GTd, k_GTd, v_GTd, out_GTd)]
        lower_NT = lower_GRT[part].flatten(0, 1)
        if order_GRT is None:
            grad, q, k, v, out = rows
            in_ranks = banded.backward(grad, q, k, v, out, lse_GT[part], lower_NT, chunk, window)
            for gradient, own in zip(gradients, in_ranks, strict=True):
                gradient[part] = own
            continue
        order = order_GRT[part].long()
        lse_NT = lse_GT[part][:, None].expand_as(order).gather(2, order).flatten(0, 1)
        grad, q, k, v, out = (gather_rows(x, order) for x in rows)
        in_ranks = banded.backward(grad, q, k, v, out, lse_NT, lower_NT, chunk, window)
        inverse = _inverse(order)
        for gradient, ranked_NTd in zip(gradients, in_ranks, strict=True):
            torch.sum(_to_times(ranked_NTd, inverse), dim=1, out=gradient[part])
    return gradients


class _Merged(torch.autograd.Function):
    """The rounds' banded attentions merged into one softmax, in the precision of the queries."""

    @staticmethod
    def forward(
        ctx: Any,
        q_BHTd: Tensor,
        k_BHTd: Tensor,
        v_BHTd: Tensor,
        order_BHRT: Tensor | None,
        lower_BHRT: Tensor,
        chunk: int,
        window: int,
    ) -> Tensor:
        k, v = (x.to(q_BHTd.dtype) for x in (k_BHTd, v_BHTd))
        ctx.kernel = fused = fused_kernel(q_BHTd)
        ctx.chunk, ctx.window, ctx.dtypes = chunk, window, (q_BHTd.dtype, k_BHTd.dtype, v_BHTd.dtype)
        if fused is not None:
            out, lse = fused.forward(q_BHTd, k, v, order_BHRT, lower_BHRT, window)
            ctx.save_for_backward(q_BHTd, k, v, out, lse, order_BHRT, lower_BHRT)
            merged: Tensor = out
            return merged
        order_GRT, lower_GRT = (None if x is None else x.flatten(0, 1) for x in (order_BHRT, lower_BHRT))
        assert lower_GRT is not None
        q_GTd, k_GTd, v_GTd = (x.flatten(0, 1) for x in (q_BHTd, k, v))
        out_GTd, lse_GT = merged_forward(q_GTd, k_GTd, v_GTd, order_GRT, lower_GRT, chunk, window)
        ctx.save_for_backward(q_GTd, k_GTd, v_GTd, out_GTd, lse_GT, order_GRT, lower_GRT)
        return out_GTd.reshape(q_BHTd.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse, order, lower = ctx.saved_tensors
        grad = grads[0].to(q.dtype).reshape(q.shape)
        if ctx.kernel is not None:
            gradients = ctx.kernel.backward(grad, q, k, v, out, lse, order, lower, ctx.window)
        else:
            gradients = merged_backward(grad, q, k, v, out, lse, order, lower, ctx.chunk, ctx.window)
        dq, dk, dv = (g.view(grads[0].shape).to(dtype) for g, dtype in zip(gradients, ctx.dtypes, strict=True))
        return dq, dk, dv, None, None, None, None


def fused_kernel(q: Tensor) -> ModuleType | None:
    """The Triton kernel where it can run on what is given, else None."""
    if q.device.type != "cuda" or find_spec("triton") is None:
        return None
    from korformer.model.attention import triton_banded

    return triton_banded if triton_banded.supports(q) else None


def causal_lsh(
    q_BHTd: Tensor,
    k_BHTd: Tensor,
    v_BHTd: Tensor,
    buckets_BHRT: Tensor,
    documents_BT: Tensor,
    *,
    n_buckets: int,
    chunk: int,
    window: int,
) -> Tensor:
    """Attention output (B, H, T, d); gradients flow to queries, keys and values, the same at every run.

    Args:
        q_BHTd, k_BHTd, v_BHTd: queries, unit-length keys and values; floating point, T a multiple of `chunk`.
        buckets_BHRT: integer bucket of each token in each round.
        documents_BT: integer document of each token, not falling along a row.
        n_buckets: buckets are in [0, n_buckets).
        chunk: tokens in a chunk.
        window: earlier tokens of its bucket that a query sees in a round, at most `chunk`.
    """
    order, lower = sort_by_bucket(buckets_BHRT, documents_BT, n_buckets)
    out: Tensor = _Merged.apply(q_BHTd, k_BHTd, v_BHTd, order, lower, chunk, window)  # type: ignore[no-untyped-call]
    return out


def local(q_BHTd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor, documents_BT: Tensor, *, window: int) -> Tensor:
    """Attention to the last `window` tokens before each one in its document, (B, H, T, d); T a multiple of `window`.

    A token with nothing before it returns its own value.
    """
    B, H, T, _ = q_BHTd.shape
    begins = torch.ones_like(documents_BT, dtype=torch.bool)
    begins[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    rank = torch.arange(T, device=documents_BT.device, dtype=torch.int32)
    lower_BT = torch.cummax(torch.where(begins, rank, 0), dim=-1).values
    lower_BHRT = lower_BT[:, None, None, :].expand(B, H, 1, T)
    out: Tensor = _Merged.apply(q_BHTd, k_BHTd, v_BHTd, None, lower_BHRT, window, window)  # type: ignore[no-untyped-call]
    return out
