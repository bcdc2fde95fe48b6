"""What the panels have in common: a list that fills the panel, with a line of advice under it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from korformer.tui.cells import cell_len, shown


class PanelList(OptionList):
    """A list in a panel. Whatever it shows is plain text: nothing in it is read as markup."""

    def fill(self, rows: Iterable[Text], *, highlighted: int | None = None) -> None:
        """Show these rows; the highlight stays on its place, or goes where it is told."""
        place = self.highlighted if highlighted is None else highlighted
        self.set_options([Option(row) for row in rows])
        if self.option_count:
            self.highlighted = min(place or 0, self.option_count - 1)


def columns(left: str, right: str, width: int) -> str:
    """Two texts at the ends of a line of so many cells; the left one gives way."""
    room = max(0, width - cell_len(right) - 1)
    left = clip(left, room)
    return left + " " * (width - cell_len(left) - cell_len(right)) + right


def clip(text: str, width: int) -> str:
    """As much of a text, on one line, as fits into so many cells; two full stops where it was cut."""
    text = shown(text)
    if cell_len(text) <= width:
        return text
    kept = ""
    for character in text:
        if cell_len(kept + character) > max(0, width - 2):
            break
        kept += character
    return (kept + "..")[:width] if width > 0 else ""
