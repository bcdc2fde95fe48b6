"""DRY, "don't repeat yourself": a penalty on tokens that would go on with a passage already written.

A token pays `multiplier * base ** (n - allowed_length)` where n is the length of the longest passage, ending where the
text ends, that also stands earlier and was followed by that token there; passages shorter than `allowed_length` are
free, and none reaches across a sequence breaker. (p-e-w, text-generation-webui pull request 5677; llama.cpp has the
same.)

Legend: V vocabulary, T tokens looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_EXPONENT = 80.0
"""Natural logarithm of the largest factor: float32 holds e^88."""


def breaker_tokens(pieces: Sequence[bytes], breakers: Sequence[str]) -> NDArray[np.bool_]:
    """Which tokens overlap an occurrence of a sequence breaker in the text that they make up.

    Args:
        pieces: UTF-8 bytes of each token.
        breakers: non-empty strings; one may be spread over several tokens.

    Returns:
        (T,) bool.
    """
    text = b"".join(pieces)
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    marked = np.zeros(len(pieces), dtype=np.bool_)
    for breaker in breakers:
        wanted = breaker.encode("utf-8", "surrogatepass")
        found = text.find(wanted)
        while found >= 0:
            first = int(np.searchsorted(ends, found, side="right"))
            last = int(np.searchsorted(ends, found + len(wanted) - 1, side="right"))
            marked[first : last + 1] = True
            found = text.find(wanted, found + 1)
    return marked


def repeat_lengths(tokens: NDArray[np.int64], breaks: NDArray[np.bool_], longest: int) -> dict[int, int]:
    """For each token that followed an earlier copy of how the text ends: the length of the longest such passage.

    Args:
        tokens: (T,) ids.
        breaks: (T,) bool, tokens that no passage contains and that are never penalised.
        longest: passages are followed back no further than this many tokens.
    """
    count = len(tokens)
    broken = np.flatnonzero(breaks)
    limit = min(longest, count - 1 - int(broken[-1]) if broken.size else count - 1)
    followers = np.flatnonzero(~breaks)
    lengths: dict[int, int] = {}
    for length in range(1, limit + 1):
        # A follower at index i has a passage of this length if its tokens before i are those at the end.
        followers = followers[followers >= length]
        followers = followers[tokens[followers - length] == tokens[count - length]]
        if not followers.size:
            break
        lengths.update(dict.fromkeys(tokens[followers].tolist(), length))
    return lengths


def dry(
    scores_V: Tensor,
    tokens: Sequence[int],
    breaks: NDArray[np.bool_],
    *,
    multiplier: float,
    base: float,
    allowed_length: int,
) -> Tensor:
    """Lower the scores of tokens that would repeat a passage.

    Args:
        scores_V: (V,) float32.
        tokens: ids of the text so far, or of the part to look at.
        breaks: which of them are sequence breakers, (T,) bool.
        multiplier, base, allowed_length: of the formula above.

    Returns:
        (V,) float32; `scores_V` itself where nothing changes.
    """
    if multiplier == 0.0 or len(tokens) <= allowed_length:
        return scores_V
    steps = int(MAX_EXPONENT / math.log(base)) if base > 1.0 else 0
    lengths = repeat_lengths(np.asarray(tokens, dtype=np.int64), breaks, allowed_length + steps)
    costs = {
        token: multiplier * base ** (length - allowed_length)
        for token, length in lengths.items()
        if length >= allowed_length
    }
    if not costs:
        return scores_V
    ids = torch.tensor(list(costs))
    return scores_V.index_put((ids,), scores_V[ids] - torch.tensor(list(costs.values()), dtype=scores_V.dtype))
