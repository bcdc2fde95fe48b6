"""Banded attention over a sorted axis: the one kernel under causal_lsh and local attention.

Legend: N independent sequences (batch x heads x rounds), T tokens, C chunks of W tokens (T = C x W), d head width.

Tokens stand in some order; a query of rank r attends to the keys of ranks [max(lower_r, r - window), r - 1],
where `lower` is the rank at which its group begins (its bucket, or its document). A query with no key in reach attends
to itself: the key of its own rank is always there with `SELF_BIAS` added to its score, which a softmax in fp32
or float64 weighs as exactly zero as soon as there is any other key. The log-sum-exp of such a row is about
SELF_BIAS, so a merge over several rounds weighs it as zero too unless all rounds are empty, and then all of
them hold the token's own value.

Scores, softmax and their gradients are plain batched products over the chunks, forward so that a row's result hangs on
its own keys alone (`ordered`). On a CPU the caller gives a head at a time, so that scores stay in the cache; then they
are faster than torch's flash kernel.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from korformer.model.attention.ordered import attend

SELF_BIAS = -1e3
"""Added to a token's score for itself: far below any real score, near enough to zero for fp32 to keep its digits."""

SCORES_AT_A_TIME = 2**20
"""Scores that a CPU works on at a time; 4 MB in fp32."""


FAR = -1e9
"""Added to a score for every rank by which its key stands before the query's group; no softmax gives it any weight."""


@lru_cache(maxsize=32)
def _band(chunk: int, window: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Bias of every (query, key) pair of a chunk by distance alone, (W, 2W): 0 inside the window, else -inf.

    And the keys' columns times -FAR, (2W,).
    """
    query = torch.arange(chunk, device=device)[:, None] + chunk
    key = torch.arange(2 * chunk, device=device)
    distance = query - key
    band = torch.full((chunk, 2 * chunk), float("-inf"), dtype=dtype, device=device)
    band.masked_fill_((distance > 0) & (distance <= window), 0.0)
    return band.masked_fill_(distance == 0, SELF_BIAS), key.to(dtype) * -FAR


def band_bias(lower_NT: Tensor, chunk: int, window: int, dtype: torch.dtype, first: int = 0) -> Tensor:
    """Additive mask of some chunks, (N, C, W, 2W).

    Args:
        lower_NT: (N, T) integer, rank at which the group of each query of these chunks begins.
        chunk: tokens in a chunk, W; divides T and is at least `window`.
        window: keys before itself that a query may see.
        dtype: of the scores, at least fp32.
        first: number of the first of the chunks.
    """
    N, T = lower_NT.shape
    C = T // chunk
    first_C = torch.arange(first - 1, first - 1 + C, device=lower_NT.device, dtype=torch.int32) * chunk
    # A key of column j in chunk c has rank first_C[c] + j; it is in the group when that is at least `lower`, when their
    # difference is not negative. Differences and minima are several times as fast as comparing and choosing. What
    # stands before the first chunk has negative ranks, so it is in no group.
    lower_column = lower_NT.view(N, C, chunk).int() - first_C[None, :, None]
    band, column = _band(chunk, window, dtype, lower_NT.device)
    bias = torch.sub(column, (lower_column.to(dtype) * -FAR)[..., None])
    return torch.minimum(bias, band, out=bias)


def _chunk_ranges(sequences: int, chunks: int, chunk: int, device: torch.device) -> list[slice]:
    """Chunks that are worked on together: as many as keep their scores in the cache; on other devices than CPUs all."""
    most = max(1, SCORES_AT_A_TIME // (sequences * 2 * chunk * chunk)) if device.type == "cpu" else chunks
    parts = -(-chunks // most)
    step = -(-chunks // parts)
    return [slice(first, min(first + step, chunks)) for first in range(0, chunks, step)]


def with_previous_chunk(x_NTd: Tensor, chunk: int, chunks: slice) -> Tensor:
    """Each of some chunks behind the one before it (zeros before the first of all), (N, C, 2W, d) of (N, T, d)."""
    N, T, d = x_NTd.shape
    all_NCWd = x_NTd.view(N, T // chunk, chunk, d)
    both = x_NTd.new_empty(N, chunks.stop - chunks.start, 2 * chunk, d)
    both[:, :, chunk:] = all_NCWd[:, chunks]
    if chunks.start:
        both[:, :, :chunk] = all_NCWd[:, chunks.start - 1 : chunks.stop - 1]
    else:
        both[:, 1:, :chunk] = all_NCWd[:, : chunks.stop - 1]
        both[:, 0, :chunk] = 0
    return both


def add_to_chunks(sums_NTd: Tensor, g_NCKd: Tensor, chunks: slice) -> None:
    """Adjoint of `with_previous_chunk`: add (N, C, 2W, d) where its rows came from in (N, T, d)."""
    N, T, d = sums_NTd.shape
    chunk = g_NCKd.shape[2] // 2
    all_NCWd = sums_NTd.view(N, T // chunk, chunk, d)
    all_NCWd[:, chunks] += g_NCKd[:, :, chunk:]
    before = slice(max(chunks.start - 1, 0), chunks.stop - 1)
    all_NCWd[:, before] += g_NCKd[:, 0 if chunks.start else 1 :, :chunk]


def forward(
    q_NTd: Tensor, k_NTd: Tensor, v_NTd: Tensor, lower_NT: Tensor, chunk: int, window: int
) -> tuple[Tensor, Tensor]:
    """Attention output (N, T, d) and log-sum-exp of the scores (N, T), without a graph.

    Args:
        q_NTd, k_NTd, v_NTd: queries, unit-length keys and values in the order of the axis.
        lower_NT: rank at which each query's group begins.
        chunk: tokens in a chunk; divides T.
        window: keys before itself that a query may see, at most `chunk`.
    """
    N, T, d = q_NTd.shape
    out_NTd = torch.empty_like(q_NTd)
    lse_NT = q_NTd.new_empty(N, T, dtype=torch.promote_types(q_NTd.dtype, torch.float32))
    for chunks in _chunk_ranges(N, T // chunk, chunk, q_NTd.device):
        ranks = slice(chunks.start * chunk, chunks.stop * chunk)
        out, lse = attend(
            q_NTd[:, ranks].view(N, -1, chunk, d),
            with_previous_chunk(k_NTd, chunk, chunks),
            with_previous_chunk(v_NTd, chunk, chunks),
            band_bias(lower_NT[:, ranks].contiguous(), chunk, window, lse_NT.dtype, chunks.start),
        )
        out_NTd[:, ranks] = out.flatten(1, 2)
        lse_NT[:, ranks] = lse.flatten(1, 2)
    return out_NTd, lse_NT


def _scores_and_shares(q: Tensor, k: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Scores in at least fp32, and their softmax in the queries' precision."""
    high = torch.promote_types(q.dtype, torch.float32)
    scale = q.shape[-1] ** -0.5
    scores = (q * scale) @ k.mT if q.dtype == high else (q @ k.mT).to(high).mul_(scale)
    scores.add_(bias)
    return scores, torch.softmax(scores, dim=-1).to(q.dtype)


def chunk_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values; `out` and `lse` as in `backward`."""
    scale = q.shape[-1] ** -0.5
    scores, share = _scores_and_shares(q, k, bias)
    # These keys' part of the whole softmax is a factor of the row: exp(own lse - lse).
    part = share.amax(dim=-1).to(scores.dtype).log_().neg_().add_(scores.amax(dim=-1)).sub_(lse).exp_()
    grad = grad * part.to(grad.dtype)[..., None]
    d_scores = grad @ v.mT
    d_scores.sub_((grad * out).sum(dim=-1, keepdim=True)).mul_(share)
    return d_scores @ (k * scale), d_scores.mT @ (q * scale), share.mT @ grad


def backward(
    grad_NTd: Tensor,
    q_NTd: Tensor,
    k_NTd: Tensor,
    v_NTd: Tensor,
    out_NTd: Tensor,
    lse_NT: Tensor,
    lower_NT: Tensor,
    chunk: int,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values, each (N, T, d).

    `out` and `lse` may be those of a softmax over more keys than this axis holds (several rounds merged): the
    probability of a key is exp(score - lse) and the row's correction is grad . out, both of the whole softmax, so each
    axis gives its own share of the gradient (the identity that ring attention uses, Liu et al. 2023).
    """
    N, T, d = q_NTd.shape
    dq_NTd, dk_NTd, dv_NTd = torch.empty_like(q_NTd), torch.zeros_like(k_NTd), torch.zeros_like(v_NTd)
    for chunks in _chunk_ranges(N, T // chunk, chunk, q_NTd.device):
        ranks = slice(chunks.start * chunk, chunks.stop * chunk)
        grad, q, out = (x[:, ranks].view(N, -1, chunk, d) for x in (grad_NTd, q_NTd, out_NTd))
        dq, dk, dv = chunk_backward(
            grad,
            q,
            with_previous_chunk(k_NTd, chunk, chunks),
            with_previous_chunk(v_NTd, chunk, chunks),
            out,
            lse_NT[:, ranks].reshape(N, -1, chunk),
            band_bias(lower_NT[:, ranks].contiguous(), chunk, window, lse_NT.dtype, chunks.start),
        )
        dq_NTd[:, ranks] = dq.flatten(1, 2)
        add_to_chunks(dk_NTd, dk, chunks)
        add_to_chunks(dv_NTd, dv, chunks)
    return dq_NTd, dk_NTd, dv_NTd
