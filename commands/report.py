"""Showing the results of an evaluation on stdout: JSON for programs; tables, plots and passages for people.

Nothing that is drawn needs more than ASCII: box-drawing characters are one column wide in some Korean terminals and two
in others, and file names may not be encodable at all. Labels and passages are the data's own text; their width is
counted in cells.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from korformer.commands.console import printable

if TYPE_CHECKING:
    from korformer.evaluation.report import Passage, Plot, Predictions, Report, Table
    from korformer.events import Listener

WIDEST_COLUMNS = 100
PLOT_ROWS = 14

_ASCII = str.maketrans("┌┐└┘├┤┬┴┼─│", "+++++++++-|")


def show(report: Report, *, json_output: bool, plot: bool) -> None:
    """Print a report; sized to the terminal, and plain where stdout is none.

    Args:
        report: what to print.
        json_output: one JSON object instead of anything else; a figure that is no number is null.
        plot: draw the plots too.
    """
    if json_output:
        from korformer.storage.atomic import finite

        sys.stdout.write(json.dumps(finite(report.metrics), allow_nan=False) + "\n")
        return
    columns = min(shutil.get_terminal_size((80, 24)).columns, WIDEST_COLUMNS)
    parts = [table_text(table, columns=columns) for table in report.tables]
    if plot:
        parts += [plot_text(drawing, columns=columns) for drawing in report.plots]
    if report.passages:
        parts.append("The worst examples")
        parts += [passage_text(passage, columns=columns) for passage in report.passages]
    sys.stdout.write("\n\n".join(parts) + "\n")


def write_predictions(path: Path, report: Report, listen: Listener) -> None:
    """Write the predictions of a report to a new file.

    Raises:
        UsageError: the task has none. PathError, ResourceError: the file cannot be written, or is there already.
    """
    from korformer.errors import UsageError
    from korformer.events import Saved
    from korformer.storage import write_new

    if report.predictions is None:
        raise UsageError("the task has no predictions to write", where="--predictions")
    write_new(path, predictions_text(report.predictions).encode("utf-8", "surrogatepass"))
    listen(Saved(path=path))


def predictions_text(predictions: Predictions) -> str:
    """The content of a file of predictions: one JSON value, or a record a line."""
    if predictions.layout == "json":
        return json.dumps(predictions.value, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    return "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in predictions.value)


def table_text(table: Table, *, columns: int = 80) -> str:
    """A table as lines: first column left, numbers right, the note broken to fit `columns`."""
    from rich.cells import cell_len

    header = [table.columns] if any(table.columns) else []
    grid = [tuple(printable(cell) for cell in row) for row in (*header, *table.rows)]
    widths = [max((cell_len(row[index]) for row in grid), default=0) for index in range(len(table.columns))]
    lines = [table.title]
    for row in grid:
        room = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [row[0] + room[0], *(space + cell for cell, space in zip(row[1:], room[1:], strict=True))]
        lines.append("  " + "  ".join(cells).rstrip())
    if table.note:
        lines += textwrap.wrap(table.note, columns - 1)
    return "\n".join(lines)


def passage_text(passage: Passage, *, columns: int = 80) -> str:
    """A passage as lines, broken to fit `columns`; control characters are spelt out."""
    lines = [f"  {line}" for line in _broken(printable(passage.title), columns - 3)]
    for line in passage.lines:
        lines += [f"    {part}" for part in _broken(printable(line), columns - 5)]
    return "\n".join(lines)


def _broken(text: str, columns: int) -> Iterator[str]:
    """A line in pieces of at most `columns` cells, broken after a space where one is near."""
    from rich.cells import cell_len

    while cell_len(text) > columns:
        end = width = 0
        while width + cell_len(text[end]) <= columns:
            width += cell_len(text[end])
            end += 1
        space = text.rfind(" ", end - end // 3, end) + 1
        yield text[: space or end].rstrip()
        text = text[space or end :]
    yield text


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
