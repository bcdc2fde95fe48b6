"""Scores of named entities: whole entities, and their characters.

An entity is right if begin, end and label are. Precision, recall and F1 of entities are those of seqeval in its strict
mode with scheme IOB2, to the last digit; those of characters, whose classes are `B-PER`, `I-PER`, … and `O`, are
scikit-learn's. Most characters are O and easily told, so figures with O look much better: each says which it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from korformer.evaluation.confusion import ClassScores, class_scores, divided

OUTSIDE = "O"
NOTHING = "(nothing)"
"""Stands in confusions for no entity."""


@dataclass(frozen=True, kw_only=True, order=True)
class Entity:
    """A named entity.

    Attributes:
        start, end: its characters.
        label: its class.
    """

    start: int
    end: int
    label: str


class EntityScores(ClassScores):
    """Scores of each class of entities, with F1 rounded as seqeval does it."""

    def _f1(
        self, right: NDArray[np.int64], predicted: NDArray[np.int64], support: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        precision, recall = divided(right, predicted), divided(right, support)
        total = precision + recall
        return np.asarray(2.0 * precision * recall / np.where(total == 0.0, 1.0, total))


def entity_counts(
    gold: Sequence[Sequence[Entity]], predicted: Sequence[Sequence[Entity]], labels: Sequence[str]
) -> NDArray[np.int64]:
    """(N, 3, C) of each text and class: entities that are right, predicted, and in the data."""
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(gold), 3, len(labels)), dtype=np.int64)
    for row, wanted, given in zip(counts, gold, predicted, strict=True):
        found = set(wanted) & set(given)
        for kind, entities in enumerate((found, set(given), set(wanted))):
            for entity in entities:
                row[kind, place[entity.label]] += 1
    return counts


def labels_of(gold: Sequence[Sequence[Entity]], predicted: Sequence[Sequence[Entity]]) -> list[str]:
    """The classes that occur, sorted."""
    return sorted({entity.label for entities in (*gold, *predicted) for entity in entities})


def entity_scores(gold: Sequence[Sequence[Entity]], predicted: Sequence[Sequence[Entity]]) -> EntityScores:
    """Scores of whole entities, of every class that occurs on either side.

    Args:
        gold: the entities of each text, which do not overlap.
        predicted: the same of the predictions.
    """
    labels = labels_of(gold, predicted)
    right, given, wanted = entity_counts(gold, predicted, labels).sum(axis=0)
    return EntityScores(labels=tuple(labels), right=right, predicted=given, support=wanted)


def f1_of_sums(sums_RK: NDArray[np.float64]) -> NDArray[np.float64]:
    """Micro F1 from (R, 3) sums of right, predicted and gold entities, for the bootstrap; 0 where there are none."""
    total = sums_RK[:, 1] + sums_RK[:, 2]
    return np.asarray(2 * sums_RK[:, 0] / np.where(total == 0, 1.0, total))


def macro_f1_of_sums(sums_RK: NDArray[np.float64]) -> NDArray[np.float64]:
    """Macro F1 from (R, 3 x C) sums, for the bootstrap; the classes that a draw has."""
    right, predicted, wanted = np.split(sums_RK, 3, axis=1)
    total = predicted + wanted
    f1 = 2 * right / np.where(total == 0, 1.0, total)
    return np.asarray(f1.sum(axis=1) / np.maximum(1, (total > 0).sum(axis=1)))


def character_tags(length: int, entities: Sequence[Entity]) -> list[str]:
    """The IOB2 tag of each character of a text."""
    tags = [OUTSIDE] * length
    for entity in entities:
        tags[entity.start] = f"B-{entity.label}"
        for place in range(entity.start + 1, entity.end):
            tags[place] = f"I-{entity.label}"
    return tags


def character_scores(gold: Sequence[str], predicted: Sequence[str], *, with_outside: bool) -> ClassScores:
    """Scores of the tags of all characters of all texts.

    Args:
        gold: the tag of each character.
        predicted: what was predicted; as many.
        with_outside: O is a class among the others. Without it the others alone are averaged.
    """
    labels = sorted({*gold, *predicted})
    return class_scores(gold, predicted, [label for label in labels if with_outside or label != OUTSIDE])


def taken_for(
    gold: Sequence[Sequence[Entity]], predicted: Sequence[Sequence[Entity]]
) -> tuple[list[str], list[str], Counter[str]]:
    """What each entity was taken for, by overlap.

    Returns:
        Gold and predicted label of each pair, `NOTHING` where one side has no overlapping entity; and how many gold
        entities were "right", had the right label but another "boundary", had another "label", or were "missed", and
        how many predictions were "invented".
    """
    ones, others = [], []
    kinds: Counter[str] = Counter()
    for wanted, given in zip(gold, predicted, strict=True):
        met = set()
        for entity in wanted:
            overlaps = [(_overlap(entity, other), other) for other in given]
            overlap, other = max(overlaps, key=lambda pair: (pair[0], pair[1].label == entity.label), default=(0, None))
            ones.append(entity.label)
            if other is None or overlap == 0:
                others.append(NOTHING)
                kinds["missed"] += 1
                continue
            met.add(other)
            others.append(other.label)
            kinds["right" if other == entity else "boundary" if other.label == entity.label else "label"] += 1
        for other in given:
            if other not in met and not any(_overlap(entity, other) for entity in wanted):
                ones.append(NOTHING)
                others.append(other.label)
                kinds["invented"] += 1
    return ones, others, kinds


def _overlap(one: Entity, other: Entity) -> int:
    return max(0, min(one.end, other.end) - max(one.start, other.start))
