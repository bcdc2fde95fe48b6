"""Pairs of texts as a model meets them: what labels and scores have in common.

Legend: W windows, L tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from korformer.config import Settings
from korformer.evaluation.report import excerpt
from korformer.model.heads import HeadSpec
from korformer.supervised.batches import Batch, Window
from korformer.supervised.sequences import pair_windows, summary
from korformer.supervised.task import Example, PredictionT, Reader, Solver

if TYPE_CHECKING:
    from torch import Tensor

    from korformer.model.backbone import ReformerModel

HEAD = "pair"


class PairSettings(Settings):
    """Settings of pairs."""

    kind: Literal["auto", "labels", "score"] = "auto"
    """What is to be learnt of a pair; auto tells it by the names of the columns, labels where there are none."""


@dataclass(frozen=True, kw_only=True)
class PairExample(Example):
    """Two texts, and how they belong together where that is known.

    Attributes:
        first, second: as they came.
        label: or None.
        score: or None.
    """

    first: str
    second: str
    label: str | None = None
    score: float | None = None


class PairSolver(Solver[PairExample, PredictionT]):
    """What both kinds have in common."""

    def __init__(self, outputs: int, reader: Reader | None) -> None:
        self.reader = reader
        self._outputs = outputs

    @property
    def heads(self) -> Mapping[str, HeadSpec]:
        """From the token that stands for the pair."""
        return {HEAD: HeadSpec(reads="first", outputs=self._outputs)}

    def windows(self, examples: Sequence[PairExample]) -> list[Window]:
        """One for each pair."""
        assert self.reader is not None
        targets = [self._target(example) for example in examples]
        return pair_windows([e.first for e in examples], [e.second for e in examples], self.reader, targets)

    def _target(self, example: PairExample) -> Any:
        raise NotImplementedError

    def outputs(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> list[NDArray[np.float64]]:
        """What the head gives of each window."""
        return list(self._scores(model, hidden_WLD, batch).double().cpu().numpy())

    def _scores(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> Tensor:
        assert self.reader is not None
        scores: Tensor = model.heads[HEAD](summary(hidden_WLD, batch, causal=self.reader.causal)).float()
        return scores


def shown(example: PairExample) -> str:
    """Both texts for a passage; of long ones beginning and end."""
    return f"A: {excerpt(example.first)}\nB: {excerpt(example.second)}"
