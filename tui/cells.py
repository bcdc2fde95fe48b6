"""Characters as a terminal shows them: how many cells each takes, and what stands for those that must not get through.

A width is a number of terminal cells, never of characters: a Hangul syllable takes two. Widths are those of Rich, which
draws the screen, so that both always agree: what is joined to one emoji, or made one by a variation selector, has the
cells of that one. Control characters, direction marks, joiners that join no emoji and lone surrogates are shown as
visible signs of one cell, so that no text can speak to the terminal, or be wider there than here.
"""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len, get_character_cell_size

__all__ = ["JOINERS", "TAB_CELLS", "cell_len", "is_joined", "shown", "widths"]

TAB_CELLS = 4
"""Cells of a tab."""

JOINERS = "\u200c\u200d"
"""They join characters, or keep them apart, and are text though nothing is drawn for them."""

_JOINER, _EMOJI_STYLE = "\u200d", "\ufe0f"
_EMOJI = "\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
_STRAY = re.compile(f"(?<![{_EMOJI}{_EMOJI_STYLE}]){_JOINER}|{_JOINER}(?![{_EMOJI}])")
"""Joiners that join no emoji: Rich counts no cells for what follows one, and a terminal draws it."""

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
        elif character not in JOINERS and unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
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
    return (_STRAY.sub(_INERT, text) if _JOINER in text else text).translate(_signs)


def widths(text: str) -> list[int]:
    """Cells of every character of `text`; a line feed takes none. Those of joined characters are with the first."""
    found = list(map(_widths.__getitem__, text))
    if _JOINER in text or _EMOJI_STYLE in text:
        _join(text, found)
    return found


def _join(text: str, cells: list[int]) -> None:
    """Let characters that are drawn as one take the cells of one, as Rich counts them."""
    for stray in _STRAY.finditer(text):
        cells[stray.start()] = 1
    last = -1
    for index, character in enumerate(text):
        if index and text[index - 1] == _JOINER and not cells[index - 1]:
            cells[index] = 0
        elif character == _EMOJI_STYLE:
            cells[last] += last >= 0 and cell_len(text[last] + _EMOJI_STYLE) > cell_len(text[last])
            last = -1
        elif cells[index] or character == "\n":
            last = index


def is_joined(text: str, offset: int) -> bool:
    """Whether the character at `offset` is drawn as one with the one before it."""
    if text[offset - 1] == _JOINER:
        return _STRAY.match(text, offset - 1) is None
    return text[offset] != "\n" and widths(text[max(0, offset - 1) : offset + 2])[min(1, offset)] == 0
