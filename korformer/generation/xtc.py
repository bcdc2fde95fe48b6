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
    obvious = (probabilities >= threshold) & (scores_V > -torch.inf)
    if int(obvious.sum()) < 2:
        return scores_V
    least = scores_V.masked_fill(~obvious, torch.inf).min()
    obvious[torch.nonzero(obvious & (scores_V == least)).flatten()[-1]] = False
    return scores_V.masked_fill(obvious, -torch.inf)
