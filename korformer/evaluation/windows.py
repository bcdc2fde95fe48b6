"""How a document is cut for measuring, and how the pieces share a forward pass.

A document of T tokens ([CLS] first, [SEP] last) has T - 1 predictions: every token after [CLS]. The first piece takes
the document from its start; later ones begin half a window further each and count only what no earlier piece counted,
so that each token is predicted exactly once and, from the second piece on, with half a window of context or more. A
later piece has no [CLS] and its positions start at 0: that is how training shows the model the rest of a long document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORED = -100
"""Target that is not counted (the convention of torch's cross-entropy)."""

POOL_BATCHES = 16
"""Batches that are looked over together when short pieces are combined into rows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """A piece of one document that the model sees by itself.

    Attributes:
        document: which document it comes from.
        start: index of its first token in the document.
        inputs: (n,) token ids.
        targets: (n,) the token after each input, or `IGNORED` where it is not counted.
    """

    document: int
    start: int
    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Segments laid out in rows; padding has token 0, target `IGNORED`, document -1 and position 0.

    Attributes:
        tokens: (B, L) int64.
        targets: (B, L) int64.
        documents: (B, L) int32, 0, 1, 2, … along a row.
        positions: (B, L) int64, from 0 in each segment.
        places: row, column and segment of each piece.
    """

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    documents: NDArray[np.int32]
    positions: NDArray[np.int64]
    places: list[tuple[int, int, Segment]]


def document_segments(document: int, tokens: NDArray[np.integer], window: int) -> Iterator[Segment]:
    """Cut a document with a stride of half a window.

    Args:
        document: what to call it in the segments.
        tokens: (T,) ids with [CLS] and [SEP].
        window: most inputs of a segment; 2 or more.
    """
    predictions = len(tokens) - 1
    start = counted = 0
    while counted < predictions:
        end = min(start + window, predictions)
        yield window_segment(document, tokens[start : end + 1], start=start, predicted=end - counted)
        counted = end
        start += window // 2


def window_segment(document: int, tokens: NDArray[np.integer], *, start: int, predicted: int) -> Segment:
    """The segment over a stretch of a document.

    Args:
        document: what to call it in the segment.
        tokens: (n + 1,) ids: n inputs, and the target of the last one.
        start: where the stretch begins in the document.
        predicted: how many targets count, at the end.
    """
    ids = np.asarray(tokens, dtype=np.int64)
    targets = ids[1:].copy()
    targets[: len(targets) - predicted] = IGNORED
    return Segment(document=document, start=start, inputs=ids[:-1], targets=targets)


def batches(segments: Iterable[Segment], *, row_tokens: int, batch_tokens: int, pack: bool) -> Iterator[Batch]:
    """Lay segments out in rows of at most `row_tokens` (a longer segment gets a row of its own).

    Args:
        segments: in any order; a bounded number of them is held at a time.
        row_tokens: the model's window.
        batch_tokens: aim for the size of a batch; it has at least one row.
        pack: several segments may share a row. False for a model whose probabilities depend on what else is in the
            row: then a row holds one segment, and a batch only segments of one length, so nothing is padded.
    """
    pool: list[Segment] = []
    held = 0
    for segment in segments:
        pool.append(segment)
        held += len(segment)
        if held >= POOL_BATCHES * max(batch_tokens, row_tokens):
            yield from _batches_of_pool(pool, row_tokens, batch_tokens, pack)
            pool, held = [], 0
    yield from _batches_of_pool(pool, row_tokens, batch_tokens, pack)


def _batches_of_pool(pool: list[Segment], row_tokens: int, batch_tokens: int, pack: bool) -> Iterator[Batch]:
    rows = _shared_rows(pool, row_tokens) if pack else [[segment] for segment in sorted(pool, key=len, reverse=True)]
    waiting: list[list[Segment]] = []
    width = 0
    for row in rows:
        length = sum(map(len, row))
        too_many = (len(waiting) + 1) * max(width, length) > batch_tokens
        if waiting and (too_many or (not pack and length != width)):
            yield _lay_out(waiting)
            waiting, width = [], 0
        waiting.append(row)
        width = max(width, length)
    if waiting:
        yield _lay_out(waiting)


def _shared_rows(pool: list[Segment], row_tokens: int) -> list[list[Segment]]:
    """Rows by length: the longest segment left, filled up with the shortest ones left."""
    ordered = sorted(pool, key=len, reverse=True)
    rows = []
    longest, shortest = 0, len(ordered) - 1
    while longest <= shortest:
        row, free = [ordered[longest]], row_tokens - len(ordered[longest])
        longest += 1
        while shortest >= longest and len(ordered[shortest]) <= free:
            row.append(ordered[shortest])
            free -= len(ordered[shortest])
            shortest -= 1
        rows.append(row)
    return rows


def _lay_out(rows: list[list[Segment]]) -> Batch:
    shape = (len(rows), max(sum(map(len, row)) for row in rows))
    tokens = np.zeros(shape, dtype=np.int64)
    targets = np.full(shape, IGNORED, dtype=np.int64)
    documents = np.full(shape, -1, dtype=np.int32)
    positions = np.zeros(shape, dtype=np.int64)
    places = []
    for number, row in enumerate(rows):
        column = 0
        for index, segment in enumerate(row):
            span = slice(column, column + len(segment))
            tokens[number, span] = segment.inputs
            targets[number, span] = segment.targets
            documents[number, span] = index
            positions[number, span] = np.arange(len(segment))
            places.append((number, column, segment))
            column += len(segment)
    return Batch(tokens=tokens, targets=targets, documents=documents, positions=positions, places=places)
