"""Cells of characters, and signs in place of those that must not reach the terminal."""

from __future__ import annotations

import sys

import pytest

from korformer.tui.cells import TAB_CELLS, cell_len, shown, widths


@pytest.mark.parametrize(
    ("text", "expected"), [("가", [2]), ("a", [1]), ("\n", [0]), ("\t", [TAB_CELLS]), ("e\u0301", [1, 0])]
)
def test_widths(text: str, expected: list[int]) -> None:
    assert widths(text) == expected


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
