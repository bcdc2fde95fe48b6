"""A part of a token store to measure on: a random sample of the windows that measuring all of it would see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from korformer.evaluation.windows import Segment, window_segment


class TokenDocuments(Protocol):
    """Tokenized documents; `korformer.data.token_store.TokenStore` is one."""

    @property
    def documents(self) -> int:
        """How many there are."""

    @property
    def tokens(self) -> int:
        """Their tokens, [CLS] and [SEP] included."""

    @property
    def characters(self) -> int:
        """NFC code points of their texts."""

    def spans(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where documents lie among the tokens: (n,) -> (n, 2), begin and end."""

    def read(self, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.integer]:
        """The tokens of stretches, one after another."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """Windows of a store, those of one document side by side; arrays of equal length.

    Attributes:
        document: (n,) index in the store.
        begin: (n,) where that document lies among the store's tokens.
        number: (n,) which window of the document.
        inputs: (n,) inputs of the document that the window may use; fewer than there are where the sample ends.
        predicted: (n,) how many tokens the window counts.
    """

    document: NDArray[np.int64]
    begin: NDArray[np.int64]
    number: NDArray[np.int64]
    inputs: NDArray[np.int64]
    predicted: NDArray[np.int64]


def sample_windows(store: TokenDocuments, *, window: int, max_tokens: int | None, seed: int) -> Windows:
    """All windows, or a uniform sample of them that counts exactly `max_tokens` tokens.

    Windows rather than documents, because one long document could be all of the sample; and each with the context that
    it has when all is measured, so that the sample estimates the same figure. The last one drawn counts its first
    tokens only.

    Args:
        store: the documents.
        window: most inputs of a window.
        max_tokens: None for all.
        seed: with the store and the window, it decides the sample.
    """
    spans = store.spans(np.arange(store.documents, dtype=np.int64))
    predictions = spans[:, 1] - spans[:, 0] - 1
    half = window // 2
    counts = np.where(predictions > window, 1 + -(-(predictions - window) // half), np.minimum(predictions, 1))
    ends = np.cumsum(counts)
    chosen = np.arange(ends[-1] if len(ends) else 0)
    if max_tokens is not None:
        chosen = np.random.default_rng(seed).permutation(chosen)
    document = np.searchsorted(ends, chosen, side="right")
    number = chosen - (ends - counts)[document]
    first = np.where(number == 0, 0, window + (number - 1) * half)
    inputs = np.minimum(predictions[document], number * half + window)
    predicted = inputs - first
    if max_tokens is not None:
        total = np.cumsum(predicted)
        excess = np.maximum(total - max_tokens, 0)
        kept = excess < predicted
        chosen, document, number = chosen[kept], document[kept], number[kept]
        inputs, predicted = (inputs - excess)[kept], (predicted - excess)[kept]
    order = np.argsort(chosen)
    return Windows(
        document=document[order],
        begin=spans[document[order], 0],
        number=number[order],
        inputs=inputs[order],
        predicted=predicted[order],
    )


def read_window(store: TokenDocuments, windows: Windows, index: int, *, window: int, name: int) -> Segment:
    """One of the windows as a segment; `name` is what it calls its document."""
    start = int(windows.number[index]) * (window // 2)
    begin = windows.begin[index : index + 1]
    tokens = store.read(begin + start, begin + windows.inputs[index] + 1)
    return window_segment(name, tokens, start=start, predicted=int(windows.predicted[index]))
