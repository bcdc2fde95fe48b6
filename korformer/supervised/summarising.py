"""Solvers that have one answer for a whole window: what the model makes of its tokens, in the mean.

[CLS] and the last token of a decoder are the usual stand-ins for a text. Of models that were not pretrained to put a
summary there, which is all but those of sentence pairs, the mean says more (Reimers & Gurevych 2019).

Legend: W windows, L tokens, D model width, S scores of the head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from korformer.model.heads import HeadSpec
from korformer.supervised.batches import Batch
from korformer.supervised.task import ExampleT, PredictionT, Reader, Solver

if TYPE_CHECKING:
    from torch import Tensor

    from korformer.model.backbone import ReformerModel


class SummarySolver(Solver[ExampleT, PredictionT]):
    """What such solvers have in common: one head, its scores, and those as what is kept of a window.

    Args:
        scores: how many the head gives.
        reader: vocabulary and lengths.

    Attributes:
        head: the head's name in the model directory.
    """

    head: ClassVar[str]

    def __init__(self, scores: int, reader: Reader | None) -> None:
        self.reader = reader
        self._head_spec = HeadSpec(reads="mean", outputs=scores)

    @property
    def heads(self) -> Mapping[str, HeadSpec]:
        """One, on the mean of a window's tokens."""
        return {self.head: self._head_spec}

    def head_scores(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> Tensor:
        """Scores (W, S) float32 of a batch's windows."""
        mean_WD = hidden_WLD.sum(dim=1) / batch.lengths[:, None]  # hidden states beyond a window's end are zero
        scores: Tensor = model.heads[self.head](mean_WD).float()
        return scores

    def outputs(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> list[NDArray[np.float64]]:
        """Scores (S,) of each window."""
        return list(self.head_scores(model, hidden_WLD, batch).double().cpu().numpy())
