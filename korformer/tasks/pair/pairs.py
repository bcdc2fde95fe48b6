"""Pairs of texts as a model meets them: what labels and scores have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from korformer.config import Settings
from korformer.evaluation.report import excerpt
from korformer.supervised.batches import Window
from korformer.supervised.sequences import pair_windows
from korformer.supervised.summarising import SummarySolver
from korformer.supervised.task import Example, PredictionT


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


class PairSolver(SummarySolver[PairExample, PredictionT]):
    """What both kinds have in common."""

    head = "pair"

    def windows(self, examples: Sequence[PairExample]) -> list[Window]:
        """One for each pair."""
        assert self.reader is not None
        targets = [self._target(example) for example in examples]
        return pair_windows([e.first for e in examples], [e.second for e in examples], self.reader, targets)

    def _target(self, example: PairExample) -> Any:
        raise NotImplementedError


def shown(example: PairExample) -> str:
    """Both texts for a passage; of long ones beginning and end."""
    return f"A: {excerpt(example.first)}\nB: {excerpt(example.second)}"
