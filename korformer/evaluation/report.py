"""What an evaluation hands to those who show it: figures by name, tables and plots, all without a terminal in mind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class EvalRequest:
    """What a person asked to have measured.

    Attributes:
        checkpoint: a model directory.
        data: files, directories, globs or "-".
        document: what ends a document of plain text, "block" or "file" (`korformer.text.documents.ReadSettings`).
        errors: what to do with bytes that are not text, "strict", "replace" or "skip".
        hashes: rounds of hashing instead of the model's own, or None.
        weights: precision of the weights in a reading token by token, or None for a parallel one in fp32.
        max_documents: stop after this many, or None.
        window: most tokens of context, or None for the model's own.
        by_context: also compare contexts of different lengths.
    """

    checkpoint: Path
    data: Sequence[str]
    document: str = "block"
    errors: str = "strict"
    hashes: int | None = None
    weights: str | None = None
    max_documents: int | None = None
    window: int | None = None
    by_context: bool = True


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
class Report:
    """Results of one evaluation.

    Attributes:
        metrics: every figure by its name, ready for JSON.
        tables: for people.
        plots: for people.
    """

    metrics: dict[str, object]
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = field(default=())
