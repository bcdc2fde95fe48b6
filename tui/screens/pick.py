"""Dialogs: a list to pick from with a line to type in, and a line to type in alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from korformer.tui.widgets.lists import PanelList, columns

Row = tuple[str, str, str]
"""What is picked, what is shown at the left, what at the right."""


class Pick(ModalScreen[str | None]):
    """A list; the result is what was picked or typed, or None.

    Args:
        title: what it is a list of.
        rows: the list.
        empty: what to say where there are none.
        typed: what may be typed instead; empty where nothing may.
        remove: takes a row that is to go; says whether it went.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", show=False, id="dialog.close"),
        Binding("delete", "remove", show=False, id="dialog.remove"),
    ]

    def __init__(
        self,
        title: str,
        rows: Sequence[Row],
        *,
        empty: str = "",
        typed: str = "",
        remove: Callable[[str], bool] | None = None,
    ) -> None:
        super().__init__()
        self._heading = title
        self._rows = list(rows)
        self._empty = empty
        self._typed = typed
        self._remove = remove

    def compose(self) -> ComposeResult:
        """Title, list, line."""
        with Vertical(classes="dialog"):
            yield Static(self._heading, classes="dialog-title", markup=False)
            if self._rows:
                yield PanelList(id="pick-list")
            else:
                yield Static(self._empty, classes="dialog-advice", markup=False)
            if self._typed:
                yield Input(placeholder=self._typed, compact=True, id="pick-entry")

    def on_mount(self) -> None:
        """Fill the list."""
        self._fill()
        (self.query_one("#pick-list") if self._rows else self.query_one("#pick-entry")).focus()

    def on_resize(self) -> None:
        """Lay the rows out anew."""
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        for rows in self.query(PanelList):
            width = max(20, rows.scrollable_content_region.width - 2)
            rows.fill(Text(columns(left, right, width), no_wrap=True) for _, left, right in self._rows)

    @on(OptionList.OptionSelected)
    def picked(self, message: OptionList.OptionSelected) -> None:
        """Take a row."""
        message.stop()
        self.dismiss(self._rows[message.option_index][0])

    @on(Input.Submitted)
    def typed(self, message: Input.Submitted) -> None:
        """Take what was typed."""
        message.stop()
        if message.value.strip():
            self.dismiss(message.value.strip())

    def action_remove(self) -> None:
        """Remove the highlighted row, where that is possible."""
        for rows in self.query(PanelList):
            place = rows.highlighted
            if self._remove is not None and place is not None and self._remove(self._rows[place][0]):
                del self._rows[place]
                self._fill()

    def action_close(self) -> None:
        """Pick nothing."""
        self.dismiss(None)


class Ask(ModalScreen[str | None]):
    """A line to type in; the result is what was typed, or None.

    Args:
        title: what is asked.
        value: what stands there at first.
        doubt: says why an answer should be given twice; None where there is no doubt.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", show=False, id="dialog.close")]

    def __init__(self, title: str, value: str = "", *, doubt: Callable[[str], str | None] | None = None) -> None:
        super().__init__()
        self._heading = title
        self._value = value
        self._doubt = doubt
        self._doubted: str | None = None

    def compose(self) -> ComposeResult:
        """Title, line, doubts."""
        with Vertical(classes="dialog -small"):
            yield Static(self._heading, classes="dialog-title", markup=False)
            yield Input(self._value, compact=True, id="ask-entry")
            yield Static("", id="ask-doubt", markup=False)

    @on(Input.Submitted)
    def answer(self, message: Input.Submitted) -> None:
        """Take the answer, where there is doubt the second time."""
        message.stop()
        value = message.value.strip()
        if not value:
            return
        doubt = self._doubt(value) if self._doubt is not None and value != self._doubted else None
        if doubt is None:
            self.dismiss(value)
        else:
            self._doubted = value
            self.query_one("#ask-doubt", Static).update(doubt)

    def action_close(self) -> None:
        """Answer nothing."""
        self.dismiss(None)
