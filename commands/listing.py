"""Runs as a table that fits the terminal, or as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from korformer.commands.chart import LETTERS, sparkline
from korformer.commands.console import printable
from korformer.training.runs import Run, age

_WIDE = 118
"""Columns from which the table has room for whole names and a small curve of each run."""
_SPARK_CELLS = 16
_NAME, _FIGURE = 1, 7
_TO_THE_LEFT = frozenset({0, 1, 2, 7, 9, 10, 11})
_SHORT = {"bits_per_character": "bpc", "perplexity": "ppl", "masked_accuracy": "acc"}
"""What the figures that runs are judged by are called where there is no room."""
_HEAD = ["", "name", "learns", "size", "step", "loss", "best", "", "tok/s", "state", "seen"]


def write_json_line(run: Run, curve: str | None) -> None:
    """A run as one line of JSON on stdout.

    Args:
        run: which.
        curve: name of a curve whose points shall be in it.
    """
    sys.stdout.write(json.dumps(run.facts(curve=curve), ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def table(runs: Sequence[Run], columns: int) -> list[Text]:
    """A line for each run under a line of headings, none wider than `columns`.

    Where there are several runs each has a letter, by which pictures call it.
    """
    wide = columns >= _WIDE
    rows = [_HEAD + (["curve"] if wide else [])]
    for number, run in enumerate(runs):
        letter = LETTERS[number % len(LETTERS)] if len(runs) > 1 else ""
        points = run.history.average_loss.points() if wide else []
        spark = [sparkline([point.value for point in points], _SPARK_CELLS)] if wide else []
        rows.append([letter, *_cells(run), *spark])
    return _aligned(rows, columns)


def _cells(run: Run) -> list[str]:
    history = run.history
    headline = history.headline
    best = headline.best if headline is not None else None
    loss, pace = history.average_loss.last, history.tokens_per_second
    done, whole = short_count(history.step), short_count(run.steps) if run.steps else "?"
    return [
        printable(run.name),
        printable(run.objective or "-"),
        short_count(run.parameters) if run.parameters else "-",
        done if history.step == run.steps else f"{done}/{whole}",
        f"{loss:.3f}" if loss is not None else "-",
        f"{best[1]:.4g}" if best is not None else "-",
        printable(headline.name) if headline is not None else "",
        short_count(pace) if pace is not None else "-",
        run.state,
        _when(run),
    ]


def _when(run: Run) -> str:
    if not run.updated:
        return "-"
    seconds = age(run.updated)
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"


def short_count(count: float) -> str:
    """A count in at most five characters or so: `950`, `12.3k`, `1.05M`."""
    if count < 9999.5:
        return f"{count:.0f}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if count < 999.5 * size or unit == "G":
            return f"{count / size:.3g}{unit}" if count < 999.5 * size else f"{count / size:,.0f}{unit}"
    raise AssertionError(count)


def _aligned(grid: list[list[str]], columns: int) -> list[Text]:
    """Cells in columns, names to the left and numbers to the right; what gives way where it gets narrow: the gaps, the
    names of figures, the names of runs.
    """
    gap = 2
    if _excess(grid, columns, gap):
        gap = 1
        grid = [[*row[:_FIGURE], _SHORT.get(row[_FIGURE], row[_FIGURE]), *row[_FIGURE + 1 :]] for row in grid]
    for index, least in ((_NAME, 20), (_FIGURE, 3), (_NAME, 8)):
        width = _widths(grid)[index]
        width = min(width, max(least, width - _excess(grid, columns, gap)))
        grid = [[*row[:index], shortened(row[index], width), *row[index + 1 :]] for row in grid]
    widths = _widths(grid)
    lines = []
    for number, row in enumerate(grid):
        parts = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            room = " " * (width - cell_len(cell))
            if width:
                parts.append(cell + room if index in _TO_THE_LEFT else room + cell)
        line = (" " * gap).join(parts).rstrip()
        lines.append(Text(shortened(line, columns), "" if number else "bold"))
    return lines


def _widths(grid: list[list[str]]) -> list[int]:
    return [max(cell_len(row[index]) for row in grid) for index in range(len(grid[0]))]


def _excess(grid: list[list[str]], columns: int, gap: int) -> int:
    """Cells by which the table is too wide."""
    widths = [width for width in _widths(grid) if width]
    return max(0, sum(widths) + gap * (len(widths) - 1) - columns)


def shortened(text: str, cells: int) -> str:
    """`text` in at most so many cells: its beginning and its end, which is where names differ."""
    if cell_len(text) <= cells:
        return text
    if cells < 5:
        return set_cell_size(text, cells).rstrip()
    tail = ""
    for character in reversed(text):
        if cell_len(character + tail) > (cells - 2) // 2:
            break
        tail = character + tail
    head = set_cell_size(text, cells - 2 - cell_len(tail)).rstrip()
    return f"{head}..{tail}"
