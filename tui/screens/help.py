"""The help screen: every command with the key that it has now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from korformer.tui.actions import ACTIONS
from korformer.tui.cells import cell_len
from korformer.tui.keys import key_file
from korformer.tui.words import say

KEY_CELLS = 18


class HelpScreen(ModalScreen[None]):
    """A list of keys.

    Args:
        active: the keys of the screen below.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,enter", "close", show=False, id="dialog.close_help")]

    def __init__(self, active: Iterable[Binding]) -> None:
        super().__init__()
        self._active = list(active)

    def compose(self) -> ComposeResult:
        """The list, and where to change it."""
        with Vertical(classes="dialog"):
            yield Static(say("help title"), classes="dialog-title", markup=False)
            with VerticalScroll():
                yield Static(self._lines(), id="help-lines")
            yield Static(say("help foot", path=key_file()), classes="dialog-advice", markup=False)

    def on_mount(self) -> None:
        """Let the arrows scroll."""
        self.query_one(VerticalScroll).focus()

    def _lines(self) -> Text:
        keys: dict[str | None, list[str]] = {}
        for binding in self._active:
            keys.setdefault(binding.id, []).append(self.app.get_key_display(binding))
        text = Text(no_wrap=False)
        for action in ACTIONS:
            shown = " ".join(keys.get(action.id, ["-"]))
            text.append(shown + " " * max(1, KEY_CELLS - cell_len(shown)), "bold")
            text.append(action.help + "\n")
        return text

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(None)
