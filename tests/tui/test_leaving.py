"""The end, and a disk that is full then: nothing is lost without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage import TEXT, Play, Stage

from korformer.errors import ResourceError
from korformer.writing import messages as said
from korformer.writing import store


class FullDisk:
    """A session that cannot be saved until there is room again."""

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        file = stage.screen.desk.file
        file.stop_autosave()  # or what it tells might come between
        real, self.room = file.save, False

        def save() -> bool:
            if not self.room:
                raise ResourceError("cannot write it: the disk is full", where="session.jsonl")
            return real()

        monkeypatch.setattr(file, "save", save)


def test_leaving_saves_text_cursor_and_what_the_model_has_read(play: Play) -> None:
    paths: list[Path] = []

    async def scene(stage: Stage) -> None:
        paths.append(stage.screen.desk.file.path)
        await stage.type("끝")
        await stage.press("left", "ctrl+q")
        (state,), _ = stage.engine.named("save_state")[0]
        assert state == stage.screen.desk.file.state_path
        assert stage.app.is_running
        await stage.say(said.StateSaved(path=state, tokens=3))
        assert stage.engine.named("close") == []

    play(scene, text=TEXT)
    again = store.open_session(paths[0])
    assert again.session.text == TEXT + "끝"
    assert again.session.cursor == len(TEXT)
    again.close()


@pytest.mark.parametrize("text", [TEXT, ""])
@pytest.mark.parametrize("model", [True, False])
def test_leaving_with_a_full_disk_is_refused_once(
    play: Play, monkeypatch: pytest.MonkeyPatch, text: str, model: bool
) -> None:
    async def scene(stage: Stage) -> None:
        disk = FullDisk(stage, monkeypatch)
        await stage.type("끝")
        if not text:
            await stage.press("backspace")
        for addition in ("", "!", "?"):  # what was written since is not given up unasked
            await stage.type(addition)
            await stage.press("ctrl+q")
            assert "Not saved: session.jsonl" in stage.foot
            assert "Leave once more" in stage.foot
            assert stage.app.is_running
        await stage.press("ctrl+q")
        assert not stage.app._running or stage.app._exit
        disk.room = True

    play(scene, text=text, model=model)


def test_leaving_once_there_is_room_saves(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[Path] = []

    async def scene(stage: Stage) -> None:
        paths.append(stage.screen.desk.file.path)
        disk = FullDisk(stage, monkeypatch)
        await stage.type("끝")
        await stage.press("ctrl+q")
        disk.room = True
        await stage.press("ctrl+q")
        assert stage.engine.named("save_state")
        assert stage.app.is_running  # until the model's state is saved

    play(scene, text=TEXT)
    again = store.open_session(paths[0])
    assert again.session.text == TEXT + "끝"
    again.close()


def test_after_a_failed_switch_the_text_is_saved_by_itself(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    other = store.create_session("다른 글")
    other.close()

    async def scene(stage: Stage) -> None:
        disk = FullDisk(stage, monkeypatch)
        await stage.type("끝")
        await stage.press("f11", "enter")
        assert stage.text == TEXT + "끝"
        assert "it is tried again" in stage.foot
        assert stage.screen.status.facts.unsaved
        disk.room = True
        await stage.type("!")
        for _ in range(400):
            if not stage.screen.status.facts.unsaved:
                break
            await stage.pilot.pause(0.01)
        journal = (stage.screen.desk.file.path / "session.jsonl").read_text(encoding="utf-8")
        assert '"text": "끝' in journal
        assert stage.foot == "Saved again."

    play(scene, text=TEXT)
