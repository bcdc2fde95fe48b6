"""The writing screen: the page, the panels beside it, the two lines at the foot, and every command of the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Static

from korformer.tui.actions import bindings
from korformer.tui.desk import CANDIDATES, Desk, Level
from korformer.tui.messages import AutosaveSaid, EngineSaid
from korformer.tui.opening import Opening
from korformer.tui.screens.choosing import Choosing
from korformer.tui.screens.filing import Filing
from korformer.tui.screens.hearing import Hearing
from korformer.tui.screens.help import HelpScreen
from korformer.tui.screens.panels import Panels
from korformer.tui.tones import MODES, Mode, tones
from korformer.tui.widgets.controls import Controls
from korformer.tui.widgets.others import Others, named
from korformer.tui.widgets.page import Page
from korformer.tui.widgets.places import Attention, History
from korformer.tui.widgets.sidebar import Sidebar
from korformer.tui.widgets.status import Foot, Status
from korformer.tui.words import say, told

if TYPE_CHECKING:
    from korformer.writing.engine import Engine
    from korformer.writing.messages import Inspected
    from korformer.writing.session import Change
    from korformer.writing.store import SessionFile

LEAST_WIDTH, LEAST_HEIGHT = 60, 14
"""Cells below which nothing sensible can be shown."""

PAUSE_SECONDS = 0.7
"""After this long without a key the text is read ahead."""


class WritingScreen(Screen[None]):
    """A session on the screen."""

    BINDINGS: ClassVar[list[BindingType]] = bindings()

    def __init__(self, file: SessionFile, engine: Engine, opening: Opening | None = None) -> None:
        super().__init__()
        self.opening = opening or Opening()
        self.desk = Desk(file, engine, self)
        self.hearing = Hearing(self)
        self.filing = Filing(self)
        self.choosing = Choosing(self)
        self.panels = Panels(self)
        self.mode: Mode = "origin"
        self._pause: Timer | None = None
        self._read_to: int | None = None

    def compose(self) -> ComposeResult:
        """Page, panels, status line and keys; the notice for windows that are too small lies over all."""
        with Horizontal(id="desk"):
            yield Page(self, placeholder=say("placeholder"), id="page")
            yield Sidebar(id="sidebar")
        yield Status(id="status")
        yield Foot(id="foot")
        yield Static("", id="too-small", markup=False)

    def on_mount(self) -> None:
        """Show the session, and be told what other threads do."""
        self.page = self.query_one(Page)
        self.status = self.query_one(Status)
        self.foot = self.query_one(Foot)
        self.sidebar = self.query_one(Sidebar)
        self.desk.engine.set_candidates(CANDIDATES)
        self.filing.show_session()
        self.page.focus()

    def on_resize(self, event: events.Resize) -> None:
        """Fold the panels where there is no room for them."""
        notice = self.query_one("#too-small", Static)
        small = event.size.width < LEAST_WIDTH or event.size.height < LEAST_HEIGHT
        notice.display = small
        if small:
            notice.update(
                say(
                    "too small",
                    width=event.size.width,
                    height=event.size.height,
                    least_width=LEAST_WIDTH,
                    least_height=LEAST_HEIGHT,
                )
            )
        self.panels.fold(event.size.width)

    # What the desk tells

    @property
    def cursor(self) -> int:
        """Where the cursor is in the text."""
        return self.page.cursor

    def apply(self, change: Change, *, cursor: int | None = None, follow: bool = False) -> None:
        """Show a change of the text."""
        seen = self.page.is_seen(self.page.cursor)
        end = change.start + len(change.inserted)
        fresh = tones(self.desk.session, change.start, end, self.mode)
        self.page.change(change.start, change.start + change.removed, change.inserted, fresh, follow=follow)
        self._read_to = None if self._read_to is None else end
        self.page.set_readable(self.page.readable[0], self._read_to)
        if cursor is not None:
            self.page.move_to(cursor)
        elif seen and follow:
            self.page.scroll_to_offset(self.page.cursor, ahead=self.page.ahead)
        if cursor is not None:
            self.status.tell(characters=len(self.page.text))
            self._rest()

    def tell(self, text: str, level: Level = "information") -> None:
        """Say something below the page."""
        self.foot.tell(text, level, seconds=15.0 if level == "error" else 6.0)

    def show_generation(self, begins: int | None) -> None:
        """Text is being written at a place, or no more."""
        ignored = begins is not None and self.desk.info is not None and not self.desk.info.fills_in_the_middle
        self._read_to = begins if ignored and begins != len(self.page.text) else None
        self.page.set_readable(self.page.readable[0], self._read_to)
        self.panels.mark(None)
        self.status.tell(characters=len(self.page.text))

    def show_history(self) -> None:
        """The tree changed."""
        siblings = self.desk.session.siblings()
        several = siblings is not None and siblings.count > 1
        self.status.tell(version=(siblings.index, siblings.count) if several and siblings is not None else None)
        self.panels.show_history()

    def show_inspected(self, inspected: Inspected) -> None:
        """What was asked about a token."""
        self.panels.show_inspected(inspected)

    def show_settings(self) -> None:
        """Show the settings of the session beside the page."""
        desk, controls = self.desk, self.query_one(Controls)
        own = None if desk.info is None else desk.info.own_hashes
        controls.show(desk.settings, hashes=desk.session.hashes, own_hashes=own)
        self.query_one(Others).show_banned(desk.settings.banned_tokens)

    def set_readable_start(self, start: int) -> None:
        """Dim what lies before the model's window."""
        self.page.set_readable(start, self._read_to)

    # What a person does

    def page_edited(self, start: int, end: int, text: str) -> None:
        """The page was typed on."""
        self.desk.edit(start, end, text)

    @on(Page.CursorMoved)
    def look_here(self) -> None:
        """The cursor stands elsewhere."""
        self.panels.look_soon()

    def _rest(self) -> None:
        """A key was pressed: read ahead once there is a pause."""
        if self._pause is not None:
            self._pause.stop()
        self._pause = self.set_timer(PAUSE_SECONDS, self.read_ahead)

    def read_ahead(self) -> None:
        """Let the model read what it has not read."""
        if not self.page.text:
            self.status.tell(used=0)
            self.set_readable_start(0)
        elif self.desk.info is not None and self.desk.generation is None:
            self.desk.engine.prepare(self.desk.session.draft(self.cursor))

    @on(Controls.Changed)
    def take_settings(self, message: Controls.Changed) -> None:
        """A control was changed."""
        self.desk.take_settings(message.settings)
        self.query_one(Others).show_banned(message.settings.banned_tokens)

    @on(Controls.HashesChanged)
    def take_hashes(self, message: Controls.HashesChanged) -> None:
        """Another number of hash rounds."""
        self.desk.take_hashes(message.hashes)

    @on(Controls.Refused)
    def refuse(self, message: Controls.Refused) -> None:
        """A typed value is not legal."""
        self.tell(told(message.error), "error")

    @on(Others.Chosen)
    def take_other(self, message: Others.Chosen) -> None:
        """Go on from another token."""
        self.desk.choose(message.offset, message.candidate)
        if not self.desk.stepping:
            self.page.focus()

    @on(Others.Banned)
    def ban(self, message: Others.Banned) -> None:
        """Never write a token again."""
        banned = self.desk.ban(message.candidate)
        self.show_settings()
        self.tell(say("banned" if banned else "allowed", text=named(message.candidate.text)))

    @on(History.Chosen)
    def go_to_version(self, message: History.Chosen) -> None:
        """Go to a version of the text."""
        self.desk.move_to(message.node)

    @on(Attention.Chosen)
    def go_to_passage(self, message: Attention.Chosen) -> None:
        """See a passage; the cursor stays where it is."""
        self.page.scroll_to_offset(message.passage.peak_start, center=True)

    @on(Sidebar.PanelChanged)
    def fill_panel(self) -> None:
        """Another panel is seen."""
        self.panels.fill()

    def commands(self) -> dict[str, Callable[[], Awaitable[None] | object]]:
        """What the commands of the table do."""
        desk, filing, choosing, panels = self.desk, self.filing, self.choosing, self.panels
        return {
            "generate": desk.generate,
            "generate_end": self.generate_at_end,
            "stop": self.stop,
            "retry": desk.retry,
            "previous_sibling": lambda: desk.move_sibling(-1),
            "next_sibling": lambda: desk.move_sibling(1),
            "step": panels.step,
            "alternatives": panels.show_alternatives,
            "colours": self.change_colours,
            "panel": panels.next_panel,
            "switch": panels.switch,
            "lens": panels.toggle_lens,
            "branch": desk.branch,
            "undo": desk.undo,
            "redo": desk.redo,
            "models": choosing.choose_model,
            "sessions": filing.choose_session,
            "new_session": filing.new_session,
            "save_text": filing.save_text,
            "export_json": filing.export_json,
            "presets": choosing.choose_preset,
            "save_preset": choosing.name_preset,
            "reset_sampling": choosing.reset_sampling,
            "palette": self.app.action_command_palette,
            "theme": self.change_theme,
            "help": self.show_help,
            "leave": filing.leave,
        }

    async def action_do(self, command: str) -> None:
        """Do a command of the table."""
        done = self.commands()[command]()
        if isawaitable(done):
            await done

    def generate_at_end(self) -> None:
        """Write on at the end of the text."""
        self.page.move_to(len(self.page.text))
        self.desk.generate()

    def stop(self) -> None:
        """Stop writing; where nothing is written, go back to the page."""
        if not self.desk.stop():
            self.desk.engine.stop()
            self.page.focus()

    def change_colours(self) -> None:
        """Colour by the next rule."""
        self.mode = MODES[(MODES.index(self.mode) + 1) % len(MODES)]
        self.page.set_tones(tones(self.desk.session, 0, len(self.page.text), self.mode))
        self.tell(say(f"colours {self.mode}"))

    def change_theme(self) -> None:
        """Light or dark."""
        self.app.theme = "korformer-light" if self.app.current_theme.dark else "korformer-dark"

    async def show_help(self) -> None:
        """Every key."""
        await self.app.push_screen(HelpScreen(active.binding for active in self.active_bindings.values()))

    def on_engine_said(self, message: EngineSaid) -> None:
        """The engine has news."""
        for said in message.said:
            self.hearing.hear(said)

    def on_autosave_said(self, message: AutosaveSaid) -> None:
        """The session was saved, or could not be."""
        self.filing.hear_autosave(message.result)
