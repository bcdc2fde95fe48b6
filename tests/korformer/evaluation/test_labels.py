"""Figures of labels: scikit-learn's, with missing predictions wrong and no class."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from korformer.evaluation.labels import LabelFigures


def figures(gold: list[str], given: list[str | None]) -> LabelFigures:
    """Of one label an example."""
    return LabelFigures(
        gold=[(label,) for label in gold], given=[None if label is None else (label,) for label in given]
    )


def test_a_missing_prediction_is_wrong_and_no_class() -> None:
    gold = ["a", "b"] * 8
    made = figures(gold, [None, *gold[1:]])
    assert made.accuracy == 15 / 16
    assert made.labels == ["a", "b"]
    assert made.by_class.macro[2] == pytest.approx((2 * 7 / (7 + 8) + 1) / 2)
    assert made.details(single=True)["taken_for"] == {"a": {"(none)": 1, "a": 7}, "b": {"b": 8}}
    assert made.remarks() == ["1 of 16 examples have no prediction and count as wrong"]
    assert figures(gold, list(gold)).remarks() == []
    nothing = LabelFigures(gold=[(), ("a",)], given=[None, ("a",)])
    assert nothing.accuracy == 0.5  # where nothing is right, no prediction is none of that


@pytest.mark.parametrize("several", [False, True])
def test_intervals_are_those_of_figures_of_drawn_examples(several: bool) -> None:
    source = np.random.default_rng(0)
    names = np.array(["a", "b", "c"])
    if several:
        gold, given = ([tuple(names[row]) for row in source.random((60, 3)) < share] for share in (0.5, 0.4))
    else:
        gold, given = ([(label,) for label in source.choice(names, 60)] for _ in range(2))
    made = LabelFigures(gold=gold, given=given)
    found = made.intervals(accuracy="accuracy", micro="micro", macro="macro", resamples=400, seed=2)
    draws = np.random.default_rng(2).multinomial(60, np.full(60, 1 / 60), size=400)
    by_hand: dict[str, list[float]] = {"accuracy": [], "micro": [], "macro": []}
    for draw in draws:
        chosen = np.repeat(np.arange(60), draw)
        one, other = (
            np.array([[name in labels for name in names] for labels in (side[index] for index in chosen)], int)
            for side in (gold, given)
        )
        by_hand["accuracy"].append(float((one == other).all(axis=1).mean()))
        for kind in ("micro", "macro"):
            by_hand[kind].append(f1_score(one, other, average=kind, zero_division=0))
    for name, values in by_hand.items():
        assert found[name] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975]))), name


def test_thousands_of_classes_take_no_more_room_than_their_examples() -> None:
    gold = [str(number % 5000) for number in range(10_000)]
    found = figures(gold, list(gold)).intervals(accuracy="accuracy", micro=None, macro="macro", resamples=20, seed=0)
    assert found == {"accuracy": (1.0, 1.0), "macro": (1.0, 1.0)}
