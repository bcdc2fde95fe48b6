import math

import numpy as np
import pytest
from scipy import stats

from korformer.evaluation.correlation import pearson, ranks, spearman


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
