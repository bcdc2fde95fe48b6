"""Scores of entities. The oracles are seqeval (strict, IOB2) for entities and scikit-learn for characters."""

from __future__ import annotations

import random

import numpy as np
import pytest
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2
from sklearn.metrics import f1_score

from korformer.evaluation.entities import (
    NOTHING,
    Entity,
    character_scores,
    character_tags,
    entity_counts,
    entity_scores,
    f1_of_sums,
    macro_f1_of_sums,
    taken_for,
)

LABELS = ["PS", "LC", "OG", "DT", "TI", "QT"]


def entity(start: int, end: int, label: str) -> Entity:
    return Entity(start=start, end=end, label=label)


def drawn(source: random.Random, length: int, labels: list[str]) -> list[Entity]:
    found, place = [], 0
    while place < length:
        end = min(length, place + source.randrange(1, 5))
        if source.random() < 0.5:
            found.append(entity(place, end, source.choice(labels)))
        place = end
    return found


def disturbed(source: random.Random, entities: list[Entity], length: int) -> list[Entity]:
    """Some kept, some gone, some with another label, some shorter."""
    found = []
    for one in entities:
        kind = source.random()
        if kind < 0.6:
            found.append(one)
        elif kind < 0.7:
            found.append(entity(one.start, one.end, source.choice(LABELS)))
        elif kind < 0.8 and one.end - one.start > 1:
            found.append(entity(one.start + 1, one.end, one.label))
    return found if source.random() < 0.9 else drawn(source, length, LABELS)


def corpus(seed: int) -> tuple[list[int], list[list[Entity]], list[list[Entity]]]:
    source = random.Random(seed)
    lengths = [source.randrange(1, 30) for _ in range(source.randrange(1, 40))]
    labels = source.sample(LABELS, source.randrange(1, len(LABELS) + 1))
    gold = [drawn(source, length, labels) for length in lengths]
    predicted = [disturbed(source, entities, length) for entities, length in zip(gold, lengths, strict=True)]
    return lengths, gold, predicted


@pytest.mark.parametrize("seed", range(60))
def test_figures_of_entities_are_those_of_seqeval_to_the_last_digit(seed: int) -> None:
    lengths, gold, predicted = corpus(seed)
    ones = [character_tags(length, entities) for length, entities in zip(lengths, gold, strict=True)]
    others = [character_tags(length, entities) for length, entities in zip(lengths, predicted, strict=True)]
    how = {"scheme": IOB2, "zero_division": 0}  # the strict mode
    scores = entity_scores(gold, predicted)
    if not any(gold) and not any(predicted):
        assert scores.labels == ()
        return
    precision, recall, f1, support = precision_recall_fscore_support(ones, others, average=None, **how)
    assert scores.precision.tolist() == precision.tolist()
    assert scores.recall.tolist() == recall.tolist()
    assert scores.f1.tolist() == f1.tolist()
    assert scores.support.tolist() == support.tolist()
    for average, figures in (("micro", scores.micro), ("macro", scores.macro)):
        expected = precision_recall_fscore_support(ones, others, average=average, **how)
        assert figures == tuple(map(float, expected[:3])), average
        assert figures[2] == seqeval_f1(ones, others, average=average, mode="strict", **how)


@pytest.mark.parametrize("seed", range(20))
def test_figures_of_characters_are_those_of_scikit_learn(seed: int) -> None:
    lengths, gold, predicted = corpus(seed)
    ones = [tag for length, found in zip(lengths, gold, strict=True) for tag in character_tags(length, found)]
    others = [tag for length, found in zip(lengths, predicted, strict=True) for tag in character_tags(length, found)]
    for with_outside in (True, False):
        scores = character_scores(ones, others, with_outside=with_outside)
        assert ("O" in scores.labels) == (with_outside and "O" in {*ones, *others})
        if scores.labels:
            for average, figures in (("micro", scores.micro), ("macro", scores.macro)):
                expected = f1_score(ones, others, labels=list(scores.labels), average=average, zero_division=0)
                assert figures[2] == pytest.approx(float(expected), abs=1e-15), (average, with_outside)


def test_all_wrong_all_right_and_nothing_at_all() -> None:
    one = [entity(0, 2, "PS")]
    assert entity_scores([one], [one]).micro == (1.0, 1.0, 1.0)
    assert entity_scores([one], [[]]).micro == (0.0, 0.0, 0.0)
    assert entity_scores([[]], [one]).micro == (0.0, 0.0, 0.0)
    assert entity_scores([[]], [[]]).micro == (0.0, 0.0, 0.0)
    assert entity_scores([[]], [[]]).macro == (0.0, 0.0, 0.0)


def test_figures_with_o_look_better_and_are_named_apart() -> None:
    gold = character_tags(20, [entity(0, 2, "PS"), entity(5, 7, "PS")])
    predicted = character_tags(20, [entity(0, 2, "PS")])
    assert character_scores(gold, predicted, with_outside=True).micro[2] == pytest.approx(18 / 20)
    # 2 right of 2 predicted and of 4 in the data.
    assert character_scores(gold, predicted, with_outside=False).micro[2] == pytest.approx(2 * 2 / (2 + 4))


def test_the_statistics_of_the_bootstrap_are_the_figures() -> None:
    _, gold, predicted = corpus(3)
    scores = entity_scores(gold, predicted)
    counts = entity_counts(gold, predicted, scores.labels)
    assert f1_of_sums(counts.sum(axis=(0, 2))[None].astype(float)) == pytest.approx([scores.micro[2]])
    sums = counts.sum(axis=0).reshape(1, -1).astype(float)
    assert macro_f1_of_sums(sums) == pytest.approx([scores.macro[2]])
    assert f1_of_sums(np.zeros((1, 3))).tolist() == [0.0]


def test_what_was_taken_for_what() -> None:
    gold = [[entity(0, 2, "PS"), entity(3, 6, "LC"), entity(8, 9, "DT"), entity(10, 12, "OG")]]
    predicted = [[entity(0, 2, "PS"), entity(3, 5, "LC"), entity(10, 12, "LC"), entity(14, 15, "TI")]]
    ones, others, kinds = taken_for(gold, predicted)
    assert list(zip(ones, others, strict=True)) == [
        ("PS", "PS"),
        ("LC", "LC"),
        ("DT", NOTHING),
        ("OG", "LC"),
        (NOTHING, "TI"),
    ]
    assert kinds == {"right": 1, "boundary": 1, "missed": 1, "label": 1, "invented": 1}
