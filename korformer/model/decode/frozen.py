"""Frozen prefix: reformer-pytorch's chunks for a text that grows.

At a token all tokens so far are sorted by (bucket, position) and cut into chunks of B; with rank p its chunk is
c = p // B, and it attends to the ranks [B (c - 1), B (c + 1)) of the tokens so far, without any wrap. That is the row
of the token in LSHAttention over the prefix, padded to the whole window and a pair of chunks more with pads that are
masked and in a bucket above all others. What follows changes nothing of it, so the set is a function of the tokens up
to it.

Legend: N rows (head x round), K buckets, B bucket size, n tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from korformer.model.decode.pages import BucketPages


def frozen_entries(
    pages: BucketPages, layer: int, buckets_N: Tensor, position: int | Tensor, bucket_size: int
) -> Tensor:
    """What one new token, not yet added, attends to in each row, (N, 2B) entries; 0 where there is none."""
    counts_NK = pages.counts(layer)
    own = buckets_N[:, None]
    counts_NK = counts_NK.scatter_add(1, own, torch.ones_like(own))
    return _entries_at_ranks(pages, layer, counts_NK, own, position, bucket_size, hops=1)


def frozen_entries_of_block(
    pages: BucketPages, layer: int, before_NK: Tensor, buckets_Nn: Tensor, first: int, bucket_size: int
) -> Tensor:
    """What each token of a block attends to in each row, (n, N, 2B) entries; 0 where there is none.

    Args:
        pages: with the block's tokens already added.
        layer: which.
        before_NK: counts before the block.
        buckets_Nn: the block's buckets, int64.
        first: position of its first token.
        bucket_size: B.
    """
    n = buckets_Nn.shape[1]
    new_nNK = before_NK.new_zeros(n, *before_NK.shape)
    new_nNK.scatter_(2, buckets_Nn.T[..., None], 1)
    counts_nNK = new_nNK.cumsum_(dim=0).add_(before_NK)
    positions = torch.arange(first, first + n, device=before_NK.device)[:, None, None]
    return _entries_at_ranks(pages, layer, counts_nNK, buckets_Nn.T[..., None], positions, bucket_size, hops=None)


def _entries_at_ranks(
    pages: BucketPages,
    layer: int,
    counts: Tensor,
    own: Tensor,
    position: int | Tensor,
    bucket_size: int,
    *,
    hops: int | None,
) -> Tensor:
    """Entries around each token's rank, (…, N, 2B).

    Args:
        counts: tokens of each bucket, the token itself included, (…, N, K).
        own: its bucket, (…, N, 1).
        position: of the token.
        hops: see `BucketPages.entry`.
    """
    ends = counts.cumsum(dim=-1)
    rank = ends.gather(-1, own) - 1
    ranks = (rank // bucket_size - 1) * bucket_size + torch.arange(2 * bucket_size, device=counts.device)
    missing = (ranks < 0) | (ranks > position) | (ranks == rank)
    ranks = torch.where(missing, 0, ranks)
    bucket = torch.searchsorted(ends, ranks, right=True)
    index = ranks - ends.gather(-1, bucket) + counts.gather(-1, bucket)
    row = torch.arange(counts.shape[-2], device=counts.device)[:, None]
    if hops is not None:  # the token itself, the only one when it is the first, has no entry yet
        missing |= (bucket == own) & (index >= counts.gather(-1, own) - 1)
        index = torch.where(missing, 0, index)
    return torch.where(missing, 0, pages.entry(layer, row, bucket, index, hops=hops))
