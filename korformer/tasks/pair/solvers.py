"""Pairs of texts as a model meets them: labels as classes, scores as regression.

Legend: W windows, L tokens, D model width, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from korformer.config import Settings
from korformer.evaluation.confusion import class_scores, confusion_table
from korformer.evaluation.correlation import pearson, spearman
from korformer.evaluation.report import Table
from korformer.model.heads import HeadSpec
from korformer.objectives import BatchLoss, Term
from korformer.supervised.batches import Batch, Window
from korformer.supervised.sequences import pair_windows, summary
from korformer.supervised.task import Example, PredictionT, Reader, Solver
from korformer.text.records import Problems

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


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelPrediction:
    """The likeliest label, and (C,) float64 probabilities of all."""

    label: str
    probabilities: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ScoreScale:
    """What is known of the scores of the training data."""

    lowest: float
    highest: float
    mean: float
    deviation: float


class _PairSolver(Solver[PairExample, PredictionT]):
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


class LabelSolver(_PairSolver[LabelPrediction]):
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
        scores_WC = self._scores(model, hidden_WLD, batch)
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
        gold, given = _labels(examples, predictions)
        right = sum(one == other for one, other in zip(gold, given, strict=True))
        return {"accuracy": right / max(1, len(gold)), "macro_f1": class_scores(gold, given).macro[2]}

    def describe(self, example: PairExample, prediction: LabelPrediction) -> dict[str, Any]:
        """Both texts, label, and every label's probability."""
        probabilities = dict(zip(self._labels, map(float, prediction.probabilities), strict=True))
        return {
            "sentence1": example.first,
            "sentence2": example.second,
            "label": prediction.label,
            "probability": probabilities.get(prediction.label),
            "probabilities": probabilities,
        }

    def scores(self, examples: Sequence[PairExample], predictions: Sequence[LabelPrediction]) -> list[float]:
        """Probability of the truth."""
        pairs = zip(examples, predictions, strict=True)
        return [float(p.probabilities[self._numbers[e.label]]) if e.label in self._numbers else 0.0 for e, p in pairs]

    def tables(self, examples: Sequence[PairExample], predictions: Sequence[LabelPrediction]) -> tuple[Table, ...]:
        """Figures of each label; what is taken for what."""
        gold, given = _labels(examples, predictions)
        return class_scores(gold, given).table(title="By label", first="label"), confusion_table(gold, given)

    def context(self, example: PairExample, prediction: LabelPrediction) -> str:
        """Truth, prediction and both texts."""
        return f"{example.label} taken for {prediction.label}\nA: {example.first}\nB: {example.second}"

    def read_predictions(
        self, examples: Sequence[PairExample], records: Mapping[str, Any], problems: Problems
    ) -> list[LabelPrediction]:
        """`label` of each id; an id that is not there has none, which is wrong."""
        predictions = []
        for example in examples:
            record = records.get(example.id)
            label = record.get("label") if isinstance(record, dict) else record
            if label is not None and (isinstance(label, bool) or not isinstance(label, str | int)):
                problems.add(example.place, f"the prediction of id {example.id} is no label")
            probabilities = np.zeros(len(self._labels))
            if str(label) in self._numbers:
                probabilities[self._numbers[str(label)]] = 1.0
            predictions.append(
                LabelPrediction(label="(none)" if label is None else str(label), probabilities=probabilities)
            )
        return predictions


class ScoreSolver(_PairSolver[float]):
    """Scores of pairs: regression of the standardised score.

    Args:
        scale: of the training data.
        reader: vocabulary and lengths.
    """

    headline = "spearman"

    def __init__(self, scale: ScoreScale, reader: Reader | None) -> None:
        super().__init__(1, reader)
        self._scale = scale

    def check(self, examples: Sequence[PairExample], problems: Problems) -> None:
        """Every example must have a score."""
        for example in examples:
            if example.score is None:
                problems.add(example.place, "has a label, and the training data has scores")

    def _target(self, example: PairExample) -> float | None:
        return None if example.score is None else (example.score - self._scale.mean) / self._scale.deviation

    def loss(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> BatchLoss:
        """Mean squared error of the standardised score."""
        given_W = self._scores(model, hidden_WLD, batch)[:, 0]
        truth_W = torch.tensor([window.target for window in batch.windows], device=given_W.device, dtype=given_W.dtype)
        mean = torch.nn.functional.mse_loss(given_W, truth_W)
        return BatchLoss(terms={"windows": Term(mean=mean, count=len(batch.windows))})

    def predictions(
        self, examples: Sequence[PairExample], windows: Sequence[Window], outputs: Sequence[Any]
    ) -> list[float]:
        """Scores on the scale of the training data, and inside its range."""
        scale = self._scale
        raw = (scale.mean + scale.deviation * float(output[0]) for output in outputs)
        return [min(scale.highest, max(scale.lowest, score)) for score in raw]

    def metrics(self, examples: Sequence[PairExample], predictions: Sequence[float]) -> dict[str, float]:
        """Spearman's and Pearson's correlation with the truth, and the root of the mean squared error."""
        truth = [example.score or 0.0 for example in examples]
        squares = [(one - other) ** 2 for one, other in zip(truth, predictions, strict=True)]
        return {
            "spearman": spearman(truth, predictions),
            "pearson": pearson(truth, predictions),
            "root_mean_squared_error": float(np.sqrt(np.mean(squares))) if squares else 0.0,
        }

    def describe(self, example: PairExample, prediction: float) -> dict[str, Any]:
        """Both texts and the score."""
        return {"sentence1": example.first, "sentence2": example.second, "score": prediction}

    def scores(self, examples: Sequence[PairExample], predictions: Sequence[float]) -> list[float]:
        """1 less the distance from the truth as a share of the range."""
        width = (self._scale.highest - self._scale.lowest) or 1.0
        return [1 - abs((e.score or 0.0) - p) / width for e, p in zip(examples, predictions, strict=True)]

    def context(self, example: PairExample, prediction: float) -> str:
        """Truth, prediction and both texts."""
        return f"{example.score:g} taken for {prediction:.2f}\nA: {example.first}\nB: {example.second}"

    def read_predictions(
        self, examples: Sequence[PairExample], records: Mapping[str, Any], problems: Problems
    ) -> list[float]:
        """`score` of each id; one that is missing counts as the mean of the truth."""
        predictions = []
        for example in examples:
            record = records.get(example.id)
            score = record.get("score") if isinstance(record, dict) else record
            if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
                problems.add(example.place, f"the prediction of id {example.id} is no number")
                score = None
            predictions.append(self._scale.mean if score is None else float(score))
        return predictions


def _labels(examples: Sequence[PairExample], predictions: Sequence[LabelPrediction]) -> tuple[list[str], list[str]]:
    return [example.label or "" for example in examples], [prediction.label for prediction in predictions]
