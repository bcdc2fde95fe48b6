import math

import numpy as np
import pytest
from scipy import stats

from korformer.evaluation.correlation import pearson, ranks, spearman, weighted_pearson, weighted_ranks


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1.0, 1e-180, 1e180])
def test_both_are_scipys(seed: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    one = np.round(generator.normal(size=50), 1) * scale
    other = np.round(one / scale + generator.normal(size=50), 1)
    unscaled = one / scale
    assert pearson(one.tolist(), other.tolist()) == pytest.approx(stats.pearsonr(unscaled, other).statistic, abs=1e-12)
    assert spearman(one.tolist(), other.tolist()) == pytest.approx(
        stats.spearmanr(unscaled, other).statistic, abs=1e-12
    )
    assert ranks(one).tolist() == stats.rankdata(one).tolist()


def test_what_does_not_vary_has_no_correlation() -> None:
    assert math.isnan(pearson([1, 1, 1], [1, 2, 3]))
    assert math.isnan(spearman([1, 2, 3], [0, 0, 0]))
    assert math.isnan(pearson([], []))
    assert math.isnan(pearson([1.0], [2.0]))
    assert math.isnan(spearman([1.0, math.nan], [1.0, 2.0]))


def test_lists_of_different_lengths_are_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="numbers"):
        pearson([1.0, 2.0], [1.0])


def test_weighted_ones_are_those_of_examples_that_come_as_often() -> None:
    generator = np.random.default_rng(0)
    one, other = np.round(generator.normal(size=30), 1), np.round(generator.normal(size=30), 1)
    weights = generator.multinomial(30, np.full(30, 1 / 30), size=20)
    repeated = [(np.repeat(one, row), np.repeat(other, row)) for row in weights]
    given = weights.astype(np.float64)
    expected = [stats.pearsonr(*pair).statistic for pair in repeated]
    assert weighted_pearson(one, other, given) == pytest.approx(expected, abs=1e-12)
    ranked = (weighted_ranks(one, given), weighted_ranks(other, given))
    expected = [stats.spearmanr(*pair).statistic for pair in repeated]
    assert weighted_pearson(*ranked, given) == pytest.approx(expected, abs=1e-12)
    # A draw of one example alone, or of equal ones, has no correlation.
    still = np.array([[30.0, *[0.0] * 29], [0.0, 15.0, 15.0, *[0.0] * 27]])
    assert np.isnan(weighted_pearson(np.where(np.arange(30) < 3, 0.1, one), other, still)).all()
