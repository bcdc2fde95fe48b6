"""Labels of pairs as classes.

Legend: W windows, L tokens, D model width, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from korformer.evaluation.labels import LabelFigures
from korformer.evaluation.report import Table
from korformer.objectives import BatchLoss, Term
from korformer.supervised.batches import Batch, Window
from korformer.supervised.task import Reader
from korformer.tasks.pair.pairs import PairExample, PairSolver, shown
from korformer.text.records import Problems

if TYPE_CHECKING:
    from torch import Tensor

    from korformer.model.backbone import ReformerModel


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelPrediction:
    """The likeliest label, None where a file of predictions has none; and (C,) float64 probabilities of all."""

    label: str | None
    probabilities: NDArray[np.float64]


class LabelSolver(PairSolver[LabelPrediction]):
    """Labels of pairs.

    Args:
        labels: of the training data, sorted.
        reader: vocabulary and lengths.
    """

    headline = "accuracy"

    def __init__(self, labels: Sequence[str], reader: Reader | None) -> None:
        super().__init__(len(labels), reader)
        self._labels = tuple(labels)
        self._numbers = {label: number for number, label in enumerate(labels)}

    def check(self, examples: Sequence[PairExample], problems: Problems) -> None:
        """Every label must be of the training data."""
        for example in examples:
            if example.label is None:
                problems.add(example.place, "has a score, and the training data has labels")
            elif example.label not in self._numbers:
                known = ", ".join(self._labels[:8])
                problems.add(
                    example.place, f"the label {example.label!r} is not in the training data, which has {known}"
                )

    def _target(self, example: PairExample) -> int | None:
        return None if example.label is None else self._numbers.get(example.label)

    def loss(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> BatchLoss:
        """Cross-entropy."""
        scores_WC = self.head_scores(model, hidden_WLD, batch)
        labels_W = torch.tensor([window.target for window in batch.windows], device=scores_WC.device)
        mean = torch.nn.functional.cross_entropy(scores_WC, labels_W)
        return BatchLoss(terms={"windows": Term(mean=mean, count=len(batch.windows))})

    def predictions(
        self, examples: Sequence[PairExample], windows: Sequence[Window], outputs: Sequence[Any]
    ) -> list[LabelPrediction]:
        """The softmax of the scores."""
        shares = [np.exp(scores_C - np.logaddexp.reduce(scores_C)) for scores_C in outputs]
        return [LabelPrediction(label=self._labels[int(row.argmax())], probabilities=row) for row in shares]

    def metrics(self, examples: Sequence[PairExample], predictions: Sequence[LabelPrediction]) -> dict[str, float]:
        """Accuracy, and macro F1 over the labels that occur."""
        figures = _figures(examples, predictions)
        return {"accuracy": figures.accuracy, "macro_f1": figures.by_class.macro[2]}

    def intervals(
        self, examples: Sequence[PairExample], predictions: Sequence[LabelPrediction], *, resamples: int, seed: int
    ) -> dict[str, tuple[float, float] | None]:
        """Of both figures; pairs are drawn."""
        figures = _figures(examples, predictions)
        return figures.intervals(accuracy="accuracy", micro=None, macro="macro_f1", resamples=resamples, seed=seed)

    def details(self, examples: Sequence[PairExample], predictions: Sequence[LabelPrediction]) -> dict[str, Any]:
        """Figures of each label; what was taken for what."""
        return _figures(examples, predictions).details(single=True)

    def remarks(self, examples: Sequence[PairExample], predictions: Sequence[LabelPrediction]) -> list[str]:
        """How many predictions are missing."""
        return _figures(examples, predictions).remarks()

    def describe(self, example: PairExample, prediction: LabelPrediction) -> dict[str, Any]:
        """Both texts, label, and every label's probability."""
        probabilities = dict(zip(self._labels, map(float, prediction.probabilities), strict=True))
        return {
            "sentence1": example.first,
            "sentence2": example.second,
            "label": prediction.label,
            "probability": probabilities.get(prediction.label or ""),
            "probabilities": probabilities,
        }

    def scores(self, examples: Sequence[PairExample], predictions: Sequence[LabelPrediction]) -> list[float]:
        """Probability of the truth."""
        pairs = zip(examples, predictions, strict=True)
        return [float(p.probabilities[self._numbers[e.label]]) if e.label in self._numbers else 0.0 for e, p in pairs]

    def tables(self, examples: Sequence[PairExample], predictions: Sequence[LabelPrediction]) -> tuple[Table, ...]:
        """Figures of each label; what was taken for what."""
        return _figures(examples, predictions).tables(single=True)

    def context(self, example: PairExample, prediction: LabelPrediction) -> str:
        """Truth, prediction and both texts."""
        return f"{example.label} taken for {prediction.label or 'nothing'}\n{shown(example)}"

    def read_predictions(
        self, examples: Sequence[PairExample], records: Mapping[str, Any], problems: Problems
    ) -> list[LabelPrediction]:
        """`label` of each id; a pair whose id is not there is wrong."""
        predictions = []
        for example in examples:
            record = records.get(example.id)
            label = record.get("label") if isinstance(record, dict) else record
            if example.id in records and (isinstance(label, bool) or not isinstance(label, str | int)):
                problems.add(example.place, f"the prediction of id {example.id} is no label")
            probabilities = np.zeros(len(self._labels))
            if str(label) in self._numbers:
                probabilities[self._numbers[str(label)]] = 1.0
            predictions.append(
                LabelPrediction(label=None if label is None else str(label), probabilities=probabilities)
            )
        return predictions


def _figures(examples: Sequence[PairExample], predictions: Sequence[LabelPrediction]) -> LabelFigures:
    return LabelFigures(
        gold=[(example.label or "",) for example in examples],
        given=[None if prediction.label is None else (prediction.label,) for prediction in predictions],
    )
