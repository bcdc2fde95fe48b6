"""Curves as text."""

from __future__ import annotations

import unicodedata

import pytest
from rich.cells import cell_len

from korformer.commands.chart import Line, draw, sparkline
from korformer.commands.listing import short_count, shortened

FALLING = Line(name="falling", x=range(1, 101), y=[9 - 0.06 * step for step in range(1, 101)])
RISING = Line(name="오르는 것", x=range(1, 51), y=[3 + 0.06 * step for step in range(1, 51)])
EMPTY = Line(name="nothing " * 30, x=[], y=[])
POINT = Line(name="point", x=[7], y=[2.5])


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("lines", [[FALLING], [FALLING, RISING, EMPTY], [POINT], [EMPTY], [FALLING] * 40])
@pytest.mark.parametrize(("columns", "rows"), [(20, 6), (80, 18), (81, 9), (200, 40)])
def test_a_picture_stays_in_its_room(lines: list[Line], columns: int, rows: int, plain: bool) -> None:
    drawn = draw(lines, columns=columns, rows=rows, title="loss", x_name="step", plain=plain)
    assert len(drawn) <= rows
    assert max(cell_len(line.plain) for line in drawn) <= columns


def test_nothing_in_it_is_of_doubtful_width() -> None:
    for plain in (True, False):
        drawn = draw([FALLING, POINT], columns=80, rows=20, title="loss", x_name="step", plain=plain)
        characters = {character for line in drawn for character in line.plain}
        assert {unicodedata.east_asian_width(character) for character in characters} <= {"N", "Na"}
        assert plain == all(map(str.isascii, characters))


def test_a_curve_goes_where_its_values_are() -> None:
    drawn = [line.plain for line in draw([FALLING], columns=60, rows=15, title="loss", x_name="step", plain=True)]
    places = [line.split("|")[-1].split("+")[-1].find("A") for line in drawn[1:-2]]
    places = [place for place in places if place >= 0]
    assert places == sorted(places)
    assert places[0] < 6
    assert drawn[-1].split() == ["20", "40", "60", "80", "step"]
    reaching = draw([FALLING], columns=60, rows=15, title="loss", x_name="step", end=200, plain=True)
    assert max(len(line.plain) for line in reaching[1:-2]) < 35


def test_a_high_beginning_does_not_flatten_the_rest() -> None:
    values = [1000.0, 500.0, *(5 - 0.01 * step for step in range(98))]
    drawn = [
        line.plain
        for line in draw(
            [Line(name="a", x=range(100), y=values)], columns=60, rows=15, title="", x_name="step", plain=True
        )
    ]
    assert sum("A" in line for line in drawn) > 8
    assert not any("1000" in line for line in drawn)


def test_curves_have_colours_and_letters_at_their_ends() -> None:
    drawn = draw([FALLING, RISING], columns=60, rows=15, title="loss", x_name="step", plain=False)
    styles = {span.style for line in drawn for span in line.spans}
    assert {"cyan", "yellow", "bold cyan", "bold yellow"} <= styles
    assert any("A" in line.plain for line in drawn[:-1])


def test_small_curves() -> None:
    assert sparkline([], 8) == ""
    assert sparkline([1.0], 8) == "\u28c0" or len(sparkline([1.0], 8)) == 1
    falling = sparkline([float(value) for value in range(100, 0, -1)], 8)
    assert len(falling) == 8
    assert falling == "".join(sorted(falling, reverse=True))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (9999, "9999"),
        (12345, "12.3k"),
        (999_900, "1M"),
        (1_052_199, "1.05M"),
        (3.2e9, "3.2G"),
        (5e12, "5,000G"),
    ],
)
def test_short_counts(count: float, text: str) -> None:
    assert short_count(count) == text


def test_names_keep_their_beginning_and_their_end() -> None:
    assert shortened("short", 10) == "short"
    assert shortened("experiment-1024-a", 11) == "exper..24-a"
    assert cell_len(shortened("가나다라마바사아자차", 11)) <= 11
