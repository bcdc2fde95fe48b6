"""Attention of many new tokens to everything before them, with the keys and values where a state keeps them.

Legend: H heads, n new tokens, d head width, Q queries of a block, S keys that a block sees, B blocks, R rounds, W
window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from korformer.model.attention import flash
from korformer.model.attention.banded import SELF_BIAS
from korformer.model.attention.ordered import NEVER, attend, merge
from korformer.model.decode.pages import BucketPages

GATHER_BYTES = 16 * 2**20
"""Gathered keys and values that exist at a time."""

NEAR_KEYS = 512
"""Keys that a block of near heads sees, where its window leaves room for `NEAR_QUERIES` in that; oneDNN adds up more
in another order.
"""
NEAR_QUERIES = 64

Gather = Callable[[Tensor], Tensor]
"""From (…,) entries of one head, positions counted from 1, to keys and values (…, 2d); anything for 0."""


def _halves(kv: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of rows that hold both, (..., 2d)."""
    d = kv.shape[-1] // 2
    return kv[..., :d], kv[..., d:]


def near(q_nHd: Tensor, kv_SH2d: Tensor, begins: Tensor, first: int, offset: int, window: int) -> Tensor:
    """Attention of each new token to the positions from its `begins` up to before its own, (n, H, d).

    Args:
        q_nHd: queries.
        kv_SH2d: rows of the positions from `offset` up to the last new token.
        begins: (n,) the first position that each may see; not falling.
        first: position of the first new token.
        offset: position of the first row of `kv_SH2d`.
        window: most positions that one may see.
    """
    n = q_nHd.shape[0]
    out_nHd = torch.empty_like(q_nHd)
    queries = max(NEAR_QUERIES, NEAR_KEYS - window)
    for start in range(0, n, queries):
        block = slice(start, min(start + queries, n))
        low, high = int(begins[start]), first + block.stop
        at_Q1 = torch.arange(first + block.start, high, device=q_nHd.device)[:, None]
        key_S = torch.arange(low, high, device=q_nHd.device)
        bias_QS = torch.zeros(len(at_Q1), len(key_S), dtype=q_nHd.dtype, device=q_nHd.device)
        bias_QS.masked_fill_((key_S > at_Q1) | (key_S < begins[block, None]), NEVER).masked_fill_(
            key_S == at_Q1, SELF_BIAS
        )
        keys = kv_SH2d[low - offset : high - offset].transpose(0, 1)[None]
        out, _ = attend(q_nHd[block].transpose(0, 1)[None], *_halves(keys), bias_QS)
        out_nHd[block] = out[0].transpose(0, 1)
    return out_nHd


def everything(q_nHd: Tensor, kv_SH2d: Tensor, first: int) -> Tensor:
    """Attention of each new token to all positions before it, (n, H, d).

    Among themselves the new tokens are strictly causal attention without the diagonal: ordinary causal attention,
    queries shifted by one against keys.
    """
    n, H, d = q_nHd.shape
    q = q_nHd.transpose(0, 1)[None]
    kv = kv_SH2d.transpose(0, 1)[None]
    outs, lses = [], []
    if first:
        out, lse = flash.attend(q, *_halves(kv[:, :, :first]))
        outs.append(out)
        lses.append(lse)
    among = q_nHd.new_zeros(1, H, n, d)
    among_lse = torch.full((1, H, n), float("-inf"), dtype=q_nHd.dtype, device=q_nHd.device)
    if n > 1:
        among[:, :, 1:], among_lse[:, :, 1:] = flash.attend_causally(q[:, :, 1:], *_halves(kv[:, :, first:-1]))
    if not first:
        among[:, :, 0] = kv[:, :, 0, d:]
        return among[0].transpose(0, 1)
    return merge([*outs, among], [*lses, among_lse])[0].transpose(0, 1)


def same_bucket(
    q_nHd: Tensor,
    gathers: Sequence[Gather],
    pages: BucketPages,
    layer: int,
    buckets_HRn: Tensor,
    first: int,
    window: int,
) -> Tensor:
    """causal_lsh of new tokens, (n, H, d): in each round the last W tokens before each in its bucket.

    Inside a bucket the new tokens follow on those that are there, so a block of Q neighbours in a bucket sees W + Q
    keys, of which each query has its own W.

    Args:
        q_nHd: queries.
        gathers: for each head, from entries to keys and values.
        pages: the buckets, without the new tokens.
        layer: which of its layers.
        buckets_HRn: the new tokens' buckets.
        first: position of the first new token.
        window: W.
    """
    n, H, d = q_nHd.shape
    R = buckets_HRn.shape[1]
    Q = 16 if n < 32 * pages.buckets else 32
    column, query = torch.arange(window + Q, device=q_nHd.device), torch.arange(Q, device=q_nHd.device)[:, None]
    band_QS = torch.full((Q, window + Q), NEVER, dtype=q_nHd.dtype, device=q_nHd.device)
    band_QS.masked_fill_((column >= query) & (column < query + window), 0.0)
    band_QS.masked_fill_(column == query + window, SELF_BIAS)
    at_once = max(1, GATHER_BYTES // ((window + Q) * 2 * d * q_nHd.element_size()))
    out_nHd = torch.empty_like(q_nHd)
    for head in range(H):
        outs, lses = [], []
        for hash_round in range(R):
            blocks = _blocks_of_round(
                pages, layer, head * R + hash_round, buckets_HRn[head, hash_round], first, window, Q
            )
            keys_BS, queries_BQ = blocks
            out_nd = q_nHd.new_empty(n + 1, d)  # the last row takes what fills up the blocks
            lse_n = q_nHd.new_empty(n + 1)
            for part in range(0, len(keys_BS), at_once):
                keys, queries = keys_BS[part : part + at_once], queries_BQ[part : part + at_once]
                bias = torch.where((keys == 0)[:, None, None], NEVER, band_QS)
                q = q_nHd[:, head].index_select(0, queries.clamp_max(n - 1).flatten()).view(-1, 1, Q, d)
                out, lse = attend(q, *_halves(gathers[head](keys)[:, None]), bias)
                out_nd[queries.reshape(-1)] = out.reshape(-1, d)
                lse_n[queries.reshape(-1)] = lse.reshape(-1)
            outs.append(out_nd[:n])
            lses.append(lse_n[:n])
        out_nHd[:, head] = merge(outs, lses)
    return out_nHd


def _blocks_of_round(
    pages: BucketPages, layer: int, row: int, buckets_n: Tensor, first: int, window: int, Q: int
) -> tuple[Tensor, Tensor]:
    """The new tokens of a row in blocks of one bucket each: entries of the keys (B, W + Q) and queries (B, Q).

    A query is a number among the new tokens, n where a block is not full.
    """
    n, device = len(buckets_n), buckets_n.device
    ordered_n, order_n = torch.sort(buckets_n, stable=True)
    cells, sizes = torch.unique_consecutive(ordered_n, return_counts=True)
    old_UW = pages.newest_of(layer, row, cells.long(), window)
    starts = sizes.cumsum(0) - sizes
    blocks = -(-sizes // Q)
    group_B = torch.repeat_interleave(torch.arange(len(cells), device=device), blocks)
    number_B = torch.arange(len(group_B), device=device) - (blocks.cumsum(0) - blocks)[group_B]
    # Counted along a bucket's list: its W old entries, then its new ones.
    place_BS = (number_B * Q)[:, None] + torch.arange(window + Q, device=device)
    new_BS = place_BS - window
    order_n1 = F.pad(order_n, (0, 1), value=n)
    inside = (new_BS >= 0) & (new_BS < sizes[group_B, None])
    fresh = order_n1[torch.where(inside, starts[group_B, None] + new_BS, n)]
    old = old_UW[group_B[:, None], place_BS.clamp_max(window - 1)]
    keys_BS = torch.where(place_BS < window, old, torch.where(inside, fresh + first + 1, 0))
    return keys_BS, fresh[:, window:]


def given(q_nHd: Tensor, gathers: Sequence[Gather], entries_nHS: Tensor, first: int) -> Tensor:
    """Attention of each new token to entries of its own as one multiset, or to itself where it has none, (n, H, d)."""
    n, H, d = q_nHd.shape
    S = entries_nHS.shape[2]
    at_once = max(1, GATHER_BYTES // (S * 2 * d * q_nHd.element_size()))
    out_nHd = torch.empty_like(q_nHd)
    for head in range(H):
        for start in range(0, n, at_once):
            block = slice(start, min(start + at_once, n))
            own = torch.arange(first + block.start + 1, first + block.stop + 1, device=q_nHd.device)[:, None]
            entries = F.pad(entries_nHS[block, head], (0, 1))  # the last one is the query itself, as in a single step
            missing = entries == 0
            kv = gathers[head](torch.where(missing, own, entries))
            bias = (missing * NEVER).to(q_nHd.dtype)
            bias[:, -1] = SELF_BIAS
            q = q_nHd[block, head][:, None, None]
            out_nHd[block, head] = attend(q, *_halves(kv[:, None]), bias[:, None, None])[0][:, 0, 0]
    return out_nHd
