"""Opening, saving and leaving: sessions, models, presets, exports. What fails is told, and the text stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from korformer.errors import KorformerError
from korformer.generation.settings import SamplingSettings
from korformer.model.found import find_models, usual_places
from korformer.tui.messages import AutosaveSaid
from korformer.tui.screens.pick import Ask, Pick
from korformer.tui.tones import tones
from korformer.tui.widgets.controls import Controls
from korformer.tui.words import say, told
from korformer.writing import export, presets, store

if TYPE_CHECKING:
    from korformer.model.decode import Precision
    from korformer.tui.screens.writing import WritingScreen
    from korformer.writing.autosave import AutosaveResult
    from korformer.writing.store import SessionFile

SAVING_SECONDS = 20.0
"""Longest wait at the end for the model's state to be written; the text is saved before."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How models are opened.

    Attributes:
        weights: precision of the matrices in single steps.
        hashes: rounds of hashing instead of a model's own, or None.
        device: where to put them: auto, cpu or cuda.
    """

    weights: Precision = "fp32"
    hashes: int | None = None
    device: str = "auto"


class Filing:
    """What the writing screen does with files."""

    def __init__(self, screen: WritingScreen) -> None:
        self._screen = screen
        self._leaving = False

    # The session

    def show_session(self) -> None:
        """Show the session of the desk from its beginning to its end, and save it from now on."""
        screen = self._screen
        session = screen.desk.session
        length = session.length
        screen.page.show(session.text, tones(session, 0, length, screen.mode), cursor=session.cursor)
        screen.page.set_readable(0, None)
        name = Path(session.file).name if session.file else ""
        screen.status.tell(characters=length, name=name, unsaved=False)
        screen.status.token_seconds.clear()
        self.show_controls()
        screen.show_history()
        screen.desk.engine.set_settings(session.settings)
        screen.desk.file.start_autosave(self._post_autosave)

    def show_controls(self) -> None:
        """Show the settings of the session beside the page."""
        controls = self._screen.query_one(Controls)
        controls.show(self._screen.desk.settings, hashes=controls.hashes, own_hashes=controls.own_hashes)

    def _post_autosave(self, result: AutosaveResult) -> None:
        self._screen.post_message(AutosaveSaid(result))

    def hear_autosave(self, result: AutosaveResult) -> None:
        """Say when the session cannot be saved, and when it can again."""
        screen = self._screen
        if result.error is not None:
            screen.status.tell(unsaved=True)
            screen.tell(say("not saved", error=result.error), "error")
        elif screen.status.facts.unsaved:
            screen.status.tell(unsaved=False)
            screen.tell(say("saved again"))

    def _swap(self, make: Callable[[], SessionFile]) -> None:
        """Go from this session to another one; this one stays where the other cannot be opened."""
        screen = self._screen
        screen.desk.stop()
        try:
            opened = make()
        except KorformerError as error:
            screen.tell(told(error), "error")
            return
        try:
            self._remember()
            screen.desk.file.close()
        except KorformerError as error:
            opened.abandon()
            screen.tell(say("not saved", error=error), "error")
            return
        screen.desk.file = opened
        self.show_session()
        title = opened.session.title
        screen.tell(say("reopened", title=title) if title else say("new session"))
        screen.read_ahead()
        screen.page.focus()

    def new_session(self) -> None:
        """Begin an empty text with the settings of this one."""
        settings, model = self._screen.desk.settings, self._screen.desk.session.model

        def make() -> SessionFile:
            file = store.create_session()
            file.session.settings, file.session.model = settings, model
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
            self._swap(lambda: open_any(Path(chosen).expanduser()))

    async def save_text(self) -> None:
        """Write the text to the file that it came from, or ask for one."""
        file = self._screen.desk.session.file
        if file is not None:
            self._write_text(file)
        else:
            dialog = Ask(say("save text as"), _suggestion(self._screen.desk.session.title, ".txt"), doubt=_exists)
            await self._screen.app.push_screen(dialog, self._write_text)

    def _write_text(self, chosen: str | None) -> None:
        if chosen:
            self._export(export.export_text, Path(chosen).expanduser())

    async def export_json(self) -> None:
        """Write text and history as JSON."""
        dialog = Ask(say("export json as"), _suggestion(self._screen.desk.session.title, ".json"), doubt=_exists)
        await self._screen.app.push_screen(dialog, self._write_json)

    def _write_json(self, chosen: str | None) -> None:
        if chosen:
            self._export(export.export_json, Path(chosen).expanduser())

    def _export(self, write: Callable[..., object], path: Path) -> None:
        try:
            write(self._screen.desk.session, path)
        except KorformerError as error:
            self._screen.tell(told(error), "error")
        else:
            self._screen.tell(say("written to", path=path))

    # The model

    def open_model(self, path: Path) -> None:
        """Load a model; the text can be written on meanwhile."""
        screen = self._screen
        screen.desk.stop()
        opening = screen.opening
        screen.desk.engine.load(path, weights=opening.weights, hashes=opening.hashes, device=opening.device)

    async def choose_model(self) -> None:
        """Pick a model directory, or type its path."""
        models = find_models(usual_places())
        rows = [(str(model.path), str(model.path.name), f"{model.weights_bytes / 1e6:,.0f} MB") for model in models]
        dialog = Pick(say("models"), rows, empty=say("no models"), typed=say("path of a model"))
        await self._screen.app.push_screen(dialog, self._take_model)

    def _take_model(self, chosen: str | None) -> None:
        if chosen:
            self.open_model(Path(chosen).expanduser())

    # Presets

    async def choose_preset(self) -> None:
        """Pick a preset of the controls."""
        rows = [(name, name, "") for name in presets.list_presets()]
        dialog = Pick(f"{say('presets')}  ({say('delete hint')})", rows, remove=self._remove_preset)
        await self._screen.app.push_screen(dialog, self._load_preset)

    def _load_preset(self, name: str | None) -> None:
        if name is None:
            return
        try:
            settings = presets.load_preset(name)
        except KorformerError as error:
            self._screen.tell(told(error), "error")
            return
        self._screen.desk.take_settings(settings)
        self.show_controls()
        self._screen.tell(say("preset loaded", name=name))

    def _remove_preset(self, name: str) -> bool:
        try:
            presets.delete_preset(name)
        except KorformerError as error:
            self._screen.tell(told(error), "error")
            return False
        return True

    async def name_preset(self) -> None:
        """Save the controls under a name."""
        await self._screen.app.push_screen(Ask(say("preset name")), self._save_preset)

    def _save_preset(self, name: str | None) -> None:
        if not name:
            return
        try:
            presets.save_preset(name, self._screen.desk.settings)
        except KorformerError as error:
            self._screen.tell(told(error), "error")
        else:
            self._screen.tell(say("preset saved", name=name))

    def reset_sampling(self) -> None:
        """Give every control its first value."""
        self._screen.desk.take_settings(SamplingSettings())
        self.show_controls()

    # The end

    def _remember(self) -> None:
        self._screen.desk.session.cursor = self._screen.page.cursor

    def leave(self) -> None:
        """Save everything and end the program; asked a second time, without what the model has read."""
        screen = self._screen
        screen.desk.stop()
        self._remember()
        if self._leaving or screen.desk.info is None or not screen.page.text:
            screen.app.exit()
            return
        self._leaving = True
        try:
            screen.desk.file.save()
        except KorformerError as error:
            screen.tell(say("not saved", error=error), "error")
            return
        screen.set_timer(SAVING_SECONDS, self.state_saved)
        screen.desk.engine.save_state(screen.desk.file.state_path)

    def state_saved(self) -> None:
        """What the model has read is on disk, or cannot be."""
        if self._leaving:
            self._screen.app.exit()


def open_any(path: Path) -> SessionFile:
    """The session at a path: one that is there, or that of a text file."""
    return store.open_session(path) if store.is_session(path) else store.open_text_file(path)


def open_latest() -> SessionFile:
    """The session that was changed last and is not open elsewhere; a new one where there is none."""
    for info in store.list_sessions():
        if not info.in_use:
            try:
                return store.open_session(info.path)
            except KorformerError:
                continue
    return store.create_session()


def _exists(value: str) -> str | None:
    return say("overwrite", path=value) if Path(value).expanduser().exists() else None


def _suggestion(title: str, ending: str) -> str:
    name = "".join(letter if letter.isalnum() else "-" for letter in title[:20]).strip("-")
    return (name or "korformer") + ending


def _when(seconds: float) -> str:
    return time.strftime("%m-%d %H:%M", time.localtime(seconds))
