"""Rows of cells: Korean is two cells wide, and an edit leaves what a fresh start would give."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korformer.tui.cells import cell_len, shown
from korformer.tui.rows import Rows

LETTERS = st.sampled_from(
    ["가", "나", "다", " ", "마", "a", "b", "\n", "\t", "👍", "e\u0301", "\u200d", "\u3000", "❤\ufe0f"]
)
TEXTS = st.lists(LETTERS, max_size=60).map("".join)


def lines(rows: Rows) -> list[str]:
    return [rows.text[slice(*rows.span(row))] for row in range(len(rows))]


def test_words_stay_whole_and_rows_are_measured_in_cells() -> None:
    rows = Rows("바다 마을의 아침은\n조용했다.", width=11)
    assert lines(rows) == ["바다 ", "마을의 ", "아침은\n", "조용했다."] or lines(rows) == [
        "바다 마을의 ",
        "아침은\n",
        "조용했다.",
    ]
    assert lines(Rows("바다마을", width=4)) == ["바다", "마을"]
    assert lines(Rows("바다마을", width=5)) == ["바다", "마을"]


def test_a_line_feed_at_the_end_begins_a_row() -> None:
    assert lines(Rows("가\n", width=10)) == ["가\n", ""]
    assert lines(Rows("", width=10)) == [""]


@given(
    text=TEXTS, width=st.integers(2, 14), edits=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), TEXTS), max_size=4)
)
@settings(max_examples=150, deadline=None)
def test_an_edit_gives_the_rows_of_a_fresh_start(text: str, width: int, edits: list[tuple[float, float, str]]) -> None:
    rows = Rows(text, width)
    for first, second, inserted in edits:
        start, end = sorted((round(first * len(text)), round(second * len(text))))
        text = text[:start] + inserted + text[end:]
        rows.replace(start, end, inserted)
        assert rows.text == text
        assert rows.starts == Rows(text, width).starts


@given(before=TEXTS, after=TEXTS, width=st.integers(2, 14))
@settings(max_examples=50, deadline=None)
def test_another_text_gives_the_rows_of_a_fresh_start(before: str, after: str, width: int) -> None:
    rows = Rows(before, width)
    rows.set_text(after)
    assert rows.starts == Rows(after, width).starts


@given(text=TEXTS, width=st.integers(5, 14))
@settings(max_examples=100, deadline=None)
def test_no_row_is_wider_than_the_page(text: str, width: int) -> None:
    rows = Rows(text, width)
    assert "".join(lines(rows)) == text
    assert all(cell_len(shown(line.rstrip(" \n"))) <= width for line in lines(rows))


def test_places_and_offsets_agree() -> None:
    rows = Rows("바다 마을의\n아침 a👍b", width=8)
    for offset in range(len(rows.text)):
        row, cell = rows.place(offset)
        assert rows.offset(row, cell) == offset
    assert rows.offset(0, 1) == 0  # the right half of the first syllable
    assert rows.offset(99, 0) == len(rows.text)
    assert rows.offset(0, 99) == rows.span(0)[1] - 1


def test_a_row_of_emoji_is_as_wide_as_it_is_drawn() -> None:
    rows = Rows("❤\ufe0f" * 60 + " 끝", width=80)
    assert [cell_len(shown(line)) for line in lines(rows)] == [80, 43]
    rows = Rows("👩\u200d👧\u200d👦" * 4 + "끝", width=40)
    assert rows.place(20) == (0, 8)
    assert rows.offset(0, 9) == 20
    assert rows.offset(0, 3) == 5


def test_the_cursor_steps_over_what_a_reader_takes_for_one_character() -> None:
    family = "👩\u200d👧"
    rows = Rows(f"가{family}e\u0301나", width=40)
    places = [0]
    while places[-1] < len(rows.text):
        places.append(rows.after(places[-1]))
    assert places == [0, 1, 4, 6, 7]
    back = [len(rows.text)]
    while back[-1] > 0:
        back.append(rows.before(back[-1]))
    assert back == places[::-1]


@pytest.mark.parametrize("unit", ["바다 마을의 아침. ", "바다마을", "조용했다.\n"])
def test_a_large_text_is_edited_a_piece_at_a_time(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typing at the end of a megabyte measures next to nothing of it."""
    rows = Rows(unit * (1_000_000 // len(unit.encode())), width=76)
    measured = []
    from korformer.tui import rows as module

    original = module.widths
    monkeypatch.setattr(module, "widths", lambda text: measured.append(len(text)) or original(text))
    for _ in range(20):
        end = len(rows.text)
        rows.replace(end, end, "가")
    assert sum(measured) < 20 * 500
    place = random.Random(1).randrange(len(rows.text))
    measured.clear()
    if unit != "바다마을":  # without a space or line feed the rows behind never fall where they fell before
        rows.replace(place, place, "가")
        assert sum(measured) < 20_000
