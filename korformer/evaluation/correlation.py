"""Correlation of scores with those of people: Pearson's r and Spearman's ρ, also for many draws of the bootstrap.

Legend: N examples, R draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from korformer.evaluation.bootstrap import sums_by_class


def pearson(one: Sequence[float], other: Sequence[float]) -> float:
    """Pearson's correlation coefficient; NaN where a side does not vary or there are fewer than two.

    Args:
        one, other: as many numbers in each.
    """
    x, y = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"{x.shape} and {y.shape} numbers")
    if len(x) < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()) or _is_constant(x) or _is_constant(y):
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    # Scaled first: squares of very large or small numbers leave the range of floats.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), -1.0, 1.0))


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, equal values having their mean rank. NaN as there."""
    x, y = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return math.nan
    return pearson(ranks(x).tolist(), ranks(y).tolist())


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank of each of (n,) values from 1, equal ones the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def weighted_pearson(
    x: NDArray[np.float64], y: NDArray[np.float64], weights_RN: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(R,) Pearson's coefficient of examples that each count as often as their weight; NaN where a side does not vary.

    Args:
        x, y: (N,), or (R, N) where they hang on the draw; finite.
        weights_RN: not negative, some of each row positive.
    """
    total_R1 = weights_RN.sum(axis=1, keepdims=True)

    def centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
        # Scaled first: squares of very large or small numbers leave the range of floats.
        values = values - values.mean(axis=-1, keepdims=True)
        values = values / np.maximum(np.abs(values).max(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
        return np.asarray(values - (weights_RN * values).sum(axis=1, keepdims=True) / total_R1)

    x_RN, y_RN = centred(x), centred(y)
    xx, yy, xy = ((weights_RN * one * other).sum(axis=1) for one, other in ((x_RN, x_RN), (y_RN, y_RN), (x_RN, y_RN)))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.clip(xy / np.sqrt(xx * yy), -1.0, 1.0)
    rounding = 1e-20 * total_R1[:, 0]
    return np.where((xx > rounding) & (yy > rounding), found, math.nan)


def weighted_ranks(values: NDArray[np.float64], weights_RN: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, N) `ranks` of (N,) values that each come as often as their weight; of one that does not come, any."""
    _, place = np.unique(values, return_inverse=True)
    members = np.column_stack([np.arange(len(values)), place])
    counts = sums_by_class(weights_RN, members, int(place.max()) + 1)
    last = np.cumsum(counts, axis=1)
    return np.asarray((last - (counts - 1) / 2)[:, place])


def _is_constant(values: NDArray[np.float64]) -> bool:
    return bool((values == values[0]).all())
