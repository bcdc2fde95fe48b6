"""Models and presets: picked from a list, typed, saved. What fails is told, and the text stays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from korformer.errors import KorformerError
from korformer.generation.settings import SamplingSettings
from korformer.model.found import find_models, usual_places
from korformer.tui.opening import typed_path
from korformer.tui.screens.pick import Ask, Pick
from korformer.tui.words import say, told
from korformer.writing import presets

if TYPE_CHECKING:
    from korformer.tui.screens.writing import WritingScreen


class Choosing:
    """What the writing screen writes with."""

    def __init__(self, screen: WritingScreen) -> None:
        self._screen = screen

    # The model

    def open_model(self, path: Path) -> None:
        """Load a model; the text can be written on meanwhile."""
        desk, opening = self._screen.desk, self._screen.opening
        desk.stop()
        desk.engine.load(path, weights=opening.weights, hashes=desk.session.hashes, device=opening.device)

    async def choose_model(self) -> None:
        """Pick a model directory, or type its path."""
        models = find_models(usual_places())
        rows = [(str(model.path), str(model.path.name), f"{model.weights_bytes / 1e6:,.0f} MB") for model in models]
        dialog = Pick(say("models"), rows, empty=say("no models"), typed=say("path of a model"))
        await self._screen.app.push_screen(dialog, self._take_model)

    def _take_model(self, chosen: str | None) -> None:
        if chosen:
            try:
                path = typed_path(chosen)
            except KorformerError as error:
                self._screen.tell(told(error), "error")
            else:
                self.open_model(path)

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
        self._screen.show_settings()
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
        self._screen.show_settings()
