"""Scores of classes and confusions; scikit-learn is the oracle."""

from __future__ import annotations

import random

import pytest
from sklearn.metrics import precision_recall_fscore_support

from korformer.evaluation.confusion import class_scores, confusion_json, confusion_table

NAMES = ["기쁨", "슬픔", "노여움", "두려움"]


@pytest.mark.parametrize("seed", range(20))
def test_scores_are_those_of_scikit_learn_to_the_last_digit(seed: int) -> None:
    source = random.Random(seed)
    size = source.randrange(1, 60)
    gold = [source.choice(NAMES[:3]) for _ in range(size)]
    predicted = [one if source.random() < 0.6 else source.choice(NAMES) for one in gold]
    for labels in (None, NAMES, NAMES[1:3]):
        scores = class_scores(gold, predicted, labels)
        how = {"labels": list(scores.labels), "zero_division": 0}
        precision, recall, f1, support = precision_recall_fscore_support(gold, predicted, **how)
        assert scores.precision.tolist() == precision.tolist()
        assert scores.recall.tolist() == recall.tolist()
        assert scores.f1.tolist() == f1.tolist()
        assert scores.support.tolist() == support.tolist()
        for average, figures in (("micro", scores.micro), ("macro", scores.macro)):
            expected = precision_recall_fscore_support(gold, predicted, average=average, **how)
            assert figures == tuple(map(float, expected[:3])), average


def test_few_classes_make_a_square() -> None:
    table = confusion_table(["가", "가", "나"], ["가", "나", "나"], title="T", note="N.")
    assert table.columns == ("", "가", "나")
    assert table.rows == (("가", "1", "1"), ("나", "0", "1"))
    assert table.note.startswith("N. Rows:")


def test_many_classes_make_a_list_of_confusions() -> None:
    gold = [f"c{number % 15}" for number in range(60)]
    predicted = [f"c{(number + (number % 4 == 0)) % 15}" for number in range(60)]
    table = confusion_table(gold, predicted)
    assert len(table.columns) == 2
    assert table.rows[0] == ("c0 -> c1", "1")
    assert sum(int(count) for _, count in table.rows) == sum(map(str.__ne__, gold, predicted))


def test_confusions_for_programs_leave_out_what_never_happened() -> None:
    assert confusion_json(["a", "a", "b"], ["a", "b", "b"]) == {"a": {"a": 1, "b": 1}, "b": {"b": 1}}
