"""causal_lsh: hashed attention in which nothing depends on the future, on padding or on length.

In each round a query attends to the last `window` tokens before it that share its bucket and its document; the
rounds' sets are joined as a multiset under one softmax; a token with nothing to attend to returns its own value. Inside
a bucket the sorted order is the order of time, so the parallel form here and a token-by-token decode see the same sets.

Legend: B samples, H heads, R rounds, T tokens, d head width; N = B x H x R.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from korformer.model.attention import banded


def sort_by_bucket(buckets_BHRT: Tensor, documents_BT: Tensor, n_buckets: int) -> tuple[Tensor, Tensor]:
    """Order of the tokens by (document, bucket, time), and where each group begins.

    Returns:
        order (N, T) int64, the token at each rank, and lower (N, T) int64, the rank at which its group begins.
    """
    T = buckets_BHRT.shape[-1]
    group = (documents_BT.long()[:, None, None, :] * n_buckets + buckets_BHRT).view(-1, T)
    group, order = torch.sort(group, dim=-1, stable=True)
    rank = torch.arange(T, device=group.device)
    begins = torch.ones_like(group, dtype=torch.bool)
    begins[:, 1:] = group[:, 1:] != group[:, :-1]
    lower = torch.cummax(torch.where(begins, rank, 0), dim=-1).values
    return order, lower


def _to_ranks(x_BHTd: Tensor, order_NT: Tensor) -> Tensor:
    """Rows of (B, H, T, d) in each round's order, (N, T, d)."""
    B, H, T, d = x_BHTd.shape
    rounds = order_NT.shape[0] // (B * H)
    flat = torch.arange(B * H, device=order_NT.device).repeat_interleave(rounds)[:, None] * T + order_NT
    return x_BHTd.reshape(B * H * T, d).index_select(0, flat.view(-1)).view(-1, T, d)


def _to_times(x_NTd: Tensor, inverse_NT: Tensor) -> Tensor:
    """Rows of (N, T, d) back in the order of time."""
    N, T, d = x_NTd.shape
    flat = torch.arange(N, device=inverse_NT.device)[:, None] * T + inverse_NT
    return x_NTd.reshape(N * T, d).index_select(0, flat.view(-1)).view(N, T, d)


class _CausalLsh(torch.autograd.Function):
    """The rounds' banded attentions merged into one softmax."""

    @staticmethod
    def forward(
        ctx: Any,
        q_BHTd: Tensor,
        k_BHTd: Tensor,
        v_BHTd: Tensor,
        order_NT: Tensor,
        lower_NT: Tensor,
        chunk: int,
        window: int,
    ) -> Tensor:
        B, H, T, d = q_BHTd.shape
        rounds = order_NT.shape[0] // (B * H)
        inverse_NT = torch.empty_like(order_NT).scatter_(
            1, order_NT, torch.arange(T, device=order_NT.device).expand_as(order_NT)
        )
        queries, keys, values = (_to_ranks(x, order_NT) for x in (q_BHTd, k_BHTd, v_BHTd))
        out_NTd, lse_NT = banded.forward(queries, keys, values, lower_NT, chunk, window)
        if rounds == 1:
            merged = _to_times(out_NTd, inverse_NT).view(B, H, T, d)
            total = lse_NT.gather(1, inverse_NT).view(B, H, T)
        else:
            lse = lse_NT.gather(1, inverse_NT).view(B, H, rounds, T)
            total = torch.logsumexp(lse, dim=2)
            share = torch.softmax(lse, dim=2)[..., None]
            merged = (_to_times(out_NTd, inverse_NT).view(B, H, rounds, T, d) * share).sum(dim=2)
        ctx.save_for_backward(q_BHTd, k_BHTd, v_BHTd, merged, total, order_NT, inverse_NT, lower_NT)
        ctx.chunk, ctx.window = chunk, window
        return merged

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, merged, total, order, inverse, lower = ctx.saved_tensors
        B, H, T, d = q.shape
        grad, queries, keys, values, out = (_to_ranks(x, order) for x in (grads[0], q, k, v, merged))
        lse = _to_ranks(total[..., None], order).squeeze(-1)
        in_rounds = banded.backward(grad, queries, keys, values, out, lse, lower, ctx.chunk, ctx.window)
        dq, dk, dv = (_to_times(g, inverse).view(B, H, -1, T, d).sum(dim=2) for g in in_rounds)
        return dq, dk, dv, None, None, None, None


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
    """Attention output (B, H, T, d); gradients flow to queries, keys and values.

    Args:
        q_BHTd, k_BHTd, v_BHTd: queries, unit-length keys and values; floating point, T a multiple of `chunk`.
        buckets_BHRT: integer bucket of each token in each round.
        documents_BT: integer document of each token, not falling along a row except for padding of -1.
        n_buckets: buckets are in [0, n_buckets).
        chunk: tokens in a chunk.
        window: earlier tokens of its bucket that a query sees in a round, at most `chunk`.
    """
    order, lower = sort_by_bucket(buckets_BHRT, documents_BT, n_buckets)
    out: Tensor = _CausalLsh.apply(q_BHTd, k_BHTd, v_BHTd, order, lower, chunk, window)  # type: ignore[no-untyped-call]
    return out


class _Local(torch.autograd.Function):
    """Banded attention in the order of time."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, lower_NT: Tensor, window: int) -> Tensor:
        B, H, T, d = q.shape
        q, k, v = (x.reshape(B * H, T, d) for x in (q, k, v))
        out, lse = banded.forward(q, k, v, lower_NT, window, window)
        ctx.save_for_backward(q, k, v, out, lse, lower_NT)
        ctx.window = window
        return out.view(B, H, T, d)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse, lower = ctx.saved_tensors
        shape = grads[0].shape
        gradients = banded.backward(
            grads[0].reshape_as(q).contiguous(), q, k, v, out, lse, lower, ctx.window, ctx.window
        )
        dq, dk, dv = (g.view(shape) for g in gradients)
        return dq, dk, dv, None, None


def local(q_BHTd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor, documents_BT: Tensor, *, window: int) -> Tensor:
    """Attention to the last `window` tokens before each one in its document, (B, H, T, d); T a multiple of `window`.

    A token with nothing before it returns its own value.
    """
    B, H, T, _ = q_BHTd.shape
    begins = torch.ones_like(documents_BT, dtype=torch.bool)
    begins[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    rank = torch.arange(T, device=documents_BT.device)
    lower_BT = torch.cummax(torch.where(begins, rank, 0), dim=-1).values
    lower_NT = lower_BT[:, None, :].expand(B, H, T).reshape(B * H, T)
    out: Tensor = _Local.apply(q_BHTd, k_BHTd, v_BHTd, lower_NT, window)  # type: ignore[no-untyped-call]
    return out
