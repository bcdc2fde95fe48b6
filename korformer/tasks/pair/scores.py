"""Scores of pairs as regression.

Legend: W windows, L tokens, D model width, N pairs, R draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from korformer.evaluation.bootstrap import WeightStatistic, intervals
from korformer.evaluation.correlation import pearson, spearman, weighted_pearson, weighted_ranks
from korformer.objectives import BatchLoss, Term
from korformer.supervised.batches import Batch, Window
from korformer.supervised.task import Reader
from korformer.tasks.pair.pairs import PairExample, PairSolver, shown
from korformer.text.records import Problems

if TYPE_CHECKING:
    from torch import Tensor

    from korformer.model.backbone import ReformerModel


@dataclass(frozen=True, kw_only=True)
class ScoreScale:
    """What is known of the scores of the training data."""

    lowest: float
    highest: float
    mean: float
    deviation: float


class ScoreSolver(PairSolver[float | None]):
    """Scores of pairs: regression of the standardised score. A prediction is None where a file of them has none; it
    counts as the mean of the training data, or where predictions are scored alone, of the data.

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
        given_W = self.head_scores(model, hidden_WLD, batch)[:, 0]
        truth_W = torch.tensor([window.target for window in batch.windows], device=given_W.device, dtype=given_W.dtype)
        mean = torch.nn.functional.mse_loss(given_W, truth_W)
        return BatchLoss(terms={"windows": Term(mean=mean, count=len(batch.windows))})

    def predictions(
        self, examples: Sequence[PairExample], windows: Sequence[Window], outputs: Sequence[Any]
    ) -> list[float | None]:
        """Scores on the scale of the training data, and inside its range."""
        scale = self._scale
        raw = (scale.mean + scale.deviation * float(output[0]) for output in outputs)
        return [min(scale.highest, max(scale.lowest, score)) for score in raw]

    def _both(
        self, examples: Sequence[PairExample], predictions: Sequence[float | None]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N,) true and predicted scores."""
        given = [self._scale.mean if prediction is None else prediction for prediction in predictions]
        return np.array([example.score or 0.0 for example in examples], np.float64), np.array(given, np.float64)

    def metrics(self, examples: Sequence[PairExample], predictions: Sequence[float | None]) -> dict[str, float]:
        """Spearman's and Pearson's correlation with the truth, NaN where a side does not vary; and the root of the mean
        squared error.
        """
        truth, given = self._both(examples, predictions)
        return {
            "spearman": spearman(truth.tolist(), given.tolist()),
            "pearson": pearson(truth.tolist(), given.tolist()),
            "root_mean_squared_error": float(np.sqrt(np.mean((truth - given) ** 2))) if len(truth) else 0.0,
        }

    def intervals(
        self, examples: Sequence[PairExample], predictions: Sequence[float | None], *, resamples: int, seed: int
    ) -> dict[str, tuple[float, float] | None]:
        """Of every figure; pairs are drawn."""
        truth, given = self._both(examples, predictions)
        squares = (truth - given) ** 2
        statistics: dict[str, WeightStatistic] = {
            "spearman": lambda weights_RN: weighted_pearson(
                weighted_ranks(truth, weights_RN), weighted_ranks(given, weights_RN), weights_RN
            ),
            "pearson": lambda weights_RN: weighted_pearson(truth, given, weights_RN),
            "root_mean_squared_error": lambda weights_RN: np.sqrt(weights_RN @ squares / len(squares)),
        }
        return intervals(len(truth), statistics, resamples=resamples, seed=seed)

    def remarks(self, examples: Sequence[PairExample], predictions: Sequence[float | None]) -> list[str]:
        """How many predictions are missing; why a correlation may be."""
        missing = sum(prediction is None for prediction in predictions)
        told = []
        if missing:
            told.append(
                f"{missing:,} of {len(predictions):,} pairs have no prediction; each counts as {self._scale.mean:.4g}, "
                "the mean of the scores"
            )
        for name, scores in zip(("the data", "the predictions"), self._both(examples, predictions), strict=True):
            if len(set(scores.tolist())) < 2:
                told.append(f"all scores of {name} are the same, so there is no correlation")
        return told

    def describe(self, example: PairExample, prediction: float | None) -> dict[str, Any]:
        """Both texts and the score."""
        return {"sentence1": example.first, "sentence2": example.second, "score": prediction}

    def scores(self, examples: Sequence[PairExample], predictions: Sequence[float | None]) -> list[float]:
        """1 less the distance from the truth as a share of the range."""
        width = (self._scale.highest - self._scale.lowest) or 1.0
        truth, given = self._both(examples, predictions)
        return [float(score) for score in 1 - np.abs(truth - given) / width]

    def context(self, example: PairExample, prediction: float | None) -> str:
        """Truth, prediction and both texts."""
        given = "nothing" if prediction is None else f"{prediction:.2f}"
        return f"{example.score:g} taken for {given}\n{shown(example)}"

    def read_predictions(
        self, examples: Sequence[PairExample], records: Mapping[str, Any], problems: Problems
    ) -> list[float | None]:
        """`score` of each id; None for a pair whose id is not there."""
        predictions = []
        for example in examples:
            record = records.get(example.id)
            score = _number(record.get("score") if isinstance(record, dict) else record)
            if example.id in records and score is None:
                problems.add(example.place, f"the prediction of id {example.id} is no number")
            predictions.append(score)
        return predictions


def _number(value: object) -> float | None:
    """A JSON number as a float; None for what is none, or beyond what a float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
