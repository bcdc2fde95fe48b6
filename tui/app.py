"""The application: one session on the screen, one engine, and what holds for all of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events
from textual.app import App, SystemCommand
from textual.command import CommandPalette
from textual.screen import Screen
from textual.scrollbar import ScrollBar, ScrollBarRender
from textual.theme import Theme

from korformer.tui import terminal
from korformer.tui.actions import ACTIONS
from korformer.tui.keys import THEMES, Choices, key_file
from korformer.tui.messages import EngineSaid
from korformer.tui.opening import Opening
from korformer.tui.screens.writing import WritingScreen
from korformer.tui.typing_order import TypingOrder
from korformer.tui.words import say
from korformer.writing.engine import Engine

if TYPE_CHECKING:
    from korformer.writing.journal import Damaged
    from korformer.writing.messages import Message
    from korformer.writing.store import SessionFile

MESSAGES_A_SECOND = 10.0
"""How often the screen shows what the model wrote: eyes see no more, and drawing costs time."""

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

DARK = Theme(
    name=THEMES["dark"],
    dark=True,
    primary="#5B8DB8",
    secondary="#B08D57",
    accent="#7FB7A3",
    warning="#D9A441",
    error="#D9655B",
    success="#7FB77E",
    foreground="#D8D4CC",
    background="#1B1D21",
    surface="#22252A",
    panel="#2B2F36",
)
LIGHT = Theme(
    name=THEMES["light"],
    dark=False,
    primary="#2F6690",
    secondary="#8A6A2F",
    accent="#2A7F62",
    warning="#A56A00",
    error="#B3362B",
    success="#3A7D44",
    foreground="#2A2A28",
    background="#FAF8F3",
    surface="#F0EDE5",
    panel="#E4E0D5",
)


class _PlainBars(ScrollBarRender):
    """Scroll bars of spaces alone: partial blocks are two cells wide in some Korean terminals."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


class WritingApp(App[None]):
    """The writing page.

    Args:
        file: the session to begin with; the application closes the one that is open at its end.
        model: model directory to open once the page is seen, or None.
        choices: keys and colours that a person chose.
        notice: something to say at first.
        damage: of a session that was to be opened: whether to recover it is asked at first.
        engine: writes; one of its own where not given.
        opening: how models are opened.

    Attributes:
        crash: what ended the application though it should not have, or None.
        signal_number: the signal that ended it, or None.
        typing: the keys that wait to be done.
    """

    CSS_PATH = "style.tcss"
    TITLE = "korformer"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"

    def __init__(
        self,
        file: SessionFile,
        *,
        model: Path | None = None,
        choices: Choices | None = None,
        notice: str = "",
        damage: Damaged | None = None,
        engine: Engine | None = None,
        opening: Opening | None = None,
    ) -> None:
        super().__init__()
        terminal.allow_long_sequences()
        self.crash: BaseException | None = None
        self.signal_number: int | None = None
        self._choices = choices or Choices()
        self._model = model
        self._notice = notice
        self._damage = damage
        self._hearing = False
        self.typing = TypingOrder(self, super().on_event)
        self.engine = engine if engine is not None else Engine(self._deliver, messages_a_second=MESSAGES_A_SECOND)
        self.writing = WritingScreen(file, self.engine, opening)
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = self._choices.theme
        self.set_keymap(self._choices.keys)

    def _deliver(self, messages: tuple[Message, ...]) -> None:
        """Called in the engine's thread."""
        if self._hearing:
            self.writing.post_message(EngineSaid(messages))

    async def on_event(self, event: events.Event) -> None:
        """Take keys one after another."""
        if isinstance(event, events.Key) and not event.is_forwarded:
            self.typing.add(event)
        else:
            await super().on_event(event)

    def on_mount(self) -> None:
        """Show the page; open the model once it is seen."""
        self.run_worker(self.typing.run(), name="keys")
        ScrollBar.renderer = _PlainBars
        self._hearing = True
        self._take_signals()
        self.push_screen(self.writing)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        if self._choices.problems:
            problems = "; ".join(self._choices.problems)
            self.writing.tell(say("keys ignored", path=key_file(), problems=problems), "warning")
        elif self._notice:
            self.writing.tell(self._notice)
        if self._model is not None:
            self.writing.choosing.open_model(self._model)
        else:
            self.call_later(self.writing.choosing.choose_model)
        if self._damage is not None:
            self.call_later(self.writing.filing.offer_recovery, self._damage)

    def _take_signals(self) -> None:
        """End in order when a signal asks for it: the terminal as it was, the text on disk."""
        if self.is_headless:
            return
        for number in _SIGNALS:
            with suppress(NotImplementedError, RuntimeError, ValueError):
                asyncio.get_running_loop().add_signal_handler(number, self._end_by, number)

    def _end_by(self, number: int) -> None:
        self.signal_number = number
        self.exit(return_code=128 + number)

    def _fatal_error(self) -> None:
        """End without a traceback on the screen; whoever started the application tells what happened."""
        self.crash = self._exception
        self._close_messages_no_wait()

    async def action_quit(self) -> None:
        """Leave, also out of a dialog: Textual binds Ctrl+Q to this everywhere."""
        self.writing.filing.leave()

    def action_command_palette(self) -> None:
        """Every command of the table, found by its name."""
        if not CommandPalette.is_open(cast("App[object]", self)):
            self.push_screen(CommandPalette(placeholder=say("search")))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The commands of the table, for the palette."""
        for action in ACTIONS:
            yield SystemCommand(action.help, "", partial(self.writing.action_do, action.id))

    def close_up(self) -> None:
        """End the engine, save and let go of the session. Called after `run`, whatever ended it.

        Raises:
            PathError, ResourceError: the session cannot be saved.
        """
        self._hearing = False
        self.engine.close()
        self.writing.desk.file.close()
