"""What is taken for what: scores of each class, and the table of gold against predicted classes.

Precision, recall and F1 are those of scikit-learn's `precision_recall_fscore_support` with `zero_division=0`, to the
last digit: a score whose denominator is 0 is 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from korformer.evaluation.report import Table

WIDEST_CLASSES = 12
"""With more classes than this the table has the most frequent confusions, a row each, instead of a column a class."""

MOST_PAIRS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassScores:
    """Scores of C classes and their averages.

    Attributes:
        labels: the classes, in the order of the arrays.
        right, predicted, support: (C,) how many were predicted rightly, predicted at all, and are in the data.
    """

    labels: tuple[str, ...]
    right: NDArray[np.int64]
    predicted: NDArray[np.int64]
    support: NDArray[np.int64]

    @property
    def precision(self) -> NDArray[np.float64]:
        """(C,) share of the predicted ones that are right."""
        return divided(self.right, self.predicted)

    @property
    def recall(self) -> NDArray[np.float64]:
        """(C,) share of those in the data that were predicted."""
        return divided(self.right, self.support)

    @property
    def f1(self) -> NDArray[np.float64]:
        """(C,) their harmonic mean, rounded as scikit-learn does it."""
        return self._f1(self.right, self.predicted, self.support)

    def _f1(
        self, right: NDArray[np.int64], predicted: NDArray[np.int64], support: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        return divided(2 * right, predicted + support)

    @property
    def micro(self) -> tuple[float, float, float]:
        """Precision, recall and F1 over all classes together."""
        right, predicted, support = (counts.sum(keepdims=True) for counts in (self.right, self.predicted, self.support))
        f1 = self._f1(right, predicted, support)
        return float(divided(right, predicted)[0]), float(divided(right, support)[0]), float(f1[0])

    @property
    def macro(self) -> tuple[float, float, float]:
        """Means of precision, recall and F1 over the classes; 0 without any."""
        if not self.labels:
            return 0.0, 0.0, 0.0
        return (
            float(np.average(self.precision)),
            float(np.average(self.recall)),
            float(np.average(self.f1)),
        )

    def table(self, *, title: str, first: str = "class", note: str = "") -> Table:
        """The scores for people, a class a row."""
        rows = [
            (label, f"{precision:.4f}", f"{recall:.4f}", f"{f1:.4f}", f"{support:,}")
            for label, precision, recall, f1, support in zip(
                self.labels, self.precision, self.recall, self.f1, self.support.tolist(), strict=True
            )
        ]
        return Table(
            title=title, columns=(first, "precision", "recall", "F1", "in the data"), rows=tuple(rows), note=note
        )

    def as_json(self) -> dict[str, dict[str, float]]:
        """The scores by class, for a JSON object."""
        return {
            label: {
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "support": int(support),
            }
            for label, precision, recall, f1, support in zip(
                self.labels, self.precision, self.recall, self.f1, self.support, strict=True
            )
        }


def class_scores(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str] | None = None) -> ClassScores:
    """Scores of single-label classification.

    Args:
        gold: the class of each example.
        predicted: what was predicted of it; as many.
        labels: the classes to score, by default all that occur, sorted. Examples of others count in the scores of
            these where they were taken for one, as in scikit-learn.
    """
    if labels is None:
        labels = sorted({*gold, *predicted})
    support, guessed = Counter(gold), Counter(predicted)
    right = Counter(one for one, other in zip(gold, predicted, strict=True) if one == other)
    return ClassScores(
        labels=tuple(labels),
        right=np.array([right[label] for label in labels], dtype=np.int64),
        predicted=np.array([guessed[label] for label in labels], dtype=np.int64),
        support=np.array([support[label] for label in labels], dtype=np.int64),
    )


def divided(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(part), dtype=np.float64), where=whole != 0)


def confusion_table(
    gold: Sequence[str],
    predicted: Sequence[str],
    labels: Sequence[str] | None = None,
    *,
    title: str = "Taken for",
    note: str = "",
) -> Table:
    """Gold classes in rows, predicted ones in columns; the most frequent confusions where there are many classes.

    Args:
        gold: the class of each example.
        predicted: what was predicted of it; as many.
        labels: the order of the classes; by default sorted.
        title: above the table.
        note: put before what is said below it.
    """
    if labels is None:
        labels = sorted({*gold, *predicted})
    pairs = Counter(zip(gold, predicted, strict=True))
    if len(labels) > WIDEST_CLASSES:
        wrong = [(pair, count) for pair, count in pairs.most_common() if pair[0] != pair[1]]
        rows = tuple((f"{one} -> {other}", f"{count:,}") for (one, other), count in wrong[:MOST_PAIRS])
        if len(wrong) > len(rows):
            note = f"{note} The {len(rows)} most frequent of {len(wrong):,} kinds of confusion.".strip()
        return Table(title=title, columns=("in the data -> predicted", "times"), rows=rows, note=note)
    return Table(
        title=title,
        columns=("", *labels),
        rows=tuple((one, *(f"{pairs[one, other]:,}" for other in labels)) for one in labels),
        note=f"{note} Rows: in the data. Columns: predicted.".strip(),
    )


def confusion_json(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, dict[str, int]]:
    """How often each gold class was predicted as each class, for a JSON object; what never happened is left out."""
    counts: dict[str, dict[str, int]] = {}
    for (one, other), count in sorted(Counter(zip(gold, predicted, strict=True)).items()):
        counts.setdefault(one, {})[other] = count
    return counts
