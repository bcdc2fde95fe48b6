"""Does the model use what is far back? The same tokens, predicted with more and less of their context."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from korformer.evaluation.scoring import LanguageModel, score
from korformer.evaluation.windows import IGNORED, Segment

BLOCK_TOKENS = 8
"""Successive tokens that are measured together; the context of the last one is this much longer, less one."""

SHORTEST_CONTEXT_TOKENS = 16
GROWTH = 4
ENOUGH_BLOCKS = 32
"""A longest context that fewer blocks than this can fill gives way to the next shorter one."""


@dataclass(frozen=True, kw_only=True)
class ContextRow:
    """The sampled tokens with their context cut to the last `context_tokens`.

    Attributes:
        context_tokens: tokens before the first token of a block (up to `BLOCK_TOKENS` - 1 more for its others).
        tokens: how many tokens were predicted; the same ones in each row.
        bits_per_token: their mean loss.
        above_longest: how much more that is than with the longest context.
        standard_error: of `above_longest`, over blocks; None for the longest context itself, and for a single block.
    """

    context_tokens: int
    tokens: int
    bits_per_token: float
    above_longest: float
    standard_error: float | None


def context_lengths(window: int) -> list[int]:
    """Contexts to compare for a window: 16, 64, 256, … tokens and the longest that fits. Empty for a tiny window."""
    longest = window - BLOCK_TOKENS + 1
    lengths = []
    length = SHORTEST_CONTEXT_TOKENS
    while length * 1.5 < longest:
        lengths.append(length)
        length *= GROWTH
    return [*lengths, longest] if longest >= SHORTEST_CONTEXT_TOKENS else []


class ContextProbe:
    """Collects late tokens while documents go by, then measures them.

    Args:
        window: the model's window in tokens.
        tokens: most tokens to sample.
        seed: of the sample; the same documents in the same order give the same sample.
    """

    def __init__(self, *, window: int, tokens: int, seed: int) -> None:
        self._window = window
        self._lengths = context_lengths(window)
        self._capacity = max(1, tokens // BLOCK_TOKENS)
        # One sample for each possible longest context: which of them the documents can fill is known at the end.
        self._samples = {
            length: _Sample(context=length, capacity=self._capacity, random=np.random.default_rng([seed, length]))
            for length in self._lengths[1:]
        }

    def offer(self, tokens: NDArray[np.integer]) -> None:
        """Let a document ((T,) ids with [CLS] and [SEP]) take part."""
        for sample in self._samples.values():
            sample.offer(tokens)

    def measure(self, model: LanguageModel, *, batch_tokens: int, budget_tokens: int) -> list[ContextRow]:
        """Predict the sampled tokens with each context; call it inside `evaluating`.

        Args:
            model: gives the probabilities.
            batch_tokens: aim for the tokens of a forward pass.
            budget_tokens: most tokens to run through the model; the sample shrinks to fit (but not to nothing).

        Returns:
            A row for each length of context, ascending; empty where no document is long enough.
        """
        longest = self._longest()
        if longest is None:
            return []
        lengths = [length for length in self._lengths if length <= longest]
        cost = sum(length + BLOCK_TOKENS - 1 for length in lengths)
        blocks = self._samples[longest].blocks()[: max(ENOUGH_BLOCKS, budget_tokens // cost)]
        # By length, so that rows are even and a model that must not be packed still gets batches.
        bits = np.zeros((len(lengths), len(blocks)))
        for number, length in enumerate(lengths):
            segments = self._segments(blocks, length)
            for segment, losses in score(model, segments, row_tokens=self._window, batch_tokens=batch_tokens):
                bits[number, segment.document] = losses.sum() / np.log(2)
        per_length = list(bits)
        return [_row(length, row, per_length[-1]) for length, row in zip(lengths, per_length, strict=True)]

    def _longest(self) -> int | None:
        filled = {length: len(sample) for length, sample in self._samples.items() if len(sample)}
        enough = [length for length, blocks in filled.items() if blocks >= ENOUGH_BLOCKS]
        return max(enough) if enough else min(filled, default=None)

    @staticmethod
    def _segments(blocks: list[NDArray[np.int64]], length: int) -> Iterator[Segment]:
        for index, block in enumerate(blocks):
            start = len(block) - BLOCK_TOKENS - length
            targets = block[start + 1 :].copy()
            targets[: length - 1] = IGNORED
            yield Segment(document=index, start=start, inputs=block[start:-1], targets=targets)


class _Sample:
    """A uniform sample of blocks, each with the `context` tokens before it, from documents that go by once."""

    def __init__(self, *, context: int, capacity: int, random: np.random.Generator) -> None:
        self._context = context
        self._capacity = capacity
        self._random = random
        # A heap of (-key, serial, block): the `capacity` smallest of independent uniform keys are a uniform sample.
        self._kept: list[tuple[float, int, NDArray[np.int64]]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._kept)

    def offer(self, tokens: NDArray[np.integer]) -> None:
        """Consider every block of a document that has enough tokens before it."""
        candidates = max(0, (len(tokens) - self._context) // BLOCK_TOKENS)
        keys = self._random.random(candidates)
        worst = -self._kept[0][0] if len(self._kept) >= self._capacity else 1.0
        for candidate in np.flatnonzero(keys < worst):
            first = int(candidate) * BLOCK_TOKENS
            block = np.array(tokens[first : first + self._context + BLOCK_TOKENS], dtype=np.int64)
            self._serial += 1
            entry = (-float(keys[candidate]), self._serial, block)
            if len(self._kept) < self._capacity:
                heapq.heappush(self._kept, entry)
            else:
                heapq.heappushpop(self._kept, entry)

    def blocks(self) -> list[NDArray[np.int64]]:
        """The sample; any first part of it is a uniform sample too."""
        return [block for _, _, block in sorted(self._kept, key=lambda entry: (-entry[0], entry[1]))]


def _row(length: int, bits: NDArray[np.float64], bits_longest: NDArray[np.float64]) -> ContextRow:
    above = (bits - bits_longest) / BLOCK_TOKENS
    compared = bits is not bits_longest and len(above) > 1
    error = float(above.std(ddof=1) / np.sqrt(len(above))) if compared else None
    return ContextRow(
        context_tokens=length,
        tokens=len(bits) * BLOCK_TOKENS,
        bits_per_token=float(bits.mean()) / BLOCK_TOKENS,
        above_longest=float(above.mean()),
        standard_error=error,
    )
