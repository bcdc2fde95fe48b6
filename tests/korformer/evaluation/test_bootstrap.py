"""Bootstrap intervals: they are reproducible, have the width that statistics says, and heed groups."""

from __future__ import annotations

import math

import numpy as np
import pytest

from korformer.evaluation.bootstrap import interval, intervals, mean_interval, ratio, sums_by_class


def test_the_interval_of_a_mean_is_nearly_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, size=400)
    found = mean_interval(values.tolist(), resamples=4000, seed=0)
    assert found is not None
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found[0] == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found[1] == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    source = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        found = mean_interval((source.random(80) < 0.7).tolist(), resamples=300, seed=trial)
        assert found is not None
        covered += found[0] <= 0.7 <= found[1]
    assert 0.88 <= covered / 200 <= 0.99


def test_the_same_examples_and_seed_give_the_same_interval() -> None:
    values = np.random.default_rng(4).random(60).tolist()
    assert mean_interval(values, seed=7) == mean_interval(values, seed=7)
    assert mean_interval(values, seed=7) != mean_interval(values, seed=8)


def test_examples_that_belong_together_are_drawn_together() -> None:
    values = [0.0] * 50 + [1.0] * 50
    groups = [number // 10 for number in range(100)]
    alone, together = mean_interval(values), mean_interval(values, groups=groups)
    assert alone is not None
    assert together is not None
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])
    # Each example a group of its own is no grouping.
    assert mean_interval(values, groups=range(100)) == alone


def test_few_examples_and_undefined_figures_have_no_interval() -> None:
    assert mean_interval([1.0]) is None
    assert mean_interval([1.0, 0.0, 1.0], groups=["a", "a", "a"]) is None
    assert mean_interval([1.0, 0.0], resamples=0) is None
    assert interval([[1.0, 0.0], [2.0, 0.0]], ratio) is None


def test_many_examples_are_drawn_in_parts_that_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).random(50).tolist()
    whole = mean_interval(values, resamples=100)
    monkeypatch.setattr("korformer.evaluation.bootstrap._DRAWN_AT_A_TIME", 350)
    assert mean_interval(values, resamples=100) == whole


def test_several_figures_share_the_draws() -> None:
    values = np.random.default_rng(5).random(40)
    mean = mean_interval(values.tolist(), resamples=200, seed=3)
    found = intervals(
        40, {"mean": lambda w: w @ values / 40, "none": lambda w: np.full(len(w), math.nan)}, resamples=200, seed=3
    )
    assert found["mean"] == pytest.approx(mean)
    assert found["none"] is None
    assert intervals(1, {"mean": lambda w: w[:, 0]}) == {"mean": None}


def test_weights_are_added_up_by_class() -> None:
    weights = np.array([[1.0, 2.0, 4.0], [0.0, 3.0, 0.0]])
    members = np.array([[2, 1], [0, 0], [1, 1], [0, 3]])
    assert sums_by_class(weights, members, 4).tolist() == [[1, 6, 0, 1], [0, 3, 0, 0]]
    assert sums_by_class(weights, np.zeros((0, 2), np.int64), 2).tolist() == [[0, 0], [0, 0]]
