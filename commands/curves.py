"""The curves of runs as one picture: the smoothed loss, and beside it, where there is room, the main figure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Literal

from rich.cells import cell_len
from rich.text import Text

from korformer.commands.chart import Line, draw
from korformer.commands.console import printable
from korformer.training.runs import Run

Axis = Literal["step", "tokens"]

LOSS = "loss"
_TWO = 120
"""Columns from which two pictures stand side by side."""
_GAP = "   "


def shows_dots() -> bool:
    """Whether the terminal has colours and braille patterns, which the console of Linux has not."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in {"linux", "dumb", "vt100"}


def lines_of(runs: Iterable[Run], metric: str, by: Axis) -> list[Line]:
    """The curve of each run, called by the run's name."""
    lines = []
    for run in runs:
        curve = run.history.curve(metric)
        points = curve.points() if curve is not None else []
        x = [point.tokens if by == "tokens" else point.step for point in points]
        lines.append(Line(name=printable(run.name), x=x, y=[point.value for point in points]))
    return lines


def picture(runs: Sequence[Run], metric: str | None, by: Axis, *, columns: int, rows: int, plain: bool) -> list[Text]:
    """The curves of all runs together, each with the letter that `korformer.commands.listing.table` gives it.

    Args:
        runs: at least one.
        metric: which curve; where it is None the loss, and in a wide picture the first figure of the validations too.
        by: what the horizontal axis is. Of a run in progress it reaches to the last step.
        columns, rows: most cells.
        plain: letters and no colours.
    """
    wanted = [metric or LOSS]
    headline = next((run.history.headline for run in runs if run.history.headline is not None), None)
    if metric is None and headline is not None and columns >= _TWO:
        wanted.append(headline.name)
    end = max((float(run.steps) for run in runs if run.state == "running" and by == "step"), default=None)
    width = (columns - len(_GAP) * (len(wanted) - 1)) // len(wanted)
    pictures = [
        draw(
            lines_of(runs, name, by),
            columns=width,
            rows=rows,
            title="loss, nats a token (smoothed)" if name == LOSS else printable(name),
            x_name=by,
            end=end,
            plain=plain,
            legend=False,
        )
        for name in wanted
    ]
    return pictures[0] if len(pictures) == 1 else _beside(pictures[0], pictures[1], width)


def _beside(left: Sequence[Text], right: Sequence[Text], width: int) -> list[Text]:
    lines = []
    for index in range(max(len(left), len(right))):
        line = left[index].copy() if index < len(left) else Text()
        if index < len(right):
            line.append(" " * (width - cell_len(line.plain)) + _GAP)
            line.append_text(right[index])
        lines.append(line)
    return lines
