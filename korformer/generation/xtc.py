"""XTC, "exclude top choices": now and then the obvious continuations are dropped, so that the text surprises.

(p-e-w, text-generation-webui pull request 6335; llama.cpp has the same.)
"""

from __future__ import annotations

import torch
from torch import Tensor


def xtc(scores_V: Tensor, threshold: float) -> Tensor:
    """Drop every token of at least this probability but the least likely of them; of equals the highest id stays.

    Args:
        scores_V: (V,) float32, dropped tokens at -inf.
        threshold: a probability; tokens below it are left alone.

    Returns:
        (V,) float32; `scores_V` itself where fewer than two tokens reach the threshold.
    """
    probabilities = torch.softmax(scores_V, dim=0)
    # A threshold of 0 means every token that is still there, not those dropped before.
    obvious = torch.nonzero((probabilities >= threshold) & (scores_V > -torch.inf)).flatten()
    if obvious.numel() < 2:
        return scores_V
    of_obvious = scores_V[obvious]
    least = obvious[of_obvious == of_obvious.min()][-1]
    return scores_V.index_fill(0, obvious[obvious != least], -torch.inf)
