"""The page: a sheet that is typed on. What an edit means is for its owner to decide, who alone puts text on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from textual import events

from korformer.tui.cells import JOINERS
from korformer.tui.widgets.page_keys import PAGE_BINDINGS, word_after, word_before
from korformer.tui.widgets.sheet import Sheet

_MODIFIERS = frozenset({"alt", "ctrl", "meta", "super", "hyper"})
"""Of these a key has none that is typed as text."""


class Owner(Protocol):
    """Who keeps the text that a page shows."""

    def page_edited(self, start: int, end: int, text: str) -> None:
        """A person wants `text` where the characters from `start` to `end` are."""
        ...


class Page(Sheet):
    """A text that a person edits, with keys, mouse and clipboard."""

    BINDINGS = PAGE_BINDINGS

    def __init__(self, owner: Owner, *, placeholder: str = "", id: str | None = None) -> None:
        super().__init__(placeholder=placeholder, id=id)
        self._owner = owner
        self._selecting = False

    def on_key(self, event: events.Key) -> None:
        """Type a character; with Alt, Ctrl or the like it is a command, if anything."""
        character = event.character
        if character is not None and _is_text(character) and _MODIFIERS.isdisjoint(event.key.split("+")[:-1]):
            event.stop()
            self.type(character)
        elif event.key == "enter":
            event.stop()
            self.type("\n")

    def on_paste(self, event: events.Paste) -> None:
        """Put what was pasted where the cursor is."""
        event.stop()
        self.type(event.text)

    def type(self, text: str) -> None:
        """Put `text` in the place of the selection."""
        self._edit(*self.selection, text)

    def _edit(self, start: int, end: int, text: str) -> None:
        if start < end or text:
            self._owner.page_edited(start, end, text)

    # Actions of the keys

    def action_move(self, where: str, select: bool = False) -> None:
        """Move the cursor: left, right, up, down, page_up, page_down, row_start, row_end, word_left, …"""
        low, high = self.selection
        if where in {"left", "right"} and low < high and not select:
            self.move_to(low if where == "left" else high)
        elif where in {"up", "down", "page_up", "page_down"}:
            self._move_rows(where, select=select)
        else:
            self.move_to(self._target(where), select=select)

    def _target(self, where: str) -> int:
        row = self.rows.row_of(self.cursor)
        start, end = self.rows.span(row)
        targets: dict[str, Callable[[], int]] = {
            "left": lambda: self.rows.before(self.cursor),
            "right": lambda: self.rows.after(self.cursor),
            "row_start": lambda: start,
            "row_end": lambda: end if row + 1 == len(self.rows) else self.rows.before(end),
            "word_left": lambda: word_before(self.text, self.cursor),
            "word_right": lambda: word_after(self.text, self.cursor),
            "text_start": lambda: 0,
            "text_end": lambda: len(self.text),
        }
        return targets[where]()

    def _move_rows(self, where: str, *, select: bool) -> None:
        row, cell = self.rows.place(self.cursor)
        if self.wanted_cell is None:
            self.wanted_cell = cell
        page = max(1, self.scrollable_content_region.height - 1)
        target = row + {"up": -1, "down": 1, "page_up": -page, "page_down": page}[where]
        if target < 0:
            offset = 0
        elif target >= len(self.rows):
            offset = len(self.text)
        else:
            offset = self.rows.offset(target, self.wanted_cell)
        self.move_to(offset, select=select, keep_cell=True)

    def action_delete(self, where: str) -> None:
        """Delete the selection, or from the cursor to a place of `action_move`."""
        start, end = self.selection
        if start == end:
            start, end = sorted((self.cursor, self._target(where)))
        self._edit(start, end, "")

    def action_select_all(self) -> None:
        """Select the whole text."""
        self.mark = 0
        self.cursor = len(self.text)
        self.refresh()
        self.post_message(self.CursorMoved())

    def action_copy(self) -> None:
        """Copy the selection to the clipboard."""
        if self.selected_text:
            self.app.copy_to_clipboard(self.selected_text)

    def action_cut(self) -> None:
        """Move the selection to the clipboard."""
        self.action_copy()
        start, end = self.selection
        if start < end:
            self._edit(start, end, "")

    def action_paste(self) -> None:
        """Put in what this program copied last; what other programs copied is pasted by the terminal."""
        if self.app.clipboard:
            self.type(self.app.clipboard)

    # The mouse

    def _under(self, event: events.MouseEvent) -> int:
        place = event.get_content_offset_capture(self)
        return self.rows.offset(place.y + self.scroll_offset.y, place.x)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Put the cursor under the pointer and begin to select."""
        self.move_to(self._under(event), select=event.shift)
        self._selecting = True
        self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Select up to the pointer."""
        if self._selecting:
            self.move_to(self._under(event), select=True)

    def on_mouse_up(self) -> None:
        """The selection is made."""
        if self._selecting:
            self._selecting = False
            self.release_mouse()

    def on_click(self, event: events.Click) -> None:
        """Two clicks select a word, three a paragraph."""
        if event.chain == 2:
            self.mark = word_before(self.text, min(len(self.text), self.cursor + 1))
            self.move_to(word_after(self.text, self.mark), select=True)
        elif event.chain >= 3:
            self.mark = self.text.rfind("\n", 0, self.cursor) + 1
            end = self.text.find("\n", self.cursor)
            self.move_to(len(self.text) if end < 0 else end, select=True)


def _is_text(character: str) -> bool:
    return character.isprintable() or character in JOINERS
