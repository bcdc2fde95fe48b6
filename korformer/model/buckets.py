"""The newest tokens of each hash bucket, kept while a text grows token by token.

Legend: H heads, R rounds, K buckets, W window, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


class BucketTable:
    """For every head and round, the last W positions that fell into each bucket.

    The table is a function of the bucket history alone: `rebuild` from the history and any sequence of `append`
    calls that leads to it hold the same positions in the same slots.

    Args:
        heads, rounds, buckets, window: sizes H, R, K and W.
        capacity: tokens that the history can hold.
        device: where the table lives.
    """

    def __init__(
        self, heads: int, rounds: int, buckets: int, window: int, capacity: int, device: torch.device | None = None
    ) -> None:
        self.window = window
        self.buckets = buckets
        small = torch.int16 if buckets < 2**15 else torch.int32
        self.history_HRT = torch.zeros(heads, rounds, capacity, dtype=small, device=device)
        self._slots = torch.zeros(heads, rounds, buckets, window, dtype=torch.int64, device=device)
        self._counts = torch.zeros(heads, rounds, buckets, dtype=torch.int64, device=device)
        self._flat = torch.arange(heads * rounds, device=device).view(heads, rounds) * buckets
        self._column = torch.arange(window, device=device)

    def read(self, buckets_HR: Tensor) -> tuple[Tensor, Tensor]:
        """Positions in the given bucket of each head and round (H, R, W) int64, and which of them hold a token."""
        cell = (self._flat + buckets_HR).view(-1)
        shape = (*buckets_HR.shape, self.window)
        held = self._column < self._counts.view(-1)[cell].view(*buckets_HR.shape, 1)
        return self._slots.view(-1, self.window)[cell].view(shape), held

    def append(self, position: int, buckets_HR: Tensor) -> None:
        """Add the token at `position`, whose buckets are given."""
        self.history_HRT[:, :, position] = buckets_HR.to(self.history_HRT.dtype)
        cell = (self._flat + buckets_HR).view(-1)
        counts = self._counts.view(-1)
        count = counts[cell]
        self._slots.view(-1)[cell * self.window + count % self.window] = position
        counts[cell] = count + 1

    def rebuild(self, length: int) -> None:
        """Make the table that the first `length` tokens of the history lead to."""
        H, R, _ = self.history_HRT.shape
        buckets = self.history_HRT[:, :, :length].reshape(H * R, length).long()
        self._counts.zero_()
        counts = self._counts.view(H * R, self.buckets)
        counts.scatter_add_(1, buckets, torch.ones_like(buckets))
        if not length:
            return
        ordered, order = torch.sort(buckets, dim=1, stable=True)
        begin = torch.cumsum(counts, dim=1) - counts
        index = torch.arange(length, device=buckets.device) - begin.gather(1, ordered)
        newest = index >= counts.gather(1, ordered) - self.window
        cell = torch.arange(H * R, device=buckets.device)[:, None] * self.buckets + ordered
        self._slots.view(-1)[(cell * self.window + index % self.window)[newest]] = order[newest]

    def copy(self) -> BucketTable:
        """An independent table with the same content."""
        heads, rounds, capacity = self.history_HRT.shape
        twin = BucketTable(heads, rounds, self.buckets, self.window, capacity, self._slots.device)
        twin.history_HRT.copy_(self.history_HRT)
        twin._slots.copy_(self._slots)
        twin._counts.copy_(self._counts)
        return twin
