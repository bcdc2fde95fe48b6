"""Figures of labels: one of each text, or any number of them. A missing prediction is wrong and no class of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from korformer.evaluation.bootstrap import WeightStatistic, intervals, sums_by_class
from korformer.evaluation.confusion import ClassScores, confusion_json, confusion_table
from korformer.evaluation.entities import f1_of_sums, macro_f1_of_sums
from korformer.evaluation.report import Table

NO_PREDICTION = "(none)"
"""Stands in confusions for a prediction that is missing."""

Labels = Sequence[str]


@dataclass(frozen=True, kw_only=True)
class LabelFigures:
    """Labels of N examples beside what was predicted.

    Attributes:
        gold: those of the data.
        given: the predicted ones; None where there is no prediction.
    """

    gold: Sequence[Labels]
    given: Sequence[Labels | None]

    @cached_property
    def exact(self) -> NDArray[np.float64]:
        """(N,) 1 where exactly the right labels were predicted."""
        pairs = zip(self.gold, self.given, strict=True)
        return np.array([other is not None and set(one) == set(other) for one, other in pairs], np.float64)

    @property
    def accuracy(self) -> float:
        """Share of the examples with exactly the right labels; 0 without examples."""
        return float(self.exact.mean()) if len(self.exact) else 0.0

    @cached_property
    def labels(self) -> list[str]:
        """The classes that occur on either side, sorted."""
        return sorted({label for side in (self.gold, self.given) for labels in side for label in labels or ()})

    @cached_property
    def _members(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """(n, 2) number of an example and of its class: rightly predicted, predicted, and in the data."""
        numbers = {label: number for number, label in enumerate(self.labels)}
        right, predicted, wanted = list[tuple[int, int]](), list[tuple[int, int]](), list[tuple[int, int]]()
        for index, (one, other) in enumerate(zip(self.gold, self.given, strict=True)):
            gold, given = set(one), set(other or ())
            for found, labels in ((right, gold & given), (predicted, given), (wanted, gold)):
                found += [(index, numbers[label]) for label in labels]
        return _pairs(right), _pairs(predicted), _pairs(wanted)

    @cached_property
    def by_class(self) -> ClassScores:
        """Scores of every class that occurs."""
        counts = (np.bincount(members[:, 1], minlength=len(self.labels)) for members in self._members)
        return ClassScores(
            labels=tuple(self.labels), **dict(zip(("right", "predicted", "support"), counts, strict=True))
        )

    def intervals(
        self, *, accuracy: str, micro: str | None, macro: str, resamples: int, seed: int
    ) -> dict[str, tuple[float, float] | None]:
        """95% bootstrap intervals; macro F1 is over the classes that a draw has.

        Args:
            accuracy, micro, macro: what these figures are called; None for one that is not wanted.
            resamples, seed: see `korformer.evaluation.bootstrap`.
        """

        def micro_f1(weights_RN: NDArray[np.float64]) -> NDArray[np.float64]:
            return f1_of_sums(np.column_stack([sums.sum(axis=1) for sums in self._sums(weights_RN)]))

        def macro_f1(weights_RN: NDArray[np.float64]) -> NDArray[np.float64]:
            return macro_f1_of_sums(np.concatenate(self._sums(weights_RN), axis=1))

        statistics: dict[str, WeightStatistic] = {
            accuracy: lambda weights_RN: weights_RN @ self.exact / len(self.exact),
            **({micro: micro_f1} if micro is not None else {}),
            macro: macro_f1,
        }
        return intervals(len(self.exact), statistics, resamples=resamples, seed=seed)

    def _sums(self, weights_RN: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return [sums_by_class(weights_RN, members, len(self.labels)) for members in self._members]

    def details(self, *, single: bool) -> dict[str, Any]:
        """Figures of each class for a JSON object; of single labels also what was taken for what."""
        taken_for = {"taken_for": confusion_json(*self._single)} if single else {}
        return {"by_label": self.by_class.as_json(), **taken_for}

    def tables(self, *, single: bool) -> tuple[Table, ...]:
        """The same for people."""
        by_label = self.by_class.table(title="By label", first="label")
        return (by_label, confusion_table(*self._single)) if single else (by_label,)

    @property
    def _single(self) -> tuple[list[str], list[str]]:
        """The one label of each example and of its prediction."""
        return [one[0] for one in self.gold], [other[0] if other else NO_PREDICTION for other in self.given]

    def remarks(self) -> list[str]:
        """What the figures do not tell, a sentence each without its full stop."""
        missing = sum(labels is None for labels in self.given)
        return [f"{missing:,} of {len(self.given):,} examples have no prediction and count as wrong"] if missing else []


def _pairs(found: list[tuple[int, int]]) -> NDArray[np.int64]:
    return np.array(found, np.int64).reshape(-1, 2)
