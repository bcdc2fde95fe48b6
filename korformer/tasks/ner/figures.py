"""Figures of named entities, for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from korformer.evaluation.bootstrap import interval
from korformer.evaluation.confusion import confusion_json, confusion_table
from korformer.evaluation.entities import (
    Entity,
    character_scores,
    character_tags,
    entity_counts,
    entity_scores,
    f1_of_sums,
    labels_of,
    macro_f1_of_sums,
    taken_for,
)
from korformer.evaluation.report import Table

Entities = Sequence[Sequence[Entity]]
"""Those of each text."""


def metrics(gold: Entities, given: Entities, *, texts: Sequence[str]) -> dict[str, float]:
    """Figures of whole entities, strictly; then of their characters."""
    entities = entity_scores(gold, given)
    precision, recall, f1 = entities.micro
    ones, others = (
        [tag for text, found in zip(texts, side, strict=True) for tag in character_tags(len(text), found)]
        for side in (gold, given)
    )
    inside = character_scores(ones, others, with_outside=False)
    everywhere = character_scores(ones, others, with_outside=True)
    return {
        "entity_f1": f1,
        "entity_precision": precision,
        "entity_recall": recall,
        "entity_f1_macro": entities.macro[2],
        "character_f1": inside.micro[2],
        "character_f1_macro": inside.macro[2],
        "character_f1_with_o": everywhere.micro[2],
        "character_f1_macro_with_o": everywhere.macro[2],
    }


def scores(gold: Entities, given: Entities) -> list[float]:
    """F1 of the entities of each text, 1 where there are none on either side."""
    values = []
    for wanted, found in zip(gold, given, strict=True):
        right = len(set(wanted) & set(found))
        values.append(2 * right / (len(wanted) + len(found)) if wanted or found else 1.0)
    return values


def intervals(gold: Entities, given: Entities, *, resamples: int, seed: int) -> dict[str, tuple[float, float] | None]:
    """95% intervals of both figures of whole entities; texts are drawn."""
    counts = entity_counts(gold, given, labels_of(gold, given))
    by_label = counts.reshape(len(counts), -1)
    return {
        "entity_f1": interval(counts.sum(axis=2), f1_of_sums, resamples=resamples, seed=seed),
        "entity_f1_macro": interval(by_label, macro_f1_of_sums, resamples=resamples, seed=seed),
    }


def details(gold: Entities, given: Entities) -> dict[str, Any]:
    """Figures of each class, and what was taken for what, for a JSON object."""
    ones, others, kinds = taken_for(gold, given)
    return {
        "entities": sum(map(len, gold)),
        "entities_predicted": sum(map(len, given)),
        "by_label": entity_scores(gold, given).as_json(),
        "taken_for": confusion_json(ones, others),
        "outcomes": {kind: kinds[kind] for kind in ("right", "boundary", "label", "missed", "invented")},
    }


def tables(gold: Entities, given: Entities) -> tuple[Table, ...]:
    """The same for people."""
    ones, others, kinds = taken_for(gold, given)
    note = (
        f"{kinds['right']:,} right, {kinds['boundary']:,} with another boundary, {kinds['label']:,} with another "
        f"label, {kinds['missed']:,} missed, {kinds['invented']:,} invented."
    )
    return (
        entity_scores(gold, given).table(title="Entities by label (begin, end and label right)", first="label"),
        confusion_table(ones, others, title="Entities taken for (by overlap)", note=note),
    )
