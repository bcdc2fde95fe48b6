"""Keys and values of the tokens so far, in rows that several states may share.

A row holds the keys and values of one token in all heads of a layer. A state maps positions to rows; alone, a token's
row is its position. Forks share the rows of their common prefix and take new rows behind all that any of them uses, so
nothing is copied and nothing that another one reads is overwritten.

Legend: M rows, H heads, d head width.
"""

from __future__ import annotations

from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor

FIRST_ROWS = 1024
"""Rows that a new store has room for; their number doubles when they are used up."""

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


class _Pool:
    """The rows of every layer, (M, H, 2d) each: a key and its value side by side."""

    def __init__(self, layers: int, heads: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self.capacity = 0
        self.rows_MHd = [torch.empty(0, heads, 2 * width, dtype=dtype, device=device) for _ in range(layers)]
        self.users: WeakSet[KeyValues] = WeakSet()

    @property
    def used(self) -> int:
        """Rows in use by any state."""
        return max((user.top for user in self.users), default=0)

    def reserve(self, rows: int) -> None:
        if rows <= self.capacity:
            return
        self.capacity = max(rows, 2 * self.capacity, FIRST_ROWS)
        used = self.used
        for layer, old in enumerate(self.rows_MHd):
            new = _uninitialised((self.capacity, *old.shape[1:]), old)
            new[:used] = old[:used]
            self.rows_MHd[layer] = new


def _uninitialised(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Memory that is taken as it is used. numpy's lies in huge pages, which makes reading scattered rows a third
    faster; torch's does not.
    """
    if like.device.type == "cpu" and like.dtype in _NUMPY:
        return torch.from_numpy(np.empty(shape, dtype=_NUMPY[like.dtype]))
    return like.new_zeros(shape)  # elsewhere heads that see everything read it all: no product with zero is to be nan


class KeyValues:
    """The keys and values of one state.

    Args:
        layers, heads, width: sizes; the width is that of one head.
        dtype, device: of the numbers.

    Attributes:
        length: tokens held.
        straight: tokens from the start on whose rows are their positions; all of them where nothing was forked.
    """

    def __init__(self, layers: int, heads: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self._pool = _Pool(layers, heads, width, dtype, device)
        self._tail = torch.empty(0, dtype=torch.int64, device=device)  # rows of the positions from `straight` on
        self.length = self.straight = 0
        self._pool.users.add(self)

    @property
    def top(self) -> int:
        """The row behind the last one in use."""
        return self.length if self.straight == self.length else int(self._tail[self.length - self.straight - 1]) + 1

    @property
    def alone(self) -> bool:
        """Whether the row of every token, and of the next one, is its position."""
        return self.straight == self.length == self._pool.used

    @property
    def capacity(self) -> int:
        """Rows that there is memory for; while it stays the same the memory does."""
        return self._pool.capacity

    def layer(self, number: int) -> Tensor:
        """The rows of a layer, (M, H, 2d); a key, then its value."""
        return self._pool.rows_MHd[number]

    def take(self, count: int) -> slice:
        """Rows for the next `count` tokens, which from now on belong to this state."""
        first = self._pool.used
        self._pool.reserve(first + count)
        if first == self.length:
            self.straight += count
        else:
            held = self.length - self.straight
            if held + count > len(self._tail):
                grown = self._tail.new_empty(max(64, 2 * (held + count)))
                grown[:held] = self._tail[:held]
                self._tail = grown
            torch.arange(first, first + count, out=self._tail[held : held + count])
        self.length += count
        return slice(first, first + count)

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens` more, so that taking them copies nothing."""
        self._pool.reserve(self._pool.used + tokens)

    def shorten(self, length: int) -> None:
        """Give back the rows of the tokens from position `length` on."""
        self.length = length
        self.straight = min(self.straight, length)

    def rows_of(self, positions: Tensor) -> Tensor:
        """Rows of positions, integers of the same shape."""
        if self.straight == self.length:
            return positions
        tail = self._tail[(positions - self.straight).clamp_min(0).long()]
        return torch.where(positions < self.straight, positions, tail)

    def entries_of(self, entries: Tensor) -> Tensor:
        """Rows counted from 1 of positions counted from 1; 0 stays 0."""
        return entries if self.straight == self.length else self.rows_of(entries - 1) + 1

    def span(self, layer: int, begin: int, end: int) -> Tensor:
        """The rows of the positions from `begin` up to before `end`, (end - begin, H, 2d); a view where it can be."""
        rows = self.layer(layer)
        if end <= self.straight:
            return rows[begin:end]
        middle = max(begin, self.straight)
        tail = rows.index_select(0, self._tail[middle - self.straight : end - self.straight])
        return tail if begin >= self.straight else torch.cat([rows[begin : self.straight], tail])

    def fork(self) -> KeyValues:
        """The same tokens; their rows are shared."""
        twin = object.__new__(KeyValues)
        twin.__dict__.update(self.__dict__)
        twin._tail = self._tail.clone()
        twin._pool.users.add(twin)
        return twin
