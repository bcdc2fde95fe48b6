"""Figures of answers by how long their texts are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from korformer.evaluation.answers import AnswerScores
from korformer.evaluation.report import Table

_EDGES = (0, 256, 512, 1024, 2048, 4096, 8192, 16384)


def by_size(title: str, first: str, sizes: NDArray[np.int64], scores: AnswerScores) -> Table:
    """Figures of the questions whose size lies between two powers of two.

    Args:
        title: of the table.
        first: heading of its first column, what is measured.
        sizes: of each question.
        scores: of each question.
    """
    rows = []
    exact, f1 = np.array(scores.exact, dtype=np.float64), np.array(scores.f1, dtype=np.float64)
    for low, high in zip(_EDGES, [*_EDGES[1:], None], strict=True):
        chosen = (sizes >= low) & (sizes < high if high is not None else True)
        if chosen.any():
            span = f"{low:,} to {high - 1:,}" if high is not None else f"{low:,} or more"
            figures = (f"{100 * f1[chosen].mean():.2f}", f"{100 * exact[chosen].mean():.2f}", f"{chosen.sum():,}")
            rows.append((span, *figures))
    return Table(title=title, columns=(first, "F1", "exact match", "questions"), rows=tuple(rows))
