"""Correlation of scores with those of people: Pearson's r and Spearman's ρ."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


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


def _is_constant(values: NDArray[np.float64]) -> bool:
    return bool((values == values[0]).all())
