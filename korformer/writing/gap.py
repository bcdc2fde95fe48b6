"""Where the tokens that a model is shown around a gap stand in the text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from korformer.generation.infilling import Order
from korformer.text.vocabulary import MASK_ID
from korformer.writing.tokenizing import TokenizedText


def places_around_gap(
    tokens: list[int], prefix: TokenizedText, suffix_ends: NDArray[np.int64], order: Order
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Characters of the tokens that a model is shown around a gap; marks have none.

    Args:
        tokens: what it is shown.
        prefix: the text before the gap, of which it is shown the end.
        suffix_ends: characters up to the end of each token behind the gap, of which it is shown the beginning.
        order: of the two.
    """
    marks = [place for place, token in enumerate(tokens) if token == MASK_ID]
    first, second = marks[0], marks[1]
    ends = np.zeros(len(tokens), dtype=np.int64)
    starts = np.zeros(len(tokens), dtype=np.int64)
    suffix = second - first - 1
    gap = int(prefix.ends[-1])
    ends[first + 1 : second] = suffix_ends[:suffix]
    starts[first + 1 : second] = np.concatenate([[gap], suffix_ends])[:suffix]
    where = slice(second + 1, len(tokens)) if order == "suffix_first" else slice(0, first)
    shown = where.stop - where.start
    if shown:
        ends[where] = prefix.ends[-shown:]
        starts[where] = np.concatenate([[0], prefix.ends])[-shown - 1 : -1]
    return starts, ends
