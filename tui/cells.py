"""Characters as a terminal shows them: how many cells each takes, and what stands for those that must not get through.

A width is a number of terminal cells, never of characters: a Hangul syllable takes two. Widths are those of Rich, which
draws the screen, so that both always agree. Control characters, direction marks and lone surrogates are shown as
visible signs of one cell, so that no text can speak to the terminal.
"""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len, get_character_cell_size

__all__ = ["TAB_CELLS", "cell_len", "shown", "widths"]

TAB_CELLS = 4
"""Cells of a tab."""

_JOINERS = "\u200c\u200d"
_INERT = "\u2426"
"""SYMBOL FOR SUBSTITUTE FORM TWO: one cell in every terminal, unlike U+FFFD, whose width is ambiguous."""


class _Signs(dict[int, str]):
    """What is drawn for each character, filled in as they are met; for `str.translate`."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character == "\t":
            sign = " " * TAB_CELLS
        elif character == "\n":
            sign = " "
        elif code < 0x20:
            sign = chr(0x2400 + code)
        elif character not in _JOINERS and unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            sign = _INERT
        else:
            sign = character
        self[code] = sign
        return sign


class _Widths(dict[str, int]):
    """Cells of each character, filled in as they are met."""

    def __missing__(self, character: str) -> int:
        sign = _signs[ord(character)]
        cells = 0 if character == "\n" else len(sign) if len(sign) > 1 else get_character_cell_size(sign)
        self[character] = cells
        return cells


_signs = _Signs()
_widths = _Widths()


def shown(text: str) -> str:
    """`text` as it may be drawn: tabs as spaces, a line feed as one space, control characters as signs."""
    return text.translate(_signs)


def widths(text: str) -> list[int]:
    """Cells of every character of `text`; a line feed takes none."""
    return list(map(_widths.__getitem__, text))
