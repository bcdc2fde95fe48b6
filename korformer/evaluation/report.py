"""What an evaluation hands to those who show it: figures by name, tables, plots and passages, all without a terminal in
mind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class EvalRequest:
    """What a person asked to have measured.

    Attributes:
        checkpoint: a model directory; None where predictions are scored or the task needs none.
        data: files, directories, globs or "-".
        score: a file of predictions to score instead of those of a model, or None.
        keep_predictions: whether the report is to have the predictions.
        document: what ends a document of plain text, "block" or "file" (`korformer.text.documents.ReadSettings`).
        errors: what to do with bytes that are not text, "strict", "replace" or "skip".
        hashes: rounds of hashing instead of the model's own, or None.
        weights: precision of the weights in a reading token by token, or None for a parallel one in fp32.
        max_documents: stop after this many documents or examples, or None.
        window: most tokens of context, or None for the model's own.
        by_context: also compare contexts of different lengths.
        options: settings of the task by name, to be checked by it.
        resamples: draws of the bootstrap; 0 for no intervals.
        worst: passages with the worst mistakes to show.
        seed: of whatever is drawn.
        device: where the model is put (`korformer.model.devices`).
    """

    checkpoint: Path | None
    data: Sequence[str]
    score: str | None = None
    keep_predictions: bool = False
    document: str = "block"
    errors: str = "strict"
    hashes: int | None = None
    weights: str | None = None
    max_documents: int | None = None
    window: int | None = None
    by_context: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    resamples: int = 1000
    worst: int = 5
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of ready cells under a title; the first column is a label, the others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A line through one value for each label."""

    title: str
    labels: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Passage:
    """An example in its context, for people; a line may be long and may hold anything."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model answered, ready for a file.

    Attributes:
        layout: "json" for one value, "jsonl" for a sequence of records, a line each.
        value: what goes into the file.
    """

    layout: Literal["json", "jsonl"]
    value: Any


@dataclass(frozen=True, kw_only=True)
class Report:
    """Results of one evaluation.

    Attributes:
        metrics: every figure by its name, ready for JSON.
        tables: for people.
        plots: for people.
        passages: the worst mistakes, for people.
        predictions: what the model answered, where that was asked for.
    """

    metrics: dict[str, object]
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = field(default=())
    passages: tuple[Passage, ...] = ()
    predictions: Predictions | None = None


MOST_SHOWN = 400
"""Characters of a long text that a passage shows."""


def excerpt(text: str) -> str:
    """A text for a passage: of a long one its beginning and its end, and how much is between them."""
    if len(text) <= MOST_SHOWN:
        return text
    end = MOST_SHOWN // 4
    begin = MOST_SHOWN - end
    return f"{text[:begin]} … ({len(text) - MOST_SHOWN:,} characters) … {text[-end:]}"
