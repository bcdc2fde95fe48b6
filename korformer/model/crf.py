"""A linear-chain conditional random field (Lafferty, McCallum and Pereira 2001): scores of tags that follow each other.

The score of a sequence of tags y is Σ emission[t, y_t] + Σ transition[y_(t-1), y_t] + start[y_0] + end[y_last]; its
probability is e to that, over the same summed for all sequences, which the forward algorithm adds up in O(T · K²).

Legend: S sequences, T places of the longest, K tags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from korformer.model.heads import HeadSpec

FORBIDDEN = -1e4
"""Added to the score of what must not come; far below any score, and no infinity that gradients could turn into NaN."""


class TagTransitions(nn.Module):
    """The parameters of a conditional random field over `spec.outputs` tags. They begin at zero: every sequence alike.

    Args:
        spec: its shape.
        dim: the model's width, which does not matter here.
    """

    def __init__(self, spec: HeadSpec, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.transitions_KK = nn.Parameter(torch.zeros(spec.outputs, spec.outputs))
        self.start_K = nn.Parameter(torch.zeros(spec.outputs))
        self.end_K = nn.Parameter(torch.zeros(spec.outputs))

    @torch.no_grad()
    def reset(self) -> None:
        """Begin with every sequence alike."""
        for parameter in self.parameters():
            parameter.zero_()

    def log_likelihood(self, emissions_STK: Tensor, tags_ST: Tensor, lengths_S: Tensor) -> Tensor:
        """Log-probability of the tags of each sequence, (S,) float32.

        Args:
            emissions_STK: scores of each tag at each place.
            tags_ST: int64; what stands beyond a sequence's length does not matter.
            lengths_S: int64; a sequence of none has probability 1.
        """
        emissions_STK = emissions_STK.float()
        found_S = self._score(emissions_STK, tags_ST, lengths_S) - self._log_sum(emissions_STK, lengths_S)
        return torch.where(lengths_S > 0, found_S, 0.0)

    def _score(self, emissions_STK: Tensor, tags_ST: Tensor, lengths_S: Tensor) -> Tensor:
        T = emissions_STK.shape[1]
        within_ST = torch.arange(T, device=lengths_S.device) < lengths_S[:, None]
        tags_ST = torch.where(within_ST, tags_ST, 0)
        at_ST = emissions_STK.gather(2, tags_ST[..., None])[..., 0]
        between_ST = self.transitions_KK[tags_ST[:, :-1], tags_ST[:, 1:]]
        last_S = tags_ST.gather(1, (lengths_S[:, None] - 1).clamp(min=0))[:, 0]
        return (
            torch.where(within_ST, at_ST, 0.0).sum(dim=1)
            + torch.where(within_ST[:, 1:], between_ST, 0.0).sum(dim=1)
            + self.start_K[tags_ST[:, 0]]
            + self.end_K[last_S]
        )

    def _log_sum(self, emissions_STK: Tensor, lengths_S: Tensor) -> Tensor:
        """Log of the summed exponentials of the scores of all sequences of each length (the forward algorithm)."""
        sums_SK = self.start_K + emissions_STK[:, 0]
        for place in range(1, emissions_STK.shape[1]):
            further_SK = torch.logsumexp(sums_SK[:, :, None] + self.transitions_KK, dim=1) + emissions_STK[:, place]
            sums_SK = torch.where((place < lengths_S)[:, None], further_SK, sums_SK)
        return torch.logsumexp(sums_SK + self.end_K, dim=1)


def best_tags(
    emissions_TK: NDArray[np.floating],
    transitions_KK: NDArray[np.floating],
    start_K: NDArray[np.floating],
    end_K: NDArray[np.floating],
) -> list[int]:
    """The sequence of tags with the highest score (Viterbi 1967); the lowest tags where scores are equal.

    Args:
        emissions_TK: T at least 1.
        transitions_KK: from row to column.
        start_K, end_K: of the first and the last tag.
    """
    scores_K = start_K + emissions_TK[0]
    came_from = np.zeros(emissions_TK.shape, dtype=np.int64)
    for place in range(1, len(emissions_TK)):
        through_KK = scores_K[:, None] + transitions_KK
        came_from[place] = through_KK.argmax(axis=0)
        scores_K = through_KK.max(axis=0) + emissions_TK[place]
    tags = [int((scores_K + end_K).argmax())]
    for place in range(len(emissions_TK) - 1, 0, -1):
        tags.append(int(came_from[place, tags[-1]]))
    return tags[::-1]
