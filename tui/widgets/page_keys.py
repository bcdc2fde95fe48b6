"""The keys of the page, and where words begin and end.

Letters alone are text; shortcuts have Ctrl or are named keys, which reach a program whatever an input method composes.
"""

from __future__ import annotations

from textual.binding import Binding, BindingType

_MOVES = (
    ("left", "left"),
    ("right", "right"),
    ("up", "up"),
    ("down", "down"),
    ("pageup", "page_up"),
    ("pagedown", "page_down"),
    ("home", "row_start"),
    ("end", "row_end"),
    ("ctrl+left", "word_left"),
    ("ctrl+right", "word_right"),
    ("ctrl+home", "text_start"),
    ("ctrl+end", "text_end"),
)


def _with_shift(key: str) -> str:
    return key.replace("ctrl+", "ctrl+shift+") if key.startswith("ctrl+") else f"shift+{key}"


PAGE_BINDINGS: list[BindingType] = [
    *(Binding(key, f"move('{place}')", show=False, id=f"page.{place}") for key, place in _MOVES),
    *(
        Binding(_with_shift(key), f"move('{place}', True)", show=False, id=f"page.select_{place}")
        for key, place in _MOVES
    ),
    Binding("backspace", "delete('left')", show=False, id="page.delete_left"),
    Binding("delete", "delete('right')", show=False, id="page.delete_right"),
    Binding("ctrl+w,ctrl+backspace,alt+backspace", "delete('word_left')", show=False, id="page.delete_word_left"),
    Binding("ctrl+delete,alt+delete", "delete('word_right')", show=False, id="page.delete_word_right"),
    Binding("ctrl+a", "select_all", show=False, id="page.select_all"),
    Binding("ctrl+c", "copy", show=False, id="page.copy"),
    Binding("ctrl+x", "cut", show=False, id="page.cut"),
    Binding("ctrl+v", "paste", show=False, id="page.paste"),
]


def word_before(text: str, offset: int) -> int:
    """Offset of the beginning of the word before `offset`; what is no letter is skipped."""
    while offset > 0 and not text[offset - 1].isalnum():
        offset -= 1
    while offset > 0 and text[offset - 1].isalnum():
        offset -= 1
    return offset


def word_after(text: str, offset: int) -> int:
    """Offset of the end of the word at or after `offset`; what is no letter is skipped."""
    while offset < len(text) and not text[offset].isalnum():
        offset += 1
    while offset < len(text) and text[offset].isalnum():
        offset += 1
    return offset
