"""Triton kernels of banded attention over sorted axes; `triton_banded` launches them and says what they compute.

Legend: B samples, H heads, T tokens, d head width. `rank` counts along a round's order, `time` is the token that stands
there; `width` is d padded to a power of two. Names that end in _b, _h, _t are strides of sample, head and token in
elements; the last axis of every tensor is contiguous. `first` is true in the first round, which has nothing to add to.
Scores inside are in units of log 2, since hardware has exp2; log-sum-exps in memory are natural. Every element is
written by one program, in an order that does not hang on the device's timing.
"""
# Types of kernel parameters are Triton's own matter.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls
# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

import math

import triton
import triton.language as tl

from korformer.model.attention.banded import SELF_BIAS

LOG2_E = tl.constexpr(math.log2(math.e))
OWN_BIAS = tl.constexpr(SELF_BIAS)
OWN_BIAS_2 = tl.constexpr(SELF_BIAS * math.log2(math.e))


@triton.jit
def _rows(base, time, stride, there, d: tl.constexpr, width: tl.constexpr):
    """Rows of the given tokens, (tile, width); zero beyond d and where nothing is there."""
    column = tl.arange(0, width)
    at = base + time[:, None] * stride + column[None, :]
    return tl.load(at, mask=there[:, None] & (column < d)[None, :], other=0.0)


@triton.jit
def _put_rows(rows, so_far, out, place, there, d: tl.constexpr, width: tl.constexpr, first: tl.constexpr):
    """Write rows at their tokens' places, on top of what the rounds before left in `so_far`."""
    column = tl.arange(0, width)
    at = place[:, None] + column[None, :]
    mask = there[:, None] & (column < d)[None, :]
    if not first:
        rows += tl.load(so_far + at, mask=mask, other=0.0)
    tl.store(out + at, rows, mask=mask)


@triton.jit
def _times(order, rank, there, ordered: tl.constexpr):
    """The token at each rank, int64."""
    if ordered:
        return tl.load(order + rank, mask=there, other=0).to(tl.int64)
    return rank.to(tl.int64)


@triton.jit
def _biased(scores, distance, in_group, window):
    """Scores of the keys in reach, one's own with its bias; -inf for all others."""
    seen = (distance > 0) & (distance <= window) & in_group
    return tl.where(seen, scores, tl.where(distance == 0, scores + OWN_BIAS_2, float("-inf")))


@triton.jit
def _share(scores, lse, distance, in_group, window):
    """Weight of every key under a softmax whose log-sum-exp (natural) is known; 0 for keys out of reach.

    For a token that sees nothing but itself the log-sum-exp is near `SELF_BIAS`; the bias is taken from it first, not
    added to the score, so that float32 keeps its digits.
    """
    seen = (distance > 0) & (distance <= window) & in_group
    own = scores - (lse - OWN_BIAS) * LOG2_E
    return tl.exp2(tl.where(seen, scores - lse * LOG2_E, tl.where(distance == 0, own, float("-inf"))))


@triton.jit
def forward_kernel(
    q, k, v, order, lower, out_so_far, out, lse,
    H, T, window, scale,
    q_b, q_h, q_t, k_b, k_h, k_t, v_b, v_h, v_t,
    order_b, order_h, lower_b, lower_h,
    d: tl.constexpr, width: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
    ordered: tl.constexpr, first: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """One round's output, merged with that of the rounds before. Grid: (tiles of queries, B x H)."""
    b, h = (tl.program_id(1) // H).to(tl.int64), (tl.program_id(1) % H).to(tl.int64)
    order += b * order_b + h * order_h
    lower += b * lower_b + h * lower_h
    k += b * k_b + h * k_h
    v += b * v_b + h * v_h
    begin = tl.program_id(0) * BLOCK_Q
    end = tl.minimum(begin + BLOCK_Q, T)
    rank_q = begin + tl.arange(0, BLOCK_Q)
    there_q = rank_q < T
    time_q = _times(order, rank_q, there_q, ordered)
    lower_q = tl.load(lower + rank_q, mask=there_q, other=T).to(tl.int32)
    q_tile = _rows(q + b * q_b + h * q_h, time_q, q_t, there_q, d, width)

    highest = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    sums = tl.zeros((BLOCK_Q, width), tl.float32)
    first_key = tl.maximum(tl.load(lower + begin).to(tl.int32), begin - window)
    for start in range(first_key, end, BLOCK_K):
        rank_k = start + tl.arange(0, BLOCK_K)
        there_k = rank_k < end
        time_k = _times(order, rank_k, there_k, ordered)
        k_tile = _rows(k, time_k, k_t, there_k, d, width)
        v_tile = _rows(v, time_k, v_t, there_k, d, width)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision=precision) * (scale * LOG2_E)
        distance = rank_q[:, None] - rank_k[None, :]
        scores = _biased(scores, distance, rank_k[None, :] >= lower_q[:, None], window)
        new_highest = tl.maximum(highest, tl.max(scores, 1))
        # A row may see nothing of the first tiles: its maximum is still -inf, and -inf less itself is no number.
        reference = tl.where(new_highest == float("-inf"), 0.0, new_highest)
        share = tl.exp2(scores - reference[:, None])
        fade = tl.exp2(highest - reference)
        total = total * fade + tl.sum(share, 1)
        sums = tl.dot(share.to(v_tile.dtype), v_tile, sums * fade[:, None], input_precision=precision)
        highest = new_highest

    total = tl.where(there_q, total, 1.0)
    sums = sums / total[:, None]
    lse_q = (highest + tl.log2(total)) / LOG2_E
    token = b * T + time_q
    lse_at = lse + (b * H + h) * T + time_q
    place = (token * H + h) * d
    if not first:
        before = tl.load(lse_at, mask=there_q, other=0.0)
        top = tl.where(there_q, tl.maximum(before, lse_q), 0.0)
        weight_before, weight = tl.exp(before - top), tl.exp(lse_q - top)
        both = tl.where(there_q, weight_before + weight, 1.0)
        lse_q = top + tl.log(both)
        column = tl.arange(0, width)
        at = out_so_far + place[:, None] + column[None, :]
        old = tl.load(at, mask=there_q[:, None] & (column < d)[None, :], other=0.0)
        sums = old * (weight_before / both)[:, None] + sums * (weight / both)[:, None]
    tl.store(lse_at, lse_q, mask=there_q)
    _put_rows(sums, out, out, place, there_q, d, width, True)


@triton.jit
def correction_kernel(
    grad, out, delta, H, T, g_b, g_h, g_t, o_b, o_h, o_t,
    d: tl.constexpr, width: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Each row's gradient . output, (B, H, T). Grid: (tiles of tokens, B x H)."""
    b, h = (tl.program_id(1) // H).to(tl.int64), (tl.program_id(1) % H).to(tl.int64)
    time = tl.program_id(0).to(tl.int64) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    there = time < T
    grad_tile = _rows(grad + b * g_b + h * g_h, time, g_t, there, d, width).to(tl.float32)
    out_tile = _rows(out + b * o_b + h * o_h, time, o_t, there, d, width).to(tl.float32)
    tl.store(delta + (b * H + h) * T + time, tl.sum(grad_tile * out_tile, 1), mask=there)


@triton.jit
def query_kernel(
    q, k, v, grad, lse, delta, order, lower, dq_so_far, dq,
    H, T, window, scale,
    q_b, q_h, q_t, k_b, k_h, k_t, v_b, v_h, v_t,
    g_b, g_h, g_t, order_b, order_h, lower_b, lower_h,
    d: tl.constexpr, width: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
    ordered: tl.constexpr, first: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """One round's share of the gradient of the queries. Grid: (tiles of queries, B x H)."""
    b, h = (tl.program_id(1) // H).to(tl.int64), (tl.program_id(1) % H).to(tl.int64)
    order += b * order_b + h * order_h
    lower += b * lower_b + h * lower_h
    k += b * k_b + h * k_h
    v += b * v_b + h * v_h
    begin = tl.program_id(0) * BLOCK_Q
    end = tl.minimum(begin + BLOCK_Q, T)
    rank_q = begin + tl.arange(0, BLOCK_Q)
    there_q = rank_q < T
    time_q = _times(order, rank_q, there_q, ordered)
    lower_q = tl.load(lower + rank_q, mask=there_q, other=T).to(tl.int32)
    q_tile = _rows(q + b * q_b + h * q_h, time_q, q_t, there_q, d, width)
    grad_tile = _rows(grad + b * g_b + h * g_h, time_q, g_t, there_q, d, width)
    row = (b * H + h) * T + time_q
    lse_q = tl.load(lse + row, mask=there_q, other=0.0)
    delta_q = tl.load(delta + row, mask=there_q, other=0.0)

    sums = tl.zeros((BLOCK_Q, width), tl.float32)
    first_key = tl.maximum(tl.load(lower + begin).to(tl.int32), begin - window)
    for start in range(first_key, end, BLOCK_K):
        rank_k = start + tl.arange(0, BLOCK_K)
        there_k = rank_k < end
        time_k = _times(order, rank_k, there_k, ordered)
        k_tile = _rows(k, time_k, k_t, there_k, d, width)
        v_tile = _rows(v, time_k, v_t, there_k, d, width)
        scores = tl.dot(q_tile, tl.trans(k_tile), input_precision=precision) * (scale * LOG2_E)
        distance = rank_q[:, None] - rank_k[None, :]
        share = _share(scores, lse_q[:, None], distance, rank_k[None, :] >= lower_q[:, None], window)
        d_share = tl.dot(grad_tile, tl.trans(v_tile), input_precision=precision)
        d_scores = share * (d_share - delta_q[:, None]) * scale
        sums = tl.dot(d_scores.to(k_tile.dtype), k_tile, sums, input_precision=precision)
    _put_rows(sums, dq_so_far, dq, ((b * T + time_q) * H + h) * d, there_q, d, width, first)


@triton.jit
def key_kernel(
    q, k, v, grad, lse, delta, order, lower,
    dk_so_far, dv_so_far, dk, dv,
    H, T, window, scale,
    q_b, q_h, q_t, k_b, k_h, k_t, v_b, v_h, v_t,
    g_b, g_h, g_t, order_b, order_h, lower_b, lower_h,
    d: tl.constexpr, width: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, MOST_TILES: tl.constexpr,
    ordered: tl.constexpr, first: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """One round's share of the gradients of keys and values. Grid: (tiles of keys, B x H)."""
    b, h = (tl.program_id(1) // H).to(tl.int64), (tl.program_id(1) % H).to(tl.int64)
    order += b * order_b + h * order_h
    lower += b * lower_b + h * lower_h
    q += b * q_b + h * q_h
    grad += b * g_b + h * g_h
    lse += (b * H + h) * T
    delta += (b * H + h) * T
    begin = tl.program_id(0) * BLOCK_K
    last_key = tl.minimum(begin + BLOCK_K, T) - 1
    rank_k = begin + tl.arange(0, BLOCK_K)
    there_k = rank_k < T
    time_k = _times(order, rank_k, there_k, ordered)
    k_tile = _rows(k + b * k_b + h * k_h, time_k, k_t, there_k, d, width)
    v_tile = _rows(v + b * v_b + h * v_h, time_k, v_t, there_k, d, width)

    # `lower` never falls along the axis, so a tile of queries sees a key of ours when its first query's group does.
    tile_begin = begin + tl.arange(0, MOST_TILES) * BLOCK_Q
    reaches = (tile_begin < T) & (tile_begin <= last_key + window)
    tile_lower = tl.load(lower + tile_begin, mask=reaches, other=T).to(tl.int32)
    tiles = tl.sum((reaches & (tile_lower <= last_key)).to(tl.int32), 0)

    k_sums = tl.zeros((BLOCK_K, width), tl.float32)
    v_sums = tl.zeros((BLOCK_K, width), tl.float32)
    for tile in range(0, tiles):
        rank_q = begin + tile * BLOCK_Q + tl.arange(0, BLOCK_Q)
        there_q = rank_q < T
        time_q = _times(order, rank_q, there_q, ordered)
        lower_q = tl.load(lower + rank_q, mask=there_q, other=T).to(tl.int32)
        q_tile = _rows(q, time_q, q_t, there_q, d, width)
        grad_tile = _rows(grad, time_q, g_t, there_q, d, width)
        lse_q = tl.load(lse + time_q, mask=there_q, other=0.0)
        delta_q = tl.load(delta + time_q, mask=there_q, other=0.0)
        scores = tl.dot(k_tile, tl.trans(q_tile), input_precision=precision) * (scale * LOG2_E)
        distance = rank_q[None, :] - rank_k[:, None]
        share = _share(scores, lse_q[None, :], distance, rank_k[:, None] >= lower_q[None, :], window)
        v_sums = tl.dot(share.to(grad_tile.dtype), grad_tile, v_sums, input_precision=precision)
        d_share = tl.dot(v_tile, tl.trans(grad_tile), input_precision=precision)
        d_scores = share * (d_share - delta_q[None, :]) * scale
        k_sums = tl.dot(d_scores.to(q_tile.dtype), q_tile, k_sums, input_precision=precision)
    place = ((b * T + time_k) * H + h) * d
    _put_rows(k_sums, dk_so_far, dk, place, there_k, d, width, first)
    _put_rows(v_sums, dv_so_far, dv, place, there_k, d, width, first)
