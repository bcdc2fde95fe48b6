"""Attention weights as passages of the text that was read.

Legend: T tokens that were read, P passages.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from korformer.writing.messages import Passage

PASSAGE_CHARACTERS = 160
"""A longer sentence is several passages."""

_SENTENCES = re.compile(r"(?:[^\n.!?。！？…]|(?<=[0-9])\.(?![.!?…]))*(?:[.!?。！？…]+[\"'”’」』》〉)\]]*[ \t]*|\n+|\Z)")
"""A full stop behind a digit ends none: it may be that of a number, as in `generation.sentences`."""


def mean_attention(attention: Callable[[int], Tensor], layers: int) -> NDArray[np.float64]:
    """The weights that a token gave to positions, mean of all heads of all layers, (T,); they sum to 1.

    Args:
        attention: gives those of a layer, (H, T).
        layers: how many there are.
    """
    total = sum(attention(layer).mean(dim=0).double() for layer in range(layers))
    assert isinstance(total, Tensor)
    mean: NDArray[np.float64] = (total / layers).cpu().numpy()
    return mean


def passages(
    text: str, weights_T: NDArray[np.float64], starts_T: NDArray[np.int64], ends_T: NDArray[np.int64], *, most: int
) -> tuple[Passage, ...]:
    """The passages with the largest weights, strongest first.

    Args:
        text: all of it.
        weights_T: of each token read.
        starts_T, ends_T: its characters; a token without any, such as [CLS], does not count.
        most: passages to give.
    """
    seen = ends_T > starts_T
    weights, starts, ends = weights_T[seen], starts_T[seen], ends_T[seen]
    if not weights.size:
        return ()
    borders = _borders(text, int(starts.min()), int(ends.max()))
    place = np.searchsorted(borders, ends - 1, side="right") - 1  # a token may begin with the space before a sentence
    sums = np.bincount(place, weights=weights, minlength=len(borders))
    found: list[Passage] = []
    for number in np.argsort(-sums, kind="stable").tolist():
        if sums[number] <= 0 or len(found) == most:
            break
        start = int(borders[number])
        end = int(borders[number + 1]) if number + 1 < len(borders) else int(ends.max())
        if not text[start:end].strip():
            continue  # blank lines are no place to look at
        inside = np.flatnonzero(place == number)
        peak = int(inside[np.argmax(weights[inside])])
        found.append(
            Passage(
                start=start,
                end=end,
                weight=float(sums[number]),
                peak_start=int(starts[peak]),
                peak_end=int(ends[peak]),
            )
        )
    return tuple(found)


def _borders(text: str, start: int, end: int) -> NDArray[np.int64]:
    """Where passages begin, (P,)."""
    begins: list[int] = []
    for sentence in _SENTENCES.finditer(text, start, end):
        if sentence.end() == sentence.start():
            continue
        count = -(-(sentence.end() - sentence.start()) // PASSAGE_CHARACTERS)
        size = -(-(sentence.end() - sentence.start()) // count)
        begins += [sentence.start() + number * size for number in range(count)]
    return np.array(begins or [start], dtype=np.int64)
