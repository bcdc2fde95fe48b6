"""Sessions, models, exports and the end: what is on disk afterwards, and what is told when it cannot be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from stage import INFO, TEXT, Play, Stage, record
from textual.widgets import Input

from korformer.model.found import find_models
from korformer.tui.launch import model_of
from korformer.tui.screens.filing import Opening, open_any, open_latest
from korformer.tui.screens.pick import Pick
from korformer.writing import messages as said
from korformer.writing import store


async def fill(stage: Stage, text: str) -> None:
    """Type over the line of a dialog and send it."""
    entry = stage.app.screen.query_one(Input)
    entry.value = text
    entry.focus()
    await stage.press("enter")


def test_the_text_is_written_to_a_file_that_is_asked_for(play: Play, tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("ctrl+s")
        assert stage.app.screen.query_one(Input).value == "바다-마을의-아침은-조용했다.txt"
        await fill(stage, str(tmp_path / "글.txt"))
        assert (tmp_path / "글.txt").read_text(encoding="utf-8") == TEXT
        assert "글.txt" in stage.foot

    play(scene, text=TEXT)


def test_a_file_that_is_there_is_replaced_only_when_asked_twice(play: Play, tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("old", encoding="utf-8")

    async def scene(stage: Stage) -> None:
        await stage.press("ctrl+s")
        await fill(stage, str(tmp_path / "there.txt"))
        assert (tmp_path / "there.txt").read_text(encoding="utf-8") == "old"
        assert "exists" in (await stage.dump())
        await stage.press("enter")
        assert (tmp_path / "there.txt").read_text(encoding="utf-8") == TEXT

    play(scene, text=TEXT)


def test_history_is_exported_as_json(play: Play, tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record(" 바다"))
        await stage.ended()
        stage.screen.filing._write_json(str(tmp_path / "all.json"))
        exported = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
        assert exported["text"] == TEXT + " 바다"
        assert [span["origin"] for span in exported["spans"]] == ["written", "generated"]

    play(scene, text=TEXT)


def test_what_cannot_be_written_is_told(play: Play, tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("ctrl+s")
        await fill(stage, str(tmp_path / "no-such-folder" / "a.txt"))
        assert "no-such-folder" in stage.foot
        assert stage.text == TEXT

    play(scene, text=TEXT)


def test_another_session_is_opened_and_this_one_kept(play: Play) -> None:
    other = store.create_session("다른 글")
    other.close()

    async def scene(stage: Stage) -> None:
        here = stage.screen.desk.file.path
        await stage.type("!")
        await stage.press("f11")
        assert isinstance(stage.app.screen, Pick)
        await stage.press("enter")
        assert stage.text == "다른 글"
        assert stage.foot == "Went on with: 다른 글"
        kept = store.open_session(here)
        assert kept.session.text == TEXT + "!"
        kept.close()
        await stage.press("ctrl+n")
        assert stage.text == ""

    play(scene, text=TEXT)


def test_a_session_that_cannot_be_opened_leaves_this_one(play: Play, tmp_path: Path) -> None:
    (tmp_path / "cp949.txt").write_bytes("한글".encode("cp949"))

    async def scene(stage: Stage) -> None:
        for path, words in (("cp949.txt", "not UTF-8"), (str(stage.screen.desk.file.path), "open")):
            await stage.press("f11")
            await fill(stage, str(tmp_path / path))
            assert words in stage.foot
            assert stage.text == TEXT

    play(scene, text=TEXT)


def make_model(folder: Path, size: int = 10) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(bytes(size))
    return folder


def test_models_are_listed_and_opened(play: Play, tmp_path: Path) -> None:
    make_model(tmp_path / "checkpoints" / "mine")

    async def scene(stage: Stage) -> None:
        await stage.press("ctrl+o")
        assert "mine" in (await stage.dump())
        place = [row[1] for row in stage.app.screen._rows].index("mine")  # type: ignore[attr-defined]
        stage.app.screen.query_one("#pick-list").highlighted = place  # type: ignore[attr-defined]
        await stage.press("enter")
        assert stage.engine.named("load")[-1][0] == (Path("checkpoints/mine"),)

    play(scene, text=TEXT)


def test_only_folders_with_weights_are_models(tmp_path: Path) -> None:
    new, old = make_model(tmp_path / "new"), make_model(tmp_path / "old")
    os.utime(old / "model.safetensors", (1, 1))
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(new)
    (tmp_path / "file.txt").write_text("x", encoding="utf-8")
    found = find_models([tmp_path, tmp_path / "nowhere"])
    assert [model.path.name for model in found] in (["link", "old"], ["new", "old"])
    assert model_of(str(new)) == new
    assert model_of(str(tmp_path / "gone")) is None
    assert model_of(None) is None


def test_without_a_model_the_list_of_models_opens(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        stage.app._model = None
        stage.app._begin()
        await stage.pilot.pause()
        assert isinstance(stage.app.screen, Pick)
        await stage.press("escape")
        await stage.type("봄")
        assert stage.text == "봄"

    play(scene, model=False)


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


def test_a_reopened_session_restores_what_the_model_had_read(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        stage.screen.desk.file.state_path.write_bytes(b"")
        await stage.open_model(path=INFO.path / "other")
        assert stage.engine.named("restore_state")[-1][0] == (stage.screen.desk.file.state_path,)
        await stage.say(said.StateRestored(tokens=12))
        assert stage.foot == "The model remembers 12 tokens."

    play(scene, text=TEXT)


def test_a_model_directory_that_is_gone_is_told_and_writing_goes_on(play: Play, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "soon-gone")

    async def scene(stage: Stage) -> None:
        await stage.open_model(path=folder)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        await stage.press("f5")
        assert "The folder of the model is gone" in stage.foot
        await stage.wrote(record(" 바다"))
        assert stage.text == TEXT + " 바다"

    play(scene, text=TEXT)


def test_the_newest_session_that_is_free_is_gone_on_with(tmp_path: Path) -> None:
    first = store.create_session("첫 글")
    first.close()
    second = store.create_session("둘째 글")
    os.utime(first.path / "session.jsonl", (1, 1))
    latest = open_latest()  # the second one is open here
    assert latest.session.text == "첫 글"
    latest.close()
    second.close()
    latest = open_latest()
    assert latest.session.text == "둘째 글"
    latest.close()


def test_a_path_may_be_a_text_or_a_session(tmp_path: Path) -> None:
    session = store.create_session("세션 글")
    session.close()
    for path, text in ((session.path, "세션 글"), (tmp_path / "new.txt", "")):
        opened = open_any(path)
        assert opened.session.text == text
        opened.close()


@pytest.mark.parametrize("key", ["ctrl+s", "ctrl+right_square_bracket", "ctrl+o", "f11", "ctrl+d", "ctrl+k", "f1"])
def test_escape_closes_every_dialog(play: Play, key: str) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press(key)
        assert stage.app.screen is not stage.screen
        await stage.press("escape")
        assert stage.app.screen is stage.screen
        assert stage.screen.focused is stage.screen.page

    play(scene, text=TEXT)


def test_models_are_opened_as_the_command_line_wants(play: Play) -> None:
    opening = Opening(weights="int8", hashes=3, device="cpu")

    async def scene(stage: Stage) -> None:
        stage.screen.filing.open_model(Path("checkpoints/mine"))
        assert stage.engine.named("load")[-1] == (
            (Path("checkpoints/mine"),),
            {"weights": "int8", "hashes": 3, "device": "cpu"},
        )

    play(scene, text=TEXT, opening=opening)
