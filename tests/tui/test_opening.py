"""What is opened at first, picked or typed: sessions, also damaged ones, and models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from stage import INFO, TEXT, Play, Stage, record

from korformer.errors import InputError
from korformer.model.found import find_models
from korformer.tui.launch import notice_of
from korformer.tui.opening import Opened, Opening, model_of, open_any, open_first, open_latest
from korformer.tui.screens.pick import Pick
from korformer.writing import messages as said
from korformer.writing import store


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


def test_models_are_opened_as_the_command_line_wants(play: Play) -> None:
    opening = Opening(weights="int8", device="cpu")

    async def scene(stage: Stage) -> None:
        stage.screen.desk.session.hashes = 3
        stage.screen.choosing.open_model(Path("checkpoints/mine"))
        assert stage.engine.named("load")[-1] == (
            (Path("checkpoints/mine"),),
            {"weights": "int8", "hashes": 3, "device": "cpu"},
        )

    play(scene, text=TEXT, opening=opening)


def test_a_model_is_remembered_by_its_whole_path(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "checkpoints" / "mine")

    async def scene(stage: Stage) -> None:
        await stage.open_model(path=Path("checkpoints/mine"), name="mine")
        assert stage.screen.desk.session.model == str(folder)
        assert model_of(stage.screen.desk.session.model) == folder
        opened = Opened(file=stage.screen.desk.file)
        assert notice_of(opened, asked=True, model=folder) == ""
        stage.screen.desk.session.model = str(tmp_path / "gone")
        assert "The model of this text is gone" in notice_of(opened, asked=True, model=folder)
        assert notice_of(opened, asked=True, model=None) == ""

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


def test_a_reopened_session_restores_what_the_model_had_read(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        stage.screen.desk.file.state_path.write_bytes(b"")
        await stage.open_model(path=INFO.path / "other")
        assert stage.engine.named("restore_state")[-1][0] == (stage.screen.desk.file.state_path,)
        await stage.say(said.StateRestored(tokens=12))
        assert stage.foot == "The model remembers 12 tokens."

    play(scene, text=TEXT)


def test_a_model_that_remembers_nothing_does_not_say_so(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        before = stage.foot
        await stage.say(said.StateRestored(tokens=0))
        assert stage.foot == before

    play(scene, text=TEXT)


def test_the_newest_session_that_is_free_is_gone_on_with(tmp_path: Path) -> None:
    first = store.create_session("첫 글")
    first.close()
    second = store.create_session("둘째 글")
    os.utime(first.path / "session.jsonl", (1, 1))
    latest = open_latest().file  # the second one is open here
    assert latest.session.text == "첫 글"
    latest.close()
    second.close()
    latest = open_latest().file
    assert latest.session.text == "둘째 글"
    latest.close()


def test_a_path_may_be_a_text_or_a_session(tmp_path: Path) -> None:
    session = store.create_session("세션 글")
    session.close()
    for path, text in ((session.path, "세션 글"), (tmp_path / "new.txt", "")):
        opened = open_any(path)
        assert opened.session.text == text
        opened.close()


def damaged(text: str, lines: int = 6) -> Path:
    """A session whose file is damaged near its end."""
    file = store.create_session(text)
    for number in range(lines):
        file.session.seal()
        file.session.insert(file.session.length, f" {number}")
    file.save()
    file.close()
    path = file.path / "session.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[:-9] + b"x" + data[-8:])
    return file.path


def test_a_damaged_newest_session_is_told_and_can_be_recovered(play: Play) -> None:
    older = store.create_session("헌 글")
    older.close()
    os.utime(older.path / "session.jsonl", (1, 1))
    path = damaged("새 글")
    opened = open_latest()
    assert opened.file.session.text == "헌 글"
    assert opened.damage is not None
    assert "is damaged at line" in notice_of(opened, asked=False, model=None)
    opened.file.close()

    async def scene(stage: Stage) -> None:
        await stage.pilot.pause()
        assert isinstance(stage.app.screen, Pick)
        assert "is damaged at line" in (await stage.dump())
        await stage.press("enter")
        assert stage.screen.desk.file.path == path
        assert stage.text.startswith("새 글 0")
        assert (path / "session.jsonl.damaged").exists()

    play(scene, damage=opened.damage)


def test_a_damaged_session_that_is_picked_is_offered_too(play: Play, tmp_path: Path) -> None:
    path = damaged("새 글")

    async def scene(stage: Stage) -> None:
        await stage.press("f11")
        await stage.fill(str(path))
        assert "can be recovered" in stage.foot
        await stage.press("escape")
        assert stage.text == TEXT
        await stage.press("f11")
        await stage.fill(str(path))
        await stage.press("enter")
        assert stage.text.startswith("새 글 0")

    play(scene, text=TEXT)


def test_the_session_of_a_text_that_was_asked_for_may_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "글.txt"
    file = store.open_text_file(path)
    file.session.insert(0, "하나")
    file.close()
    journal = file.path / "session.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9] + b"x\n" * 9)
    opened = open_first(path)
    assert opened.problem is not None
    assert opened.file.session.text == ""
    assert store.list_sessions()[0].path != file.path or opened.file.path != file.path
    opened.file.close()
    with pytest.raises(InputError, match="not UTF-8"):
        (tmp_path / "cp949.txt").write_bytes("한글".encode("cp949"))
        open_first(tmp_path / "cp949.txt")


@pytest.mark.parametrize("typed", ["~nosuch/x.txt", "글" * 120, "a\x00b", "\udcff"])
@pytest.mark.parametrize("key", ["ctrl+s", "ctrl+right_square_bracket", "ctrl+o", "f11"])
def test_a_path_that_no_file_can_have_is_told(play: Play, key: str, typed: str) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press(key)
        stage.app.screen.dismiss(typed)
        await stage.pilot.pause()
        assert any(words in stage.foot for words in ("no such home folder", "too long", "is not the path of a file"))
        assert stage.text == TEXT
        if key == "ctrl+s" and typed.isprintable():
            await stage.press(key)
            await stage.fill(typed)
            assert stage.app.screen is stage.screen

    play(scene, text=TEXT)
