"""Exact attention over a document, with shared queries and keys.

A token never attends to itself unless nothing else is there, so strict causal attention is ordinary causal attention
shifted by one: out[1:] = attention(q[1:], k[:-1], v[:-1]) and out[0] = v[0]. Any flash kernel serves, without a mask.
Attention to both sides is one attention with the diagonal masked, a block of queries at a time; for long documents on
a CPU it is that to the past and, read backwards, that to the future, merged by their log-sum-exp.

Legend: B samples, H heads, T tokens, d head width, Q queries of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from korformer.model.attention.banded import SELF_BIAS
from korformer.model.attention.flash import KERNEL_ON, attend_causally, attend_causally_backward, missing_tokens

BIAS_BYTES = 2**24
"""Additive mask that exists at a time."""

_Places = tuple[slice, slice, slice]


def full(q_BHTd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor, documents_BT: Tensor, *, causal: bool = True) -> Tensor:
    """Attention to the other tokens of the same document, (B, H, T, d). A document's tokens stand side by side.

    Args:
        q_BHTd, k_BHTd, v_BHTd: queries, unit-length keys and values; floating point.
        documents_BT: integer document of each token, the same along a stretch of the row.
        causal: only tokens before each one.
    """
    changes = documents_BT[:, 1:] != documents_BT[:, :-1]
    together = [slice(None)] if bool((changes == changes[:1]).all()) else [slice(b, b + 1) for b in range(len(changes))]
    lengths_of = [torch.unique_consecutive(documents_BT[rows][0], return_counts=True)[1].tolist() for rows in together]
    if causal and q_BHTd.device.type in KERNEL_ON:
        out: Tensor = _EarlierTokens.apply(q_BHTd, k_BHTd, v_BHTd, _stretches(together, lengths_of))  # type: ignore[no-untyped-call]
        return out
    one = _earlier_tokens if causal else _other_tokens
    outs = []
    for rows, lengths in zip(together, lengths_of, strict=True):
        parts = zip(*(x[rows].split(lengths, dim=2) for x in (q_BHTd, k_BHTd, v_BHTd)), strict=True)
        outs.append(torch.cat([one(*part) for part in parts], dim=2))
    return torch.cat(outs)


@dataclass(frozen=True)
class _Stretch:
    """A document in some rows.

    Attributes:
        first: where its first token is in (B, H, T, …).
        earlier, later: all but its last and all but its first; None where it is one token long.
    """

    first: _Places
    earlier: _Places | None
    later: _Places | None


def _stretches(together: Sequence[slice], lengths_of: Sequence[Sequence[int]]) -> list[_Stretch]:
    heads, found = slice(None), []
    for rows, lengths in zip(together, lengths_of, strict=True):
        for begin, end in pairwise(accumulate(lengths, initial=0)):
            earlier, later = ((rows, heads, slice(begin + late, end - 1 + late)) for late in (0, 1))
            long = end - begin > 1
            found.append(
                _Stretch(
                    (rows, heads, slice(begin, begin + 1)),
                    earlier if long else None,
                    later if long else None,
                )
            )
    return found


class _EarlierTokens(torch.autograd.Function):
    """Attention to the earlier tokens of each document, by torch's flash kernel for CPUs.

    What is kept for the backward has the size of the whole, whatever the documents' lengths: pieces of ever new sizes
    would leave holes in the memory of a long run.
    """

    @staticmethod
    def forward(ctx: Any, q_BHTd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor, documents: list[_Stretch]) -> Tensor:
        out = torch.empty_like(v_BHTd)
        lse = q_BHTd.new_zeros(q_BHTd.shape[:3], dtype=torch.promote_types(q_BHTd.dtype, torch.float32))
        for one in documents:
            out[one.first] = v_BHTd[one.first]
            if one.earlier is not None:
                out[one.later], lse[one.later] = attend_causally(
                    q_BHTd[one.later], k_BHTd[one.earlier], v_BHTd[one.earlier]
                )
        ctx.documents = documents
        ctx.save_for_backward(q_BHTd, k_BHTd, v_BHTd, out, lse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BHTd: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))
        for one in ctx.documents:
            if one.earlier is not None:
                dq[one.later], dk[one.earlier], dv[one.earlier] = attend_causally_backward(
                    *(x[one.later] for x in (grad_BHTd, q)),
                    *(x[one.earlier] for x in (k, v)),
                    *(x[one.later] for x in (out, lse)),
                )
            dv[one.first] += grad_BHTd[one.first]
        return dq, dk, dv, None


def _earlier_tokens(q_BHTd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor) -> Tensor:
    if q_BHTd.shape[2] == 1:
        return v_BHTd
    later = F.scaled_dot_product_attention(
        *_past(q_BHTd, k_BHTd, v_BHTd), is_causal=True, scale=q_BHTd.shape[-1] ** -0.5
    )
    return torch.cat([v_BHTd[:, :, :1], later], dim=2)


def _other_tokens(q_BHTd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor) -> Tensor:
    T = q_BHTd.shape[2]
    if T == 1:
        return v_BHTd
    queries = max(1, BIAS_BYTES // (T * q_BHTd.element_size()))
    if queries >= T:
        more = missing_tokens(T) if q_BHTd.device.type in KERNEL_ON else 0
        q, k, v = (F.pad(x, (0, 0, 0, more)) if more else x for x in (q_BHTd, k_BHTd, v_BHTd))
        return _without_diagonal(q, k, v, 0, T)[:, :, :T]
    if q_BHTd.device.type in KERNEL_ON:
        out: Tensor = _PastAndFuture.apply(q_BHTd, k_BHTd, v_BHTd)  # type: ignore[no-untyped-call]
        return out
    blocks = [
        checkpoint(
            _without_diagonal, q_BHTd[:, :, first : first + queries], k_BHTd, v_BHTd, first, T, use_reentrant=False
        )
        for first in range(0, T, queries)
    ]
    return torch.cat(blocks, dim=2)


def _without_diagonal(q_BHQd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor, first: int, keys: int) -> Tensor:
    """Attention of a block of queries, of which the first has position `first`, to the first `keys`, (B, H, Q, d)."""
    bias = q_BHQd.new_zeros(q_BHQd.shape[2], k_BHTd.shape[2])
    bias[:, keys:] = -torch.inf
    bias.diagonal(offset=first).fill_(SELF_BIAS)
    return F.scaled_dot_product_attention(q_BHQd, k_BHTd, v_BHTd, attn_mask=bias, scale=q_BHQd.shape[-1] ** -0.5)


def _past(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return q[:, :, 1:], k[:, :, :-1], v[:, :, :-1]


def _flipped(*tensors: Tensor) -> list[Tensor]:
    return [x.flip(2) for x in tensors]


class _PastAndFuture(torch.autograd.Function):
    """Attention to every other token as two causal halves, by torch's flash kernel for CPUs; no mask anywhere."""

    @staticmethod
    def forward(ctx: Any, q_BHTd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor) -> Tensor:
        past, past_lse = attend_causally(*_past(q_BHTd, k_BHTd, v_BHTd))
        future, future_lse = attend_causally(*_past(*_flipped(q_BHTd, k_BHTd, v_BHTd)))
        nothing = float("-inf")
        past_lse = F.pad(past_lse, (1, 0), value=nothing)
        future_lse = F.pad(future_lse, (1, 0), value=nothing).flip(2)
        lse = torch.logaddexp(past_lse, future_lse)
        out = F.pad(past, (0, 0, 1, 0)) * (past_lse - lse).exp()[..., None].to(past.dtype)
        out += F.pad(future, (0, 0, 1, 0)).flip(2) * (future_lse - lse).exp()[..., None].to(past.dtype)
        ctx.save_for_backward(q_BHTd, k_BHTd, v_BHTd, out, lse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BHTd: Tensor) -> tuple[Tensor, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        past = _half_backward(grad_BHTd, q, k, v, out, lse)
        future = _half_backward(*_flipped(grad_BHTd, q, k, v, out, lse))
        return tuple(one + other.flip(2) for one, other in zip(past, future, strict=True))


def _half_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One half's share of the gradients; `out` and `lse` are those of both halves merged."""
    queries, keys, values = _past(q, k, v)
    dq, dk, dv = attend_causally_backward(grad[:, :, 1:], queries, keys, values, out[:, :, 1:], lse[:, :, 1:])
    return F.pad(dq, (0, 0, 1, 0)), F.pad(dk, (0, 0, 0, 1)), F.pad(dv, (0, 0, 0, 1))
