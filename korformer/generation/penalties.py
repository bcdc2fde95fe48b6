"""Penalties on tokens that are already there.

Legend: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FURTHEST = 32_768
"""Tokens that are looked at where all are asked for: more would cost more than the model does, at every draw."""


def newest(tokens: Sequence[int], range_tokens: int) -> Sequence[int]:
    """The last `range_tokens` of `tokens`; all of them where that is 0, up to the last `FURTHEST`."""
    return tokens[-(range_tokens or FURTHEST) :]


def penalize(
    scores_V: Tensor, tokens: Sequence[int], *, repetition: float = 1.0, presence: float = 0.0, frequency: float = 0.0
) -> Tensor:
    """Lower the scores of the tokens that `tokens` holds.

    Args:
        scores_V: (V,) float32.
        tokens: ids of the text so far, or of the part to look at.
        repetition: positive scores are divided by it, negative ones multiplied (Keskar et al., "CTRL", 2019).
        presence: subtracted once.
        frequency: subtracted for each occurrence.

    Returns:
        (V,) float32; `scores_V` itself where nothing changes.
    """
    if not tokens or (repetition == 1.0 and presence == 0.0 and frequency == 0.0):
        return scores_V
    ids, counts = torch.unique(torch.tensor(tokens), return_counts=True)
    scores = scores_V[ids]
    scores = torch.where(scores > 0, scores / repetition, scores * repetition)
    return scores_V.index_put((ids,), scores - presence - frequency * counts)
