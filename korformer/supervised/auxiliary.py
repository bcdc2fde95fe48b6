"""A language model's loss on the texts of a task, beside the task's own (Radford et al. 2018).

A decoder predicts each next token of a window in the pass that it makes anyway. An encoder has seen them all; it reads
the windows a second time with some of their tokens hidden, and guesses those.

Legend: B rows, T tokens of a row, D model width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from korformer.data.edges import TokenEdges
from korformer.data.masking import Masked, MaskSettings, mask_tokens
from korformer.model.losses import IGNORED
from korformer.objectives import Term
from korformer.supervised.batches import Batch
from korformer.supervised.running import hidden_states

if TYPE_CHECKING:
    from korformer.model.backbone import ReformerModel
    from korformer.model.draws import TrainingDraw
    from korformer.text.vocabulary import Vocabulary

TERM = "lm"


class Auxiliary:
    """The auxiliary loss.

    Args:
        vocabulary: of the model.
        causal: whether it is a decoder.
        weight: of this loss beside the task's.
    """

    def __init__(self, vocabulary: Vocabulary, *, causal: bool, weight: float) -> None:
        self._causal = causal
        self._weight = weight
        self._edges = None if causal else TokenEdges(vocabulary)

    def counts(self, batch: Batch, draw: TrainingDraw) -> Mapping[str, int]:
        """Tokens that will be predicted."""
        if self._causal:
            return {TERM: batch.real_tokens - len(batch.windows)}
        return {TERM: self._masked(batch, draw).count}

    def terms(
        self, model: ReformerModel, batch: Batch, hidden_BTD: Tensor, draw: TrainingDraw, *, reversible: bool
    ) -> Mapping[str, Term]:
        """The term of the loss.

        Args:
            model: with gradients.
            batch: beside the model.
            hidden_BTD: what the model made of it.
            draw: the keys of the pass.
            reversible: see `ReformerModel.forward`.
        """
        if self._causal:
            targets = next_tokens(batch)
            count = batch.real_tokens - len(batch.windows)
        else:
            masked = self._masked(batch, draw)
            count = masked.count
            tokens, targets = (torch.from_numpy(array).to(model.device) for array in (masked.tokens, masked.targets))
            hidden_BTD = hidden_states(model, batch, tokens_BT=tokens, draw=draw, reversible=reversible)
        places = (targets.flatten() != IGNORED).nonzero().squeeze(-1)
        mean, _ = model.loss(hidden_BTD.flatten(0, 1)[places][None], targets.flatten()[places][None])
        return {TERM: Term(mean=mean, count=count, weight=self._weight)}

    def _masked(self, batch: Batch, draw: TrainingDraw) -> Masked:
        assert self._edges is not None
        return mask_tokens(
            batch.tokens_BT.cpu().numpy(),
            batch.documents_BT.cpu().numpy().astype("int32"),
            samples=draw.samples,
            seed=draw.seed,
            step=draw.step,
            settings=MaskSettings(),
            edges=self._edges,
        )


def next_tokens(batch: Batch) -> Tensor:
    """The token after each one in its window, (B, T) int64; -100 at a window's last and on padding."""
    targets = torch.full_like(batch.tokens_BT, IGNORED)
    same = (batch.documents_BT[:, 1:] == batch.documents_BT[:, :-1]) & (batch.documents_BT[:, 1:] >= 0)
    targets[:, :-1] = torch.where(same, batch.tokens_BT[:, 1:], IGNORED)
    return targets
