"""How far a figure would move on other examples of the same kind: percentile bootstrap intervals.

Examples are drawn anew with replacement, as many as there are, and the figure computed of each draw; the interval holds
the middle 95% of these (Efron and Tibshirani 1993). Where examples come in groups, such as questions about one article,
whole groups are drawn, or the interval would be too narrow. It tells of the choice of examples alone: another seed of
training moves a figure besides.

Legend: N examples, G groups, K sums, R draws, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

SHARE = 0.95
"""Share of the draws that lie in an interval."""

RESAMPLES = 1000
_DRAWN_AT_A_TIME = 1 << 22

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""(R, K) sums over examples -> (R,) figures; NaN where a draw has none."""

WeightStatistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""(R, N) how often each draw has each example -> (R,) figures; NaN where a draw has none."""


def intervals(
    size: int, statistics: Mapping[str, WeightStatistic], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, tuple[float, float] | None]:
    """The 95% intervals of several figures over the same draws.

    Args:
        size: N.
        statistics: each figure, for several draws at a time.
        resamples: draws; 0 gives no interval.
        seed: of the draws; the same number of examples and seed give the same draws.

    Returns:
        Low and high end of each, or None where there are fewer than two examples or no draw has a figure.
    """
    if size < 2 or resamples < 1:
        return dict.fromkeys(statistics)
    random = np.random.default_rng(seed)
    draws = max(1, _DRAWN_AT_A_TIME // size)
    figures: dict[str, list[NDArray[np.float64]]] = {name: [] for name in statistics}
    for first in range(0, resamples, draws):
        weights = random.multinomial(size, np.full(size, 1 / size), size=min(draws, resamples - first))
        weights_RN = weights.astype(np.float64)
        for name, statistic in statistics.items():
            figures[name].append(statistic(weights_RN))
    return {name: _middle(np.concatenate(found)) for name, found in figures.items()}


def _middle(values: NDArray[np.float64]) -> tuple[float, float] | None:
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return float(low), float(high)


def interval(
    counts_NK: ArrayLike,
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    groups: Sequence[object] | None = None,
) -> tuple[float, float] | None:
    """The 95% interval of a figure that is computed from sums over examples.

    Args:
        counts_NK: what each example adds to each sum; (N,) is taken for (N, 1).
        statistic: the figure, for several draws at a time.
        resamples: draws; 0 gives no interval.
        seed: of the draws; the same examples and seed give the same interval.
        groups: (N,) which group each example belongs to; each example is its own where it is not given.

    Returns:
        Low and high end, or None where there are fewer than two groups or no draw has a figure.
    """
    counts = np.asarray(counts_NK, dtype=np.float64)
    counts = counts[:, None] if counts.ndim == 1 else counts
    if groups is not None:
        numbers: dict[object, int] = {}
        index = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)
        summed = np.zeros((len(numbers), counts.shape[1]))
        np.add.at(summed, index, counts)
        counts = summed
    found = intervals(len(counts), {"": lambda weights: statistic(weights @ counts)}, resamples=resamples, seed=seed)
    return found[""]


def ratio(sums_RK: NDArray[np.float64]) -> NDArray[np.float64]:
    """The statistic sums[0] / sums[1], NaN where that is not defined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums_RK[:, 0] / sums_RK[:, 1])


def sums_by_class(weights_RN: NDArray[np.float64], members: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """(R, C) the weights of the examples of each class, where an example may be in several.

    Args:
        weights_RN: of each example in each draw.
        members: (n, 2) number of an example and of a class that it is in.
        classes: C.
    """
    sums = np.zeros((len(weights_RN), classes))
    if len(members):
        members = members[np.argsort(members[:, 1], kind="stable")]
        begins = np.flatnonzero(np.diff(members[:, 1], prepend=-1))
        sums[:, members[begins, 1]] = np.add.reduceat(weights_RN[:, members[:, 0]], begins, axis=1)
    return sums


def mean_interval(
    values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0, groups: Sequence[object] | None = None
) -> tuple[float, float] | None:
    """The interval of a mean over examples; see `interval`."""
    counts = np.column_stack([np.asarray(values, dtype=np.float64), np.ones(len(values))])
    return interval(counts, ratio, resamples=resamples, seed=seed, groups=groups)
