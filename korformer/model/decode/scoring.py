"""A model as evaluation sees it, computed as generation computes it: token by token, in the precision of the weights.

Legend: B samples, T tokens, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from korformer.model.config import ModelConfig
from korformer.model.decode.matrices import Precision
from korformer.model.decode.state import DecodeState
from korformer.model.decode.weights import decode_weights

if TYPE_CHECKING:
    from korformer.model.backbone import ReformerModel


class StepwiseModel:
    """Gives the probabilities that a text has while it is written one token at a time.

    Args:
        model: a decoder in evaluation mode.
        weights: precision of the matrices.
    """

    strictly_causal = True
    """So is every decode; one of lsh attention is the frozen prefix."""
    training = False

    def __init__(self, model: ReformerModel, weights: Precision) -> None:
        self._model = model
        self._precision = weights
        DecodeState(model, weights)  # an encoder is refused here

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        return self._model.config

    def train(self, mode: bool = True) -> StepwiseModel:
        """Nothing: this is for evaluation only."""
        return self

    def parameters(self) -> Iterator[nn.Parameter]:
        """The model's weights."""
        return self._model.parameters()

    def __call__(self, tokens_BT: Tensor, *, documents_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """Hidden states before the final norm, (B, T, D); 0 on padding.

        Args:
            tokens_BT: token ids.
            documents_BT: document of each token, -1 on padding.
            positions_BT: position of each token in its document; a document begins with 0.
        """
        hidden_BTD = torch.zeros(*tokens_BT.shape, self.config.dim, device=tokens_BT.device)
        for tokens, documents, positions, hidden_TD in zip(
            tokens_BT.tolist(), documents_BT.tolist(), positions_BT.tolist(), hidden_BTD, strict=True
        ):
            for place, (token, document, position) in enumerate(zip(tokens, documents, positions, strict=True)):
                if document < 0:
                    continue
                if position == 0:
                    state = DecodeState(self._model, self._precision)
                hidden_TD[place] = state.advance([token])[0]
        return hidden_BTD

    def token_losses(self, hidden_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        """Cross-entropy of each token in nats, (B, T) float32; 0 where the target is -100."""
        weights = decode_weights(self._model, self._precision)
        losses_BT = torch.zeros(targets_BT.shape, device=targets_BT.device)
        with torch.inference_mode():
            for sample, place in (targets_BT != -100).nonzero().tolist():
                logits_V = weights.logits(hidden_BTD[sample, place][None])
                losses_BT[sample, place] = F.cross_entropy(logits_V, targets_BT[sample, place])
        return losses_BT
