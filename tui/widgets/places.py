"""The panels of places to go to: the history as a tree, and the passages that the model attends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import OptionList, Static

from korformer.tui.widgets.lists import PanelList, clip, columns
from korformer.tui.words import say

if TYPE_CHECKING:
    from korformer.writing.messages import Passage
    from korformer.writing.session import OutlineRow

DEEPEST = 8
"""Branches deeper than this are drawn no farther to the right."""


class History(Vertical):
    """Every version of the text. Indented under it stands what came of it where there is more than one."""

    class Chosen(Message):
        """The text is to be what it was there."""

        def __init__(self, node: int) -> None:
            super().__init__()
            self.node = node

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.outline: Sequence[OutlineRow] = ()

    def compose(self) -> ComposeResult:
        """The list alone."""
        yield PanelList(id="versions")

    def on_resize(self) -> None:
        """Lay the rows out anew."""
        self._fill()

    def show(self, outline: Sequence[OutlineRow]) -> None:
        """Show another history."""
        if outline != self.outline:
            self.outline = outline
            self._fill()

    def _fill(self) -> None:
        rows = self.query_one(PanelList)
        width = max(12, rows.scrollable_content_region.width - 2)
        here = next((place for place, row in enumerate(self.outline) if row.current), None)
        rows.fill((self._row(row, width) for row in self.outline), highlighted=here)

    def _row(self, row: OutlineRow, width: int) -> Text:
        mark = ">" if row.current else "*" if row.on_path else " "
        indent = " " * min(row.depth, DEEPEST)
        count = f"{row.tokens or row.characters:,}"
        text = Text(columns(f"{indent}{mark} {row.excerpt.strip() or say('root')}", count, width), no_wrap=True)
        if row.current:
            text.stylize("bold")
        elif not row.on_path:
            text.stylize("dim")
        return text

    @on(OptionList.OptionSelected, "#versions")
    def choose(self, message: OptionList.OptionSelected) -> None:
        """Go there."""
        message.stop()
        self.post_message(self.Chosen(self.outline[message.option_index].node))


class Attention(Vertical):
    """The earlier passages with the largest attention weight, strongest first."""

    class Chosen(Message):
        """A passage is to be seen."""

        def __init__(self, passage: Passage) -> None:
            super().__init__()
            self.passage = passage

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.passages: Sequence[tuple[Passage, str]] = ()

    def compose(self) -> ComposeResult:
        """Advice and the list."""
        yield Static(say("lens off"), id="lens-title", markup=False)
        yield PanelList(id="passages")

    def on_resize(self) -> None:
        """Lay the rows out anew."""
        self._fill()

    def show(self, passages: Sequence[tuple[Passage, str]], advice: str = "") -> None:
        """Show passages, each with its text, or a line of advice where there are none."""
        title = self.query_one("#lens-title", Static)
        title.update(advice)
        title.display = bool(advice)
        if passages != self.passages:
            self.passages = passages
            self._fill()

    def _fill(self) -> None:
        rows = self.query_one(PanelList)
        width = max(12, rows.scrollable_content_region.width - 2)
        rows.fill(
            Text(f"{passage.weight:6.1%} {clip(text.strip() or '-', width - 7)}", no_wrap=True)
            for passage, text in self.passages
        )

    @on(OptionList.OptionSelected, "#passages")
    def choose(self, message: OptionList.OptionSelected) -> None:
        """Jump there."""
        message.stop()
        self.post_message(self.Chosen(self.passages[message.option_index][0]))
