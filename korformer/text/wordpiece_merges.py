"""Byte-pair merging over counted words, which is how WordPiece vocabularies are learnt in practice.

Each step joins the most frequent pair of neighbours wherever it occurs; of equally frequent pairs the one with the
smaller ids comes first, so the same counts always give the same tokens. (The `tokenizers` library does the same, but
numbers the continuing characters in the order of a hash table, and its ties fall differently at every run:
huggingface/tokenizers #1794.)

All words lie in one array, a position a character, each linked to its neighbours; joined positions drop out of the
chain. Positions are listed only for pairs that occur at least `floor` times. When no such pair is left, the floor falls
and the array, much shorter by then, is listed anew: memory and time go where merges will happen.

No two merges make the same symbol: what happens between two places that no merge ever crosses hangs on nothing outside,
so equal texts are always put together in the same way.

Legend: P positions.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Positions = NDArray[np.int32]

_GAP = -1
"""Between two words."""
_GONE = -2
"""Joined to the position before it."""
_FLOOR_STEP = 8
_CODE_POINTS = 0x110000


class Symbol(NamedTuple):
    """A token in the making: its text, and whether it continues a word or begins one."""

    text: str
    continuing: bool


@dataclass(frozen=True)
class Merge:
    """One step: what the pair became, and how often it occurred."""

    symbol: Symbol
    count: int


@dataclass(frozen=True)
class _Pairs:
    """Pairs by their keys (left id, 32 bits, right id): how often each occurs, and its stretch of `positions`."""

    keys: Integers
    counts: Integers
    positions: Positions
    starts: Integers
    ends: Integers


class Merger:
    """Joins pairs, the most frequent first; iterate to do so.

    Args:
        words: each with how often it occurs.
        symbols: characters to start from, in either form. Ties go by their order. A character of a word that is not
            among them cuts the word in two.
        min_count: a pair that occurs less often is left alone.
    """

    def __init__(self, words: Mapping[str, int], symbols: Sequence[Symbol], *, min_count: int) -> None:
        self._symbols = list(symbols)
        self._min_count = max(1, min_count)
        self._symbol_P, self._weight_P = _lay_out(words, symbols)
        self._compact()
        self._floor = 0
        self._counts: dict[int, int] = {}
        self._positions: dict[int, Positions] = {}
        self._queue: list[tuple[int, int]] = []

    def __iter__(self) -> Iterator[Merge]:
        while True:
            pair = self._most_frequent()
            if pair is not None:
                yield self._join(pair)
            elif self._floor == self._min_count or not self._list_anew():
                return

    def _most_frequent(self) -> int | None:
        """The pair to join next, or None where none reaches the floor. Counts in the queue may be out of date."""
        while self._queue:
            negative_count, pair = heapq.heappop(self._queue)
            count = self._counts.get(pair, 0)
            if count == -negative_count:
                return pair
            if count:
                heapq.heappush(self._queue, (-count, pair))
        return None

    def _join(self, pair: int) -> Merge:
        left, right = pair >> 32, pair & 0xFFFFFFFF
        count = self._counts.pop(pair)
        at = self._positions.pop(pair)
        at = at[(self._symbol_P[at] == left) & (self._symbol_P[self._next_P[at]] == right)]
        if left == right:
            at = self._not_overlapping(at)
        symbol = Symbol(self._symbols[left].text + self._symbols[right].text, self._symbols[left].continuing)
        self._symbols.append(symbol)
        self._forget_pairs(at)
        self._replace(at, len(self._symbols) - 1)
        self._list(self._pairs_at(np.unique(np.concatenate([self._previous_P[at], at]))))
        return Merge(symbol, count)

    def _not_overlapping(self, at: Positions) -> Positions:
        """Of the places of a pair of equals, every second one of each run: `aaaa` is two pairs, not three."""
        at = np.sort(at)
        begins_run = np.ones(len(at), dtype=np.bool_)
        begins_run[1:] = self._next_P[at[:-1]] != at[1:]
        index = np.arange(len(at))
        run_start = np.maximum.accumulate(np.where(begins_run, index, 0))
        every_second: Positions = at[(index - run_start) % 2 == 0]
        return every_second

    def _forget_pairs(self, at: Positions) -> None:
        """Take the pairs that the positions `at` and their right neighbours belong to out of the counts."""
        touched = np.concatenate([self._previous_P[at], at, self._next_P[at]])
        pairs = self._pairs_at(np.unique(touched))
        for key, count in zip(pairs.keys.tolist(), pairs.counts.tolist(), strict=True):
            before = self._counts.get(key)
            if before is None:
                continue
            if before - count >= self._floor:
                self._counts[key] = before - count
            else:
                del self._counts[key], self._positions[key]

    def _replace(self, at: Positions, symbol: int) -> None:
        partner = self._next_P[at]
        after = self._next_P[partner]
        self._symbol_P[at] = symbol
        self._symbol_P[partner] = _GONE
        self._next_P[at] = after
        self._previous_P[after] = at

    def _list(self, pairs: _Pairs) -> None:
        """Enter counts and positions of those of `pairs` that reach the floor; the positions must be all there are."""
        kept = np.flatnonzero(pairs.counts >= self._floor)
        columns = (pairs.keys, pairs.counts, pairs.starts, pairs.ends)
        for key, count, start, end in zip(*(column[kept].tolist() for column in columns), strict=True):
            self._counts[key] = count
            self._positions[key] = pairs.positions[start:end].copy()
            heapq.heappush(self._queue, (-count, key))

    def _pairs_at(self, at: Positions) -> _Pairs:
        """The pairs that begin at the positions `at`, none of them given twice; a gap makes no pair."""
        left, right = self._symbol_P[at], self._symbol_P[self._next_P[at]]
        inside = (left >= 0) & (right >= 0)
        keys = left[inside].astype(np.int64) << 32 | right[inside]
        order = np.argsort(keys, kind="stable")
        keys, at = keys[order], at[inside][order]
        bounds = (
            np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]])) if len(keys) else np.zeros(1, int)
        )
        starts, ends = bounds[:-1], bounds[1:]
        counts = np.add.reduceat(self._weight_P[at], starts) if len(keys) else starts
        return _Pairs(keys[starts], counts, at, starts, ends)

    def _list_anew(self) -> bool:
        """Lower the floor until pairs reach it, and list those; False if none occurs `min_count` times."""
        self._compact()
        pairs = self._pairs_at(np.flatnonzero(self._symbol_P >= 0).astype(np.int32))
        most = int(pairs.counts.max(initial=0))
        self._floor = max(self._min_count, most // _FLOOR_STEP)
        self._list(pairs)
        return most >= self._min_count

    def _compact(self) -> None:
        """Drop positions that are gone, words that are one symbol by now, and gaps after gaps; link the rest."""
        kept = self._symbol_P != _GONE
        symbols, weights = self._symbol_P[kept], self._weight_P[kept]
        gap = symbols == _GAP
        kept = np.ones(len(symbols), dtype=np.bool_)
        kept[1:-1] = ~(gap[:-2] & gap[2:])
        symbols, weights, gap = symbols[kept], weights[kept], gap[kept]
        kept = np.ones(len(symbols), dtype=np.bool_)
        kept[1:] = ~(gap[1:] & gap[:-1])
        self._symbol_P, self._weight_P = symbols[kept], weights[kept]
        index = np.arange(len(self._symbol_P), dtype=np.int32)
        self._next_P, self._previous_P = index + 1, index - 1


def _lay_out(words: Mapping[str, int], symbols: Sequence[Symbol]) -> tuple[Positions, Integers]:
    """All words in one array, a gap before and after each: symbol and word count by position, (P,) both."""
    begin, go_on = (np.full(_CODE_POINTS, _GAP, dtype=np.int32) for _ in range(2))
    for index, symbol in enumerate(symbols):
        (go_on if symbol.continuing else begin)[ord(symbol.text)] = index
    lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    code_points = np.frombuffer("\0".join(["", *words, ""]).encode("utf-32-le"), dtype=np.uint32)
    gaps = np.append(0, np.cumsum(lengths + 1))
    result = go_on[code_points]
    result[gaps[:-1] + 1] = begin[code_points[gaps[:-1] + 1]]
    result[gaps] = _GAP
    weights = np.zeros(len(result), dtype=np.int64)
    weights[:-1] = np.repeat(np.fromiter(words.values(), dtype=np.int64, count=len(words)), lengths + 1)
    return result, weights
