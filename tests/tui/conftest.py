"""Where tests of the screen live: in folders of their own, in English, with an engine on strings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stage import Play, Puppet, Scene, Stage

from korformer.tui import words
from korformer.tui.app import WritingApp
from korformer.writing import store


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sessions, presets and keys of nobody; English."""
    for name in ("STATE", "CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)
    words.choose_language("en")
    yield
    words.choose_language("en")


@pytest.fixture
def play() -> Play:
    """Runs a scene: `play(scene, text=…, size=(80, 24))`."""

    def run(
        scene: Scene, *, text: str = "", size: tuple[int, int] = (80, 24), model: bool = True, **given: Any
    ) -> None:
        async def act() -> None:
            engine = Puppet()
            file = store.create_session(text)
            app = WritingApp(file, model=Path("model"), engine=engine, **given)  # type: ignore[arg-type]
            try:
                async with app.run_test(size=size) as pilot:
                    stage = Stage(app, pilot, engine)
                    await pilot.pause()
                    if model:
                        await stage.open_model()
                    await scene(stage)
            finally:
                app.close_up()

        asyncio.run(act())

    return run
