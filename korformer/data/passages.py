"""Hashes of documents, passages and lines in token stores, and counting what comes again.

A hash is of token ids, 64 bits, the same in every process. Legend: N tokens of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from korformer.data.token_store import TokenStore

PASSAGE_TOKENS = 32
"""Some 13 words of Korean."""

_BLOCK_TOKENS = 1 << 20
_SPAN_DOCUMENTS = 1 << 16
_LEAST_LINE_TOKENS = 8
_WANTED = 1 << 18
"""Hashes that are looked for at most; the smallest of them are a sample of the passages."""
_LINES = 1 << 17
"""Different lines that are counted at most; above it only those with small hashes."""
_FILTER_BITS = np.uint64((1 << 23) - 1)
_ODD = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Block:
    """Documents one after another.

    Attributes:
        tokens: (N,) int64.
        begins, ends: where each document lies in them.
        place: of the first token in the store.
    """

    tokens: NDArray[np.int64]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    place: int


def texts(store: TokenStore, tell: Callable[[int], None] | None = None) -> Iterator[Block]:
    """All documents of a store, some million tokens at a time; `tell` hears how many tokens are behind."""
    for first in range(0, store.documents, _SPAN_DOCUMENTS):
        spans = store.spans(np.arange(first, min(first + _SPAN_DOCUMENTS, store.documents), dtype=np.int64))
        number = 0
        while number < len(spans):
            begin = int(spans[number, 0])
            stop = max(number + 1, int(np.searchsorted(spans[:, 1], begin + _BLOCK_TOKENS, side="right")))
            end = int(spans[stop - 1, 1])
            tokens = store.read(np.array([begin]), np.array([end])).astype(np.int64)
            yield Block(tokens, spans[number:stop, 0] - begin, spans[number:stop, 1] - begin, begin)
            number = stop
            if tell is not None:
                tell(end)


def mixed(values: Hashes) -> Hashes:
    """A bijection of 64-bit numbers after which every bit looks random (the finalizer of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def document_hashes(block: Block) -> Hashes:
    """A hash of each document of a block."""
    return _stretch_hashes(block.tokens, block.begins, block.ends)


def _stretch_hashes(tokens: NDArray[np.int64], begins: NDArray[np.int64], ends: NDArray[np.int64]) -> Hashes:
    """A hash of each of several stretches that do not overlap, in their order; none is empty."""
    lengths = ends - begins
    starts = np.cumsum(lengths) - lengths
    inside = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
    chosen = tokens[inside + np.repeat(begins, lengths)]
    values = mixed(chosen.astype(np.uint64) + inside.astype(np.uint64) * _ODD)
    return mixed(np.add.reduceat(values, starts) + lengths.astype(np.uint64))


def passage_hashes(block: Block) -> Hashes:
    """A hash of every stretch of PASSAGE_TOKENS tokens inside a document of a block."""
    values, size = mixed(block.tokens.astype(np.uint64) + np.uint64(1)), 1
    factor = int(_ODD)
    while size < PASSAGE_TOKENS:  # of 1, 2, 4, … tokens
        if len(values) <= size:
            return values[:0]
        values = values[:-size] * np.uint64(factor) + values[size:]
        factor, size = factor * factor % 2**64, 2 * size
    document = np.repeat(np.arange(len(block.begins)), block.ends - block.begins)
    return mixed(values[document[: len(values)] == document[PASSAGE_TOKENS - 1 :]])


def passage_documents(block: Block) -> NDArray[np.int64]:
    """The document of each hash of `passage_hashes`, by its number in the block."""
    lengths = block.ends - block.begins
    return np.repeat(np.arange(len(lengths)), np.maximum(0, lengths - PASSAGE_TOKENS + 1))


class Found:
    """Which of some hashes come in a stream of others."""

    def __init__(self) -> None:
        self._wanted: Hashes = np.empty(0, np.uint64)
        self._found = np.empty(0, np.bool_)
        self._filter = np.empty(0, np.bool_)

    @property
    def wanted(self) -> int:
        """Different hashes that are looked for."""
        return len(self._wanted)

    @property
    def found(self) -> int:
        """How many of them came."""
        return int(self._found.sum())

    def want(self, hashes: Hashes) -> None:
        """Look for these too; of too many, for the smallest of all."""
        self._wanted = np.union1d(self._wanted, hashes)[:_WANTED]

    def begin(self) -> None:
        """All that is wanted is told."""
        self._found = np.zeros(len(self._wanted), np.bool_)
        self._filter = np.zeros(int(_FILTER_BITS) + 1, np.bool_)
        self._filter[self._wanted & _FILTER_BITS] = True

    def look(self, hashes: Hashes) -> None:
        """Take hashes of the stream."""
        likely = hashes[self._filter[hashes & _FILTER_BITS]]
        places = np.minimum(np.searchsorted(self._wanted, likely), max(0, len(self._wanted) - 1))
        if len(self._wanted):
            self._found[places[self._wanted[places] == likely]] = True

    def came(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Which of these are looked for and were in the stream."""
        return np.isin(hashes, self._wanted[self._found])


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """What came of counting lines.

    Attributes:
        tokens, repeated_tokens: of the lines, and of those that had come before.
        commonest: place in the store and length of the line that comes most often; length 0 where there is none.
        commonest_count: how often that is.
    """

    tokens: int
    repeated_tokens: int
    commonest: tuple[int, int]
    commonest_count: int


class Lines:
    """Counts lines of a few tokens and more, exactly those whose hashes are small where there are too many.

    Args:
        breaks_V: (V,) bool, which tokens break a line.
    """

    def __init__(self, breaks_V: NDArray[np.bool_]) -> None:
        self._breaks_V = breaks_V.copy()
        self._limit = np.uint64(2**64 - 1)
        self._hashes: Hashes = np.empty(0, np.uint64)
        self._rows = np.empty((0, 3), np.int64)
        """Count, place and length of each."""

    def add(self, block: Block) -> None:
        """Count the lines of a block."""
        is_end = self._breaks_V[block.tokens]
        is_end[block.ends - 1] = True  # [SEP]
        is_end[block.begins] = True  # [CLS]
        ends = np.flatnonzero(is_end)
        begins = np.concatenate([[0], ends[:-1] + 1])
        long = ends - begins >= _LEAST_LINE_TOKENS
        begins, ends = begins[long], ends[long]
        if not len(begins):
            return
        hashes = _stretch_hashes(block.tokens, begins, ends)
        rows = np.stack([np.ones_like(begins), begins + block.place, ends - begins], axis=1)
        small = hashes <= self._limit
        self._merge(hashes[small], rows[small])

    def _merge(self, hashes: Hashes, rows: NDArray[np.int64]) -> None:
        together, all_rows = np.concatenate([self._hashes, hashes]), np.concatenate([self._rows, rows])
        self._hashes, first, which = np.unique(together, return_index=True, return_inverse=True)
        self._rows = all_rows[first]
        self._rows[:, 0] = np.bincount(which.reshape(-1), weights=all_rows[:, 0], minlength=len(first))
        if len(self._hashes) > _LINES:
            self._limit = self._hashes[_LINES - 1]
            self._hashes, self._rows = self._hashes[:_LINES], self._rows[:_LINES]

    def result(self) -> Repeats:
        """What came of it."""
        if not len(self._rows):
            return Repeats(tokens=0, repeated_tokens=0, commonest=(0, 0), commonest_count=0)
        count, place, length = self._rows.T
        most = int(count.argmax())
        return Repeats(
            tokens=int((count * length).sum()),
            repeated_tokens=int(((count - 1) * length).sum()),
            commonest=(int(place[most]), int(length[most])),
            commonest_count=int(count[most]),
        )
