"""Classification with a known set of labels: scores of windows, probabilities of texts, figures.

Legend: W windows, L tokens, D model width, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from korformer.config import Settings
from korformer.evaluation.labels import LabelFigures
from korformer.evaluation.report import Predictions, Table, excerpt
from korformer.objectives import BatchLoss, Term
from korformer.supervised.batches import Batch, Window
from korformer.supervised.sequences import single_windows
from korformer.supervised.summarising import SummarySolver
from korformer.supervised.task import Example, Reader
from korformer.text.records import Problems

if TYPE_CHECKING:
    from torch import Tensor

    from korformer.model.backbone import ReformerModel

MOST_LABELS = 10_000


class ClassifySettings(Settings):
    """Settings of classification."""

    multi_label: bool = False
    """A text may have several labels, or none."""
    separator: Annotated[str, Field(min_length=1)] = ","
    """What stands between the labels of a text in a table, where it may have several."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability from which a text has a label, where it may have several."""
    empty: Literal["refuse", "keep", "skip"] = "refuse"
    """Texts without a character: bad data, texts like others (the official test of NSMC has three), or left out."""


@dataclass(frozen=True, kw_only=True)
class ClassifyExample(Example):
    """A text and its labels.

    Attributes:
        text: as it came.
        labels: one, or any number where there may be several; None where nobody has told.
    """

    text: str
    labels: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifyPrediction:
    """What a model says.

    Attributes:
        labels: the likeliest one; or all from the threshold on.
        probabilities: (C,) float64, of each label by itself where there may be several.
        given: False where a file of predictions leaves the text out.
    """

    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    given: bool = True


class ClassifySolver(SummarySolver[ClassifyExample, ClassifyPrediction]):
    """Classification with a set of labels.

    Args:
        settings: the task's.
        labels: of the training data, sorted.
        reader: vocabulary and lengths.
    """

    head = "classify"

    def __init__(self, settings: ClassifySettings, labels: Sequence[str], reader: Reader | None) -> None:
        super().__init__(len(labels), reader)
        self.headline = "micro_f1" if settings.multi_label else "accuracy"
        self._settings = settings
        self._labels = tuple(labels)
        self._numbers = {label: number for number, label in enumerate(labels)}

    def check(self, examples: Sequence[ClassifyExample], problems: Problems) -> None:
        """Labels must be of the training data."""
        shown = ", ".join(self._labels[:8]) + (", …" if len(self._labels) > 8 else "")
        for example in examples:
            for label in example.labels or ():
                if label not in self._numbers:
                    problems.add(example.place, f"the label {label!r} is not in the training data, which has {shown}")

    def windows(self, examples: Sequence[ClassifyExample]) -> list[Window]:
        """As many as each text needs."""
        assert self.reader is not None
        targets = [self._target(example) for example in examples]
        return single_windows([example.text for example in examples], self.reader, targets)

    def _target(self, example: ClassifyExample) -> Any:
        if example.labels is None:
            return None
        numbers = [self._numbers[label] for label in example.labels if label in self._numbers]
        return tuple(sorted(numbers)) if self._settings.multi_label else next(iter(numbers), None)

    def loss(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> BatchLoss:
        """Cross-entropy of the label; summed binary ones where there may be several."""
        scores_WC = self.head_scores(model, hidden_WLD, batch)
        count = len(batch.windows)
        if self._settings.multi_label:
            truth_WC = torch.zeros_like(scores_WC)
            for row, window in enumerate(batch.windows):
                truth_WC[row, list(window.target)] = 1.0
            mean = torch.nn.functional.binary_cross_entropy_with_logits(scores_WC, truth_WC, reduction="sum") / count
        else:
            labels_W = torch.tensor([window.target for window in batch.windows], device=scores_WC.device)
            mean = torch.nn.functional.cross_entropy(scores_WC, labels_W)
        return BatchLoss(terms={"windows": Term(mean=mean, count=count)})

    def predictions(
        self, examples: Sequence[ClassifyExample], windows: Sequence[Window], outputs: Sequence[Any]
    ) -> list[ClassifyPrediction]:
        """The mean of each text's windows, by their tokens."""
        count = len(self._labels)
        sums, weights = np.zeros((len(examples), count)), np.zeros((len(examples), 1))
        for window, scores_C in zip(windows, outputs, strict=True):
            level = 0.0 if self._settings.multi_label else np.logaddexp.reduce(scores_C)
            sums[window.example] += len(window) * (scores_C - level)
            weights[window.example] += len(window)
        means = sums / np.maximum(weights, 1)
        if self._settings.multi_label:
            return [self._several(1 / (1 + np.exp(-np.clip(row, -700, 700)))) for row in means]
        shares = np.exp(means - np.logaddexp.reduce(means, axis=1, keepdims=True))
        return [ClassifyPrediction(labels=(self._labels[int(row.argmax())],), probabilities=row) for row in shares]

    def _several(self, probabilities: NDArray[np.float64]) -> ClassifyPrediction:
        chosen = np.flatnonzero(probabilities >= self._settings.threshold)
        return ClassifyPrediction(labels=tuple(self._labels[number] for number in chosen), probabilities=probabilities)

    def metrics(
        self, examples: Sequence[ClassifyExample], predictions: Sequence[ClassifyPrediction]
    ) -> dict[str, float]:
        """Accuracy and macro F1 over the labels that occur; or micro and macro F1 and the share of exact sets."""
        figures = _figures(examples, predictions)
        micro, macro = figures.by_class.micro[2], figures.by_class.macro[2]
        if self._settings.multi_label:
            return {"micro_f1": micro, "macro_f1": macro, "exact_labels": figures.accuracy}
        return {"accuracy": figures.accuracy, "macro_f1": macro}

    def intervals(
        self,
        examples: Sequence[ClassifyExample],
        predictions: Sequence[ClassifyPrediction],
        *,
        resamples: int,
        seed: int,
    ) -> dict[str, tuple[float, float] | None]:
        """Of every figure; texts are drawn."""
        several = self._settings.multi_label
        return _figures(examples, predictions).intervals(
            accuracy="exact_labels" if several else "accuracy",
            micro="micro_f1" if several else None,
            macro="macro_f1",
            resamples=resamples,
            seed=seed,
        )

    def details(self, examples: Sequence[ClassifyExample], predictions: Sequence[ClassifyPrediction]) -> dict[str, Any]:
        """Figures of each label; what was taken for what."""
        return _figures(examples, predictions).details(single=not self._settings.multi_label)

    def tables(
        self, examples: Sequence[ClassifyExample], predictions: Sequence[ClassifyPrediction]
    ) -> tuple[Table, ...]:
        """The same."""
        return _figures(examples, predictions).tables(single=not self._settings.multi_label)

    def remarks(self, examples: Sequence[ClassifyExample], predictions: Sequence[ClassifyPrediction]) -> list[str]:
        """How many predictions are missing."""
        return _figures(examples, predictions).remarks()

    def describe(self, example: ClassifyExample, prediction: ClassifyPrediction) -> dict[str, Any]:
        """Text, label or labels, and every label's probability."""
        probabilities = dict(zip(self._labels, map(float, prediction.probabilities), strict=True))
        if self._settings.multi_label:
            return {"text": example.text, "labels": list(prediction.labels), "probabilities": probabilities}
        label = prediction.labels[0]
        return {
            "text": example.text, "label": label, "probability": probabilities.get(label),
            "probabilities": probabilities,
        }  # fmt: skip

    def scores(self, examples: Sequence[ClassifyExample], predictions: Sequence[ClassifyPrediction]) -> list[float]:
        """Mean probability of the truth, over the labels."""
        scores = []
        for example, prediction in zip(examples, predictions, strict=True):
            given = prediction.probabilities
            truth = [self._numbers[label] for label in example.labels or () if label in self._numbers]
            if not prediction.given:
                scores.append(0.0)
            elif self._settings.multi_label:
                sure = 1 - given
                sure[truth] = given[truth]
                scores.append(float(sure.mean()))
            else:
                scores.append(float(given[truth[0]]) if truth else 0.0)
        return scores

    def context(self, example: ClassifyExample, prediction: ClassifyPrediction) -> str:
        """Truth, prediction and text."""
        told = ", ".join(
            f"{label} {float(prediction.probabilities[self._numbers[label]]):.0%}" if label in self._numbers else label
            for label in prediction.labels
        )
        return f"{', '.join(example.labels or ())} taken for {told or 'nothing'}\n{excerpt(example.text)}"

    def predictions_file(
        self, examples: Sequence[ClassifyExample], predictions: Sequence[ClassifyPrediction]
    ) -> Predictions:
        """Id and label, or labels, without the text."""
        records = []
        for example, prediction in zip(examples, predictions, strict=True):
            record = self.describe(example, prediction)
            del record["text"]
            records.append({"id": example.id, **record})
        return Predictions(layout="jsonl", value=records)

    def read_predictions(
        self, examples: Sequence[ClassifyExample], records: Mapping[str, Any], problems: Problems
    ) -> list[ClassifyPrediction]:
        """`label` or `labels` of each id; a text whose id is not there is wrong."""
        predictions = []
        for example in examples:
            if example.id not in records:
                nothing = np.zeros(len(self._labels))
                predictions.append(ClassifyPrediction(labels=(), probabilities=nothing, given=False))
                continue
            record = records[example.id]
            labels = record_labels(record if isinstance(record, dict) else {"label": record}, self._settings)
            if isinstance(labels, str):
                problems.add(example.place, f"the prediction of id {example.id} {labels}")
                labels = ()
            known = [self._numbers[label] for label in labels if label in self._numbers]
            probabilities = np.zeros(len(self._labels))
            probabilities[known] = 1.0
            predictions.append(ClassifyPrediction(labels=labels, probabilities=probabilities))
        return predictions


def _figures(examples: Sequence[ClassifyExample], predictions: Sequence[ClassifyPrediction]) -> LabelFigures:
    return LabelFigures(
        gold=[example.labels or () for example in examples],
        given=[prediction.labels if prediction.given else None for prediction in predictions],
    )


def record_labels(record: Mapping[str, Any], settings: ClassifySettings) -> tuple[str, ...] | str:
    """Labels of a JSON object, or what is wrong with them as the rest of a sentence."""
    value = record.get("labels", record.get("label"))
    if value is None:
        return 'lacks "label"'
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, bool) or not isinstance(one, str | int) or one == "" for one in values):
        return "has a label that is neither text nor a whole number"
    if not settings.multi_label and len(values) != 1:
        return f"has {len(values)} labels: set classify.multi_label = true where a text may have several"
    return tuple(str(one) for one in values)
