"""Autoregressive language modelling: predict each next token of the same document. Padding never counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from korformer.config import Settings
from korformer.objectives import BatchLoss

if TYPE_CHECKING:
    from korformer.data.packing import Packs
    from korformer.model.backbone import ReformerModel, TrainingDraw


class ArSettings(Settings):
    """Settings of the autoregressive objective; there is nothing to set."""


class Autoregressive:
    """Next-token prediction."""

    name = "ar"
    summary = "predict the next token (GPT)"
    settings = ArSettings

    def predicted(self, packs: Packs) -> int:
        """Tokens of the packs that have a next token."""
        return int((packs.targets >= 0).sum())

    def loss(
        self, model: ReformerModel, packs: Packs, settings: Settings, draw: TrainingDraw, *, reversible: bool = False
    ) -> BatchLoss:
        """Mean cross-entropy of the next tokens."""
        tokens, targets, documents, positions = (
            torch.from_numpy(array).to(model.device, torch.int64, non_blocking=True)
            for array in (packs.tokens, packs.targets, packs.documents, packs.positions)
        )
        hidden = model(tokens, documents_BT=documents, positions_BT=positions, draw=draw, reversible=reversible)
        mean, _ = model.loss(hidden, targets)
        return BatchLoss(mean=mean, predicted=self.predicted(packs))


OBJECTIVE = Autoregressive()
