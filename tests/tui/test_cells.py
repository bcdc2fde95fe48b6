"""Cells of characters, and signs in place of those that must not reach the terminal."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korformer.tui.cells import TAB_CELLS, cell_len, is_joined, shown, widths


@pytest.mark.parametrize(
    ("text", "expected"), [("가", [2]), ("a", [1]), ("\n", [0]), ("\t", [TAB_CELLS]), ("e\u0301", [1, 0])]
)
def test_widths(text: str, expected: list[int]) -> None:
    assert widths(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("❤\ufe0f끝", [2, 0, 2]),
        ("👩\u200d👧\u200d👦", [2, 0, 0, 0, 0]),
        ("👩\u200d❤\ufe0f\u200d👨", [2, 0, 0, 0, 0, 0]),
        ("가\u200d나", [2, 1, 2]),
        ("\u200d\ufe0f", [1, 0]),
        ("a\ufe0f", [1, 0]),
        ("❤\n\ufe0f", [1, 0, 0]),
    ],
)
def test_what_is_drawn_as_one_has_the_cells_of_one(text: str, expected: list[int]) -> None:
    assert widths(text) == expected


PARTS = st.sampled_from(
    ["가", "a", " ", "\t", "❤", "\ufe0f", "\u200d", "👩", "👧", "🏽", "🇰", "1", "\u20e3", "\u0301", "♂", "\u200e", "↔"]
)


@given(st.lists(PARTS, max_size=24).map("".join))
@settings(max_examples=300, deadline=None)
def test_widths_are_those_that_the_screen_is_drawn_with(text: str) -> None:
    assert sum(widths(text)) == cell_len(shown(text))
    borders = [place for place in range(1, len(text)) if not is_joined(text, place)]
    pieces = [text[begin:end] for begin, end in pairwise([0, *borders, len(text)])]
    assert sum(cell_len(shown(piece)) for piece in pieces) == sum(widths(text))


def test_every_syllable_takes_two_cells() -> None:
    assert set(widths("".join(map(chr, range(0xAC00, 0xD7A4))))) == {2}


@pytest.mark.parametrize("text", ["\x1b[31m", "\x07", "\x9b2J", "\u202eabc", "\u2028", "\ud800", "\x00"])
def test_nothing_that_speaks_to_a_terminal_gets_through(text: str) -> None:
    seen = shown(text)
    assert all(ord(sign) >= 0x20 and not 0x7F <= ord(sign) < 0xA0 for sign in seen)
    assert not set(seen) & set("\u202e\u2028\ud800")


def test_widths_are_those_of_what_is_shown() -> None:
    for code in [*range(0x3000), *range(0xFE00, 0x10000), 0x1F44D, sys.maxunicode]:
        sign = chr(code)
        if sign != "\n":
            assert sum(widths(sign)) == cell_len(shown(sign)), hex(code)
