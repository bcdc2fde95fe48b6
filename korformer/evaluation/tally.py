"""Adding up losses: in all, by document and by position."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from korformer.evaluation.context import ContextRow
from korformer.evaluation.result import LmResult, PositionRow
from korformer.evaluation.windows import IGNORED, Segment

FIRST_BUCKET_TOKENS = 16
"""Positions 1 to 15 make the first row by position, 16 to 31 the next, then powers of two."""


class Tally:
    """Running sums of one measurement.

    Args:
        window: most tokens of context.
        characters: (V,) code points that begin in each token, or None where the vocabulary is not lossless.
    """

    def __init__(self, *, window: int, characters: NDArray[np.int64] | None) -> None:
        self.window = window
        self.tokens = 0
        self.inputs = 0
        self.empty_documents = 0
        self._characters = characters
        # 16 bytes a document; the error bar needs them apart.
        self._document_bits = array("d")
        self._document_characters = array("d")
        self._edges = _position_edges(window)
        rows = len(self._edges)
        self._position_tokens = np.zeros(rows, dtype=np.int64)
        self._position_documents = np.zeros(rows, dtype=np.int64)
        self._position_bits = np.zeros(rows)
        self._position_characters = np.zeros(rows)

    def begin_document(self, characters: float) -> int:
        """Count a document in; the number is what its segments are to be called."""
        self._document_bits.append(0.0)
        self._document_characters.append(characters)
        return len(self._document_bits) - 1

    def add_characters(self, document: int, characters: float) -> None:
        """Count more characters of a document in."""
        self._document_characters[document] += characters

    def characters_of(self, targets: NDArray[np.int64], *, share: float) -> float:
        """Characters of the counted ones among some targets, or `share` each where the vocabulary cannot tell."""
        counted = targets[targets != IGNORED]
        return float(self._characters[counted].sum()) if self._characters is not None else len(counted) * share

    def add(self, segment: Segment, losses: NDArray[np.float64]) -> None:
        """Count a segment's losses ((n,) nats) in."""
        counted = segment.targets != IGNORED
        bits = losses[counted] / np.log(2)
        self.tokens += len(bits)
        self.inputs += len(segment)
        self._document_bits[segment.document] += float(bits.sum())
        if segment.start == 0:
            self._add_positions(segment.targets, bits)

    def _add_positions(self, targets: NDArray[np.int64], bits: NDArray[np.float64]) -> None:
        row = np.searchsorted(self._edges, np.arange(1, len(bits) + 1), side="right") - 1
        size = len(self._edges)
        self._position_tokens += np.bincount(row, minlength=size)
        self._position_documents[: row[-1] + 1] += 1
        self._position_bits += np.bincount(row, weights=bits, minlength=size)
        if self._characters is not None:
            self._position_characters += np.bincount(row, weights=self._characters[targets], minlength=size)

    def result(self, *, strictly_causal: bool, by_context: Sequence[ContextRow], seconds: float) -> LmResult:
        """The figures so far."""
        reasons = []
        if not strictly_causal:
            reasons.append("the model's probabilities are not strictly causal")
        if self._characters is None:
            reasons.append("the vocabulary is not lossless, so the tokens do not spell the text")
        bits, characters = np.array(self._document_bits), np.array(self._document_characters)
        return LmResult(
            bits=float(bits.sum()),
            tokens=self.tokens,
            characters=round(float(characters.sum())),
            documents=len(bits),
            empty_documents=self.empty_documents,
            window=self.window,
            not_comparable="; ".join(reasons) or None,
            standard_error=_ratio_error(bits, characters),
            by_position=tuple(self._position_rows()),
            by_context=tuple(by_context),
            seconds=seconds,
        )

    def _position_rows(self) -> list[PositionRow]:
        rows = []
        ends = [*self._edges[1:].tolist(), self.window + 1]
        for index, (first, end) in enumerate(zip(self._edges.tolist(), ends, strict=True)):
            tokens, bits = int(self._position_tokens[index]), float(self._position_bits[index])
            characters = float(self._position_characters[index])
            if tokens:
                rows.append(
                    PositionRow(
                        first=first,
                        last=end - 1,
                        tokens=tokens,
                        documents=int(self._position_documents[index]),
                        bits_per_token=bits / tokens,
                        bits_per_character=bits / characters if characters else None,
                    )
                )
        return rows


def _position_edges(window: int) -> NDArray[np.int64]:
    edges = [1]
    edge = FIRST_BUCKET_TOKENS
    # A bucket for the single position `window` would only be noise.
    while edge < window:
        edges.append(edge)
        edge *= 2
    return np.array(edges, dtype=np.int64)


def _ratio_error(bits: NDArray[np.float64], characters: NDArray[np.float64]) -> float | None:
    """Standard error of sum(bits) / sum(characters) over documents as a sample (linearised ratio estimator)."""
    count, total = len(bits), characters.sum()
    if count < 2 or total <= 0:
        return None
    residuals = bits - bits.sum() / total * characters
    return float(np.sqrt(count / (count - 1) * (residuals**2).sum()) / total)
