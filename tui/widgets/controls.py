"""The panel of the sampling controls: a list whose rows are stepped by arrows or typed over."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, OptionList

from korformer.errors import UsageError
from korformer.generation.settings import SamplingSettings
from korformer.tui.fields import FIELDS, Field, field_names, read, show, spell, stepped
from korformer.tui.widgets.lists import PanelList, columns

_FIGURES = frozenset("0123456789.")


class ControlList(PanelList):
    """The rows. A figure typed on a row begins a new value for it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,minus", "step(-1)", show=False, id="control.down"),
        Binding("right,plus", "step(1)", show=False, id="control.up"),
        Binding("shift+left", "step(-10)", show=False, id="control.far_down"),
        Binding("shift+right", "step(10)", show=False, id="control.far_up"),
        Binding("backspace", "type('')", show=False, id="control.clear"),
    ]

    def action_step(self, steps: int) -> None:
        """Go so many steps up."""
        self.query_ancestor(Controls).take_step(steps)

    def action_type(self, begun: str) -> None:
        """Begin a new value."""
        self.query_ancestor(Controls).open_entry(begun)

    def on_key(self, event: events.Key) -> None:
        """Begin a new value with the figure that was typed; what is typed next goes to the line at once."""
        if event.character is not None and event.character in _FIGURES:
            event.stop()
            self.action_type(event.character)


class Controls(Vertical):
    """Every control, in the order of the filters. A change is told at once."""

    class Changed(Message):
        """The settings are others now."""

        def __init__(self, settings: SamplingSettings) -> None:
            super().__init__()
            self.settings = settings

    class HashesChanged(Message):
        """Another number of hash rounds is wanted; None is the model's own."""

        def __init__(self, hashes: int | None) -> None:
            super().__init__()
            self.hashes = hashes

    class Refused(Message):
        """What was typed is no legal value."""

        def __init__(self, error: UsageError) -> None:
            super().__init__()
            self.error = error

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        names = field_names()
        self.fields = [field for field in FIELDS if field.name in names]
        self.settings = SamplingSettings()
        self.hashes: int | None = None
        self.own_hashes: int | None = None

    def compose(self) -> ComposeResult:
        """The rows, and a line to type in."""
        yield ControlList(id="control-list")
        entry = Input(id="control-entry", compact=True, select_on_focus=False)
        entry.display = False
        yield entry

    def on_mount(self) -> None:
        """Show what there is."""
        self.refresh_rows()

    def on_resize(self) -> None:
        """Lay the columns out anew."""
        self.refresh_rows()

    def show(self, settings: SamplingSettings, *, hashes: int | None, own_hashes: int | None) -> None:
        """Show other settings."""
        self.settings, self.hashes, self.own_hashes = settings, hashes, own_hashes
        self.refresh_rows()

    def refresh_rows(self) -> None:
        """Write every row anew."""
        rows = self.query_one(ControlList)
        width = max(12, rows.scrollable_content_region.width - 2)
        texts = []
        for field in self.fields:
            value = self.value(field)
            shown = f"{value}" if field.name == "hashes" and value is not None else show(field, value)
            text = Text(columns(field.label, shown, width), no_wrap=True)
            if field.name != "hashes" and value == field.off and field.off_word == "off" and field.off is not None:
                text.stylize("dim")
            texts.append(text)
        rows.fill(texts)

    def value(self, field: Field) -> Any:
        """The value of a control now."""
        return (self.hashes or self.own_hashes) if field.name == "hashes" else getattr(self.settings, field.name)

    @property
    def field(self) -> Field:
        """The control that is highlighted."""
        return self.fields[self.query_one(ControlList).highlighted or 0]

    def take_step(self, steps: int) -> None:
        """Step the highlighted control."""
        up = 1 if steps > 0 else -1
        if self.field.name == "hashes":
            if self.own_hashes is not None:
                self._rehash(max(1, (self.hashes or self.own_hashes) + up))
            return
        settings = self.settings
        for _ in range(abs(steps)):
            settings = stepped(self.field, settings, up)
        self._take(settings)

    @on(OptionList.OptionSelected, "#control-list")
    def edit(self, message: OptionList.OptionSelected) -> None:
        """Enter or a click: type over the value."""
        message.stop()
        self.open_entry(spell(self.value(self.field)))

    def open_entry(self, text: str) -> None:
        """Open the line to type in."""
        entry = self.query_one("#control-entry", Input)
        entry.display = True
        entry.value = text
        entry.placeholder = self.field.label
        self.screen.set_focus(entry)
        entry.cursor_position = len(text)

    @on(Input.Submitted, "#control-entry")
    def take_typed(self, message: Input.Submitted) -> None:
        """Take the typed value, or say what is wrong with it and leave it there."""
        message.stop()
        try:
            if self.field.name == "hashes":
                self._take_hashes(message.value.strip())
            else:
                self._take(read(self.field, message.value, self.settings))
        except UsageError as error:
            self.post_message(self.Refused(error))
            return
        self.close_entry()

    def _take_hashes(self, text: str) -> None:
        if text and (not text.isdigit() or int(text) < 1):
            raise UsageError(f"{text!r} is not a number of at least 1", where=self.field.label)
        self._rehash(int(text) if text else None)

    def close_entry(self) -> bool:
        """Close the line to type in; False where it was not open."""
        entry = self.query_one("#control-entry", Input)
        was_open = bool(entry.display)
        entry.display = False
        if was_open:
            self.screen.set_focus(self.query_one(ControlList))
        return was_open

    def _take(self, settings: SamplingSettings) -> None:
        if settings != self.settings:
            self.settings = settings
            self.refresh_rows()
            self.post_message(self.Changed(settings))

    def _rehash(self, hashes: int | None) -> None:
        if hashes != self.hashes:
            self.hashes = hashes
            self.refresh_rows()
            self.post_message(self.HashesChanged(hashes))
