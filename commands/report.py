"""Showing the results of an evaluation on stdout: JSON for programs; tables and plots for people.

Nothing here needs more than ASCII: box-drawing characters are one column wide in some Korean terminals and two in
others, and file names may not be encodable at all.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from korformer.evaluation.report import Plot, Report, Table

WIDEST_COLUMNS = 100
PLOT_ROWS = 14

_ASCII = str.maketrans("┌┐└┘├┤┬┴┼─│", "+++++++++-|")


def show(report: Report, *, json_output: bool, plot: bool) -> None:
    """Print a report; sized to the terminal, and plain where stdout is none.

    Args:
        report: what to print.
        json_output: one JSON object instead of anything else.
        plot: draw the plots too.
    """
    if json_output:
        sys.stdout.write(json.dumps(report.metrics, allow_nan=False) + "\n")
        return
    columns = min(shutil.get_terminal_size((80, 24)).columns, WIDEST_COLUMNS)
    parts = [table_text(table, columns=columns) for table in report.tables]
    if plot:
        parts += [plot_text(drawing, columns=columns) for drawing in report.plots]
    sys.stdout.write("\n\n".join(parts) + "\n")


def table_text(table: Table, *, columns: int = 80) -> str:
    """A table as lines: first column left, numbers right, the note broken to fit `columns`."""
    header = [table.columns] if any(table.columns) else []
    grid = [*header, *table.rows]
    widths = [max(len(row[index]) for row in grid) for index in range(len(table.columns))]
    lines = [table.title]
    for row in grid:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  " + "  ".join(cells).rstrip())
    if table.note:
        lines += textwrap.wrap(table.note, columns - 1)
    return "\n".join(lines)


def plot_text(plot: Plot, *, columns: int) -> str:
    """A plot as lines of ASCII, no wider than `columns`."""
    import plotext

    figure = plotext.figure
    figure.clear()  # plotext has one figure for the whole process
    places = list(range(len(plot.values)))
    figure.plot_size(columns - 1, PLOT_ROWS)
    figure.title(plot.title)
    signal = figure.signal(places, list(plot.values), marker="*")
    signal.lines()
    figure.draw(signal)
    figure.ruler("x").ticks(places, list(plot.labels))
    text = figure.build().string(colorless=True)
    figure.clear()
    return "\n".join(line.rstrip() for line in text.translate(_ASCII).rstrip().splitlines())
