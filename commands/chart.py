"""Curves as lines of text: braille dots where a terminal shows them in colour, letters elsewhere.

Axes and labels are ASCII: box-drawing characters are two cells wide in many Korean terminals. Braille patterns are one
cell wide everywhere, and have two by four dots a cell. Where there are no colours to tell curves apart, each is drawn
with a letter of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

COLOURS = ("cyan", "yellow", "magenta", "green", "red", "blue", "bright_cyan", "bright_yellow", "bright_magenta")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BEGINNING = 0.05
"""Share of the axis whose values do not stretch the scale: a loss falls from so high that the rest would be flat."""

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_SPARKS = ("\u28c0", "\u28e4", "\u28f6", "\u28ff")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve to draw.

    Attributes:
        name: for the legend; printable.
        x: places, rising.
        y: values, finite, as many.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """Maps low .. high to 0 .. size - 1."""

    low: float
    high: float
    size: int

    def place(self, value: float) -> int:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return math.floor(share * (self.size - 1) + 0.5)


def draw(
    lines: Sequence[Line],
    *,
    columns: int,
    rows: int,
    title: str,
    x_name: str,
    end: float | None = None,
    plain: bool,
    legend: bool = True,
) -> list[Text]:
    """The curves in one picture of at most `columns` by `rows` cells, as lines of text.

    Args:
        lines: the curves; those without a point appear in the legend only.
        columns, rows: room there is, at least 20 by 6.
        title: what the values are; printable.
        x_name: what the places are; printable.
        end: how far the horizontal axis reaches at least.
        plain: letters and no colours.
        legend: tell which of several curves has which letter.
    """
    shown = [line for line in lines if len(line.x)]
    several = len(lines) > 1
    names = _legend(lines, columns, most=min(rows // 4, rows - 6)) if several and legend else []
    height = max(3, rows - 3 - len(names))
    if not shown:
        return [Text(title), *[Text("")] * (height // 2), Text("  nothing yet"), *names][:rows]
    x_low, x_high = min(line.x[0] for line in shown), max(line.x[-1] for line in shown)
    x_high = max(x_high, end or x_high)
    y_low, y_high = _value_range(shown)
    marks = _ticks(y_low, y_high, max(2, height // 3))
    labels = {mark: _number(mark, marks) for mark in marks}
    margin = max(map(len, labels.values())) + 1
    width = columns - margin - 2
    dots = (1, 1) if plain else (2, 4)
    canvas = _Canvas(width, height, dots)
    x_scale = _Scale(low=x_low, high=x_high, size=width * dots[0])
    y_scale = _Scale(low=y_low, high=y_high, size=height * dots[1])
    for number, line in enumerate(lines):
        canvas.draw(line, number, x_scale, y_scale, letter=several or plain)
    ruler = {height - 1 - y_scale.place(mark) // dots[1]: labels[mark] for mark in marks}
    picture = [
        Text(f"{ruler.get(row, ''):>{margin}}{'+' if row in ruler else '|'}", "default").append_text(canvas.row(row))
        for row in range(height)
    ]
    return [Text(title), *picture, *_bottom(x_low, x_high, x_name, margin, width), *names]


def sparkline(values: Sequence[float], cells: int) -> str:
    """A curve in one line of `cells` cells at most: the higher, the fuller."""
    if not values:
        return ""
    groups = [values[len(values) * i // cells : len(values) * (i + 1) // cells] for i in range(cells)]
    means = [sum(group) / len(group) for group in groups if group]
    low, high = _value_range([Line(name="", x=range(len(values)), y=values)])
    shares = [min(max((mean - low) / (high - low), 0.0), 0.999) for mean in means]
    return "".join(_SPARKS[int(share * len(_SPARKS))] for share in shares)


class _Canvas:
    """A grid of cells with dots, or with one letter each."""

    def __init__(self, width: int, height: int, dots: tuple[int, int]) -> None:
        self._width, self._height = width, height
        self._across, self._down = dots
        self._cells: list[list[tuple[int, int]]] = [[(0, -1)] * width for _ in range(height)]
        self._ends: dict[tuple[int, int], int] = {}

    def draw(self, line: Line, number: int, x_scale: _Scale, y_scale: _Scale, *, letter: bool) -> None:
        """Put a curve on it; `letter` marks its end where there are dots."""
        places = [(x, y_scale.place(y)) for x, y in _by_column(line, x_scale)]
        for (x, y), (next_x, next_y) in zip(places, [*places[1:], *places[-1:]], strict=True):
            # Dots join into a line; letters stand one a column.
            strokes = max(1, next_x - x, abs(next_y - y) if self._down > 1 else 0)
            for stroke in range(strokes):
                share = stroke / strokes
                self._dot(round(x + (next_x - x) * share), round(y + (next_y - y) * share), number)
        if letter and self._down > 1 and places:
            x, y = places[-1]
            row = self._row(min(max(y, 0), y_scale.size - 1))
            column = min(x // self._across + 1, self._width - 1)
            self._ends[row, column] = number

    def _row(self, y: int) -> int:
        return self._height - 1 - y // self._down

    def _dot(self, x: int, y: int, number: int) -> None:
        if not (0 <= x < self._width * self._across and 0 <= y < self._height * self._down):
            return
        row, column = self._row(y), x // self._across
        bit = _DOTS[x % 2][3 - y % 4] if self._down > 1 else 1
        self._cells[row][column] = (self._cells[row][column][0] | bit, number)

    def row(self, row: int) -> Text:
        """A line of it."""
        text = Text()
        for column, (bits, number) in enumerate(self._cells[row]):
            end = self._ends.get((row, column))
            if end is not None:
                text.append(LETTERS[end % len(LETTERS)], f"bold {COLOURS[end % len(COLOURS)]}")
            elif not bits:
                text.append(" ")
            elif self._down > 1:
                text.append(chr(0x2800 + bits), COLOURS[number % len(COLOURS)])
            else:
                text.append(LETTERS[number % len(LETTERS)])
        text.rstrip()
        return text


def _by_column(line: Line, scale: _Scale) -> Iterator[tuple[int, float]]:
    """Mean value at each column of dots that has any."""
    column, total, count = -1, 0.0, 0
    for x, y in zip(line.x, line.y, strict=True):
        place = scale.place(x)
        if place != column and count:
            yield column, total / count
            total, count = 0.0, 0
        column, total, count = place, total + y, count + 1
    if count:
        yield column, total / count


def _value_range(lines: Sequence[Line]) -> tuple[float, float]:
    """Lowest value, and highest after each curve's beginning; somewhat apart where they are the same."""
    values: list[float] = []
    for line in lines:
        begun = line.x[0] + BEGINNING * (line.x[-1] - line.x[0])
        values += [y for x, y in zip(line.x, line.y, strict=True) if x >= begun]
    low, high = min(values), max(values)
    room = (high - low) * 0.03 or max(abs(high) * 0.01, 1e-6)
    return low - room, high + room


def _ticks(low: float, high: float, most: int) -> list[float]:
    """At most about `most` round numbers from low to high."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)] or [low]


def _number(value: float, marks: Sequence[float]) -> str:
    """A tick's label, with as many decimals as the ticks need."""
    size = max(map(abs, marks))
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if size >= scale:
            divisor = 1e3 if unit == "k" else scale
            return f"{value / divisor:g}{unit if value else ''}"
    step = min((after - before for before, after in itertools.pairwise(marks)), default=abs(value) / 100 or 1)
    return f"{value:.{max(0, min(6, -math.floor(math.log10(step) + 1e-9)))}f}"


def _bottom(low: float, high: float, name: str, margin: int, width: int) -> list[Text]:
    """The horizontal axis and its labels, its name at the right."""
    scale = _Scale(low=low, high=high, size=width)
    marks = _ticks(low, high, max(2, width // 10))
    axis, labels = ["-"] * width, [" "] * (width + margin + 1)
    room = len(labels) - len(name) - 1
    for mark in marks:
        place, text = scale.place(mark), _number(mark, marks)
        first = min(max(0, margin + 1 + place - len(text) // 2), len(labels) - len(text))
        if first + len(text) < room and not "".join(labels[max(0, first - 1) : first + len(text)]).strip():
            axis[place] = "+"
            labels[first : first + len(text)] = text
    labels[room:] = f" {name}"
    return [Text(" " * margin + "+" + "".join(axis)), Text("".join(labels).rstrip())]


def _legend(lines: Sequence[Line], columns: int, most: int) -> list[Text]:
    """Letter, name and last value of each curve, several in a row where they fit."""
    entries = [f"{line.name} {line.y[-1]:.4g}" if len(line.y) else f"{line.name} -" for line in lines]
    width = min(max(map(cell_len, entries)) + 5, columns)
    in_a_row = max(1, columns // width)
    rows: list[Text] = []
    for first in range(0, len(entries), in_a_row):
        row = Text()
        for number in range(first, min(first + in_a_row, len(entries))):
            row.append(f" {LETTERS[number % len(LETTERS)]} ", f"bold {COLOURS[number % len(COLOURS)]}")
            row.append(set_cell_size(entries[number], width - 3))
        row.rstrip()
        rows.append(row)
    if len(rows) > most > 0:
        rows = [*rows[: most - 1], Text(f" and {len(entries) - (most - 1) * in_a_row:,} more")]
    return rows[: max(0, most)]
