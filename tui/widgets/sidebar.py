"""The panels beside the page, one of them at a time, with their names above."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import ContentSwitcher, Input, OptionList, Static

from korformer.tui.widgets.controls import Controls
from korformer.tui.widgets.others import Others
from korformer.tui.widgets.places import Attention, History
from korformer.tui.words import say

PANELS = ("sampling", "next", "history", "attention")
"""Identifiers of the panels, in their order."""


class PanelNames(Static):
    """The names of the panels; a click chooses one."""

    class Clicked(Message):
        """A name was clicked."""

        def __init__(self, panel: str) -> None:
            super().__init__()
            self.panel = panel

    def show(self, current: str) -> None:
        """Mark the panel that is seen."""
        parts: list[Content] = []
        for panel in PANELS:
            style = "bold reverse" if panel == current else ""
            parts.append(Content.styled(f" {say(panel)} ", f"{style} @click=choose('{panel}')"))
        self.update(Content("").join(parts))

    def action_choose(self, panel: str) -> None:
        """Ask for a panel."""
        self.post_message(self.Clicked(panel))


class Sidebar(Vertical):
    """The panels."""

    class PanelChanged(Message):
        """Another panel is seen."""

    def compose(self) -> ComposeResult:
        """The names, the panels, and one line about the keys of the panel."""
        yield PanelNames(id="panel-names")
        with ContentSwitcher(initial=PANELS[0], id="panels"):
            yield Controls(id="sampling")
            yield Others(id="next")
            yield History(id="history")
            yield Attention(id="attention")
        yield Static("", id="panel-advice", markup=False)

    def on_mount(self) -> None:
        """Show the first panel."""
        self.choose(PANELS[0])

    @property
    def panel(self) -> str:
        """The panel that is seen."""
        return self.query_one(ContentSwitcher).current or PANELS[0]

    def choose(self, panel: str) -> None:
        """Show a panel."""
        self.query_one(ContentSwitcher).current = panel
        self.query_one(PanelNames).show(panel)
        self.query_one("#panel-advice", Static).update(say(f"panel {panel}"))
        self.post_message(self.PanelChanged())

    def on_panel_names_clicked(self, message: PanelNames.Clicked) -> None:
        """A name was clicked."""
        message.stop()
        self.choose(message.panel)
        self.focus_panel()

    def focus_panel(self) -> None:
        """Let the keys go to the panel that is seen."""
        self.query_one(f"#{self.panel}").query(OptionList).first().focus()

    def on_key(self, event: events.Key) -> None:
        """Escape leaves the line of a control before it leaves the panel."""
        if event.key == "escape" and isinstance(self.screen.focused, Input):
            event.stop()
            self.query_one(Controls).close_entry()
