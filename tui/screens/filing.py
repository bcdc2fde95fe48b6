"""Sessions and text files: opening, saving, exporting, leaving. What fails is told, and the text stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from korformer.errors import KorformerError
from korformer.tui.messages import AutosaveSaid
from korformer.tui.opening import changed_notice, open_any, typed_path
from korformer.tui.screens.pick import Ask, Pick
from korformer.tui.tones import tones
from korformer.tui.words import say, told
from korformer.writing import export, store
from korformer.writing.journal import Damaged

if TYPE_CHECKING:
    from korformer.tui.screens.writing import WritingScreen
    from korformer.writing.autosave import AutosaveResult
    from korformer.writing.store import SessionFile

SAVING_SECONDS = 20.0
"""Longest wait at the end for the model's state to be written; the text is saved before."""


class Filing:
    """What the writing screen does with files."""

    def __init__(self, screen: WritingScreen) -> None:
        self._screen = screen
        self._leaving = False
        self._given_up: str | None = None
        self._doubted: str | None = None

    # The session

    def show_session(self) -> None:
        """Show the session of the desk from its beginning to its end, and save it from now on."""
        screen = self._screen
        session = screen.desk.session
        length = session.length
        screen.page.show(session.text, tones(session, 0, length, screen.mode), cursor=session.cursor)
        screen.page.set_readable(0, None)
        name = Path(session.file).name if session.file else ""
        screen.status.tell(characters=length, name=name, unsaved=False, used=0, rate=0.0, entropy=None)
        screen.status.token_seconds.clear()
        screen.panels.clear()
        screen.show_settings()
        screen.show_history()
        screen.desk.engine.set_settings(session.settings)
        screen.desk.file.start_autosave(self._post_autosave)

    def _post_autosave(self, result: AutosaveResult) -> None:
        self._screen.post_message(AutosaveSaid(result))

    def hear_autosave(self, result: AutosaveResult) -> None:
        """Say when the session cannot be saved, and when it can again."""
        screen = self._screen
        if result.error is not None:
            self._tell_unsaved("not saved", result.error)
        elif screen.status.facts.unsaved:
            screen.status.tell(unsaved=False)
            screen.tell(say("saved again"))

    def _tell_unsaved(self, phrase: str, error: KorformerError) -> None:
        self._screen.status.tell(unsaved=True)
        self._screen.tell(say(phrase, error=error), "error")

    def _swap(self, make: Callable[[], SessionFile]) -> None:
        """Go from this session to another one; this one stays where the other cannot be opened."""
        screen = self._screen
        screen.desk.stop()
        try:
            opened = make()
        except KorformerError as error:
            screen.tell(told(error), "error")
            if isinstance(error, Damaged) and error.lines > 1:
                self.offer_recovery(error)
            return
        try:
            self._remember()
            screen.desk.file.close()
        except KorformerError as error:
            opened.abandon()
            screen.desk.file.start_autosave(self._post_autosave)
            self._tell_unsaved("not saved", error)
            return
        screen.desk.leave_to(opened)
        self.show_session()
        title = opened.session.title
        screen.tell(changed_notice(opened) or (say("reopened", title=title) if title else say("new session")))
        screen.read_ahead()
        screen.page.focus()

    def new_session(self) -> None:
        """Begin an empty text with the settings of this one."""
        before = self._screen.desk.session

        def make() -> SessionFile:
            file = store.create_session()
            session = file.session
            session.settings, session.model, session.hashes = before.settings, before.model, before.hashes
            return file

        self._swap(make)

    async def choose_session(self) -> None:
        """Pick another session, or type the path of a text."""
        here = self._screen.desk.file.path
        rows = [
            (str(info.path), info.title or "-", say("in use") if info.in_use else _when(info.modified))
            for info in store.list_sessions()
            if info.path != here
        ]
        dialog = Pick(say("sessions"), rows, empty=say("no sessions"), typed=say("path of a text"))
        await self._screen.app.push_screen(dialog, self._take_session)

    def _take_session(self, chosen: str | None) -> None:
        if chosen:
            self._swap(lambda: open_any(typed_path(chosen)))

    def offer_recovery(self, damage: Damaged) -> None:
        """Ask whether to open what can be read of a damaged session."""
        rows = [(str(damage.where), say("recover"), "")]
        self._screen.app.push_screen(Pick(told(damage), rows), self._recover)

    def _recover(self, chosen: str | None) -> None:
        if chosen:
            self._swap(lambda: store.open_session(Path(chosen), recover=True))

    # Files of one's own

    async def save_text(self) -> None:
        """Write the text to the file that it came from, or ask for one."""
        session = self._screen.desk.session
        if session.file is None:
            dialog = Ask(say("save text as"), _suggestion(session.title, ".txt"), doubt=_exists)
            await self._screen.app.push_screen(dialog, self._write_text)
            return
        found = export.changed_outside(session)
        if found is None or found == self._doubted:
            self._write_text(session.file)
        else:
            self._screen.tell(say("changed meanwhile", path=session.file), "warning")
        self._doubted = found

    def _write_text(self, chosen: str | None) -> None:
        if chosen:
            self._export(export.export_text, chosen)

    async def export_json(self) -> None:
        """Write text and history as JSON."""
        dialog = Ask(say("export json as"), _suggestion(self._screen.desk.session.title, ".json"), doubt=_exists)
        await self._screen.app.push_screen(dialog, self._write_json)

    def _write_json(self, chosen: str | None) -> None:
        if chosen:
            self._export(export.export_json, chosen)

    def _export(self, write: Callable[..., object], chosen: str) -> None:
        try:
            path = typed_path(chosen)
            write(self._screen.desk.session, path)
        except KorformerError as error:
            self._screen.tell(told(error), "error")
        else:
            self._screen.tell(say("written to", path=path))

    # The end

    def _remember(self) -> None:
        self._screen.desk.session.cursor = self._screen.page.cursor

    def leave(self) -> None:
        """Save everything and end the program.

        Asked a second time it does not wait for what the model has read; nor, where the text cannot be saved and is
        what it was the first time, for that.
        """
        screen = self._screen
        screen.desk.stop()
        self._remember()
        try:
            screen.desk.file.save()
        except KorformerError as error:
            if self._given_up == screen.page.text:
                screen.app.exit()
            self._given_up = screen.page.text
            self._tell_unsaved("not saved, leave", error)
            return
        if self._leaving or screen.desk.info is None or not screen.page.text:
            screen.app.exit()
            return
        self._leaving = True
        screen.set_timer(SAVING_SECONDS, self.state_saved)
        screen.desk.engine.save_state(screen.desk.file.state_path)

    def state_saved(self) -> None:
        """What the model has read is on disk, or cannot be."""
        if self._leaving:
            self._screen.app.exit()


def _exists(value: str) -> str | None:
    """A doubt about writing to what is there already; what cannot be written to is told when that is tried."""
    try:
        return say("overwrite", path=value) if typed_path(value).exists() else None
    except KorformerError:
        return None


def _suggestion(title: str, ending: str) -> str:
    name = "".join(letter if letter.isalnum() else "-" for letter in title[:20]).strip("-")
    return (name or "korformer") + ending


def _when(seconds: float) -> str:
    return time.strftime("%m-%d %H:%M", time.localtime(seconds))
