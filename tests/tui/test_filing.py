"""Text files and other sessions: what is on disk afterwards, and what is told when it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stage import TEXT, Play, Stage, record
from textual.widgets import Input

from korformer.tui.launch import notice_of
from korformer.tui.opening import open_first
from korformer.tui.screens.pick import Pick
from korformer.writing import store


def test_the_text_is_written_to_a_file_that_is_asked_for(play: Play, tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("ctrl+s")
        assert stage.app.screen.query_one(Input).value == "바다-마을의-아침은-조용했다.txt"
        await stage.fill(str(tmp_path / "글.txt"))
        assert (tmp_path / "글.txt").read_text(encoding="utf-8") == TEXT
        assert "글.txt" in stage.foot

    play(scene, text=TEXT)


def test_a_file_that_is_there_is_replaced_only_when_asked_twice(play: Play, tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("old", encoding="utf-8")

    async def scene(stage: Stage) -> None:
        await stage.press("ctrl+s")
        await stage.fill(str(tmp_path / "there.txt"))
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
        await stage.fill(str(tmp_path / "no-such-folder" / "a.txt"))
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
            await stage.fill(str(tmp_path / path))
            assert words in stage.foot
            assert stage.text == TEXT

    play(scene, text=TEXT)


def text_of_file(path: Path, text: str) -> None:
    """A text file and the session that it has."""
    path.write_text(text, encoding="utf-8")
    store.open_text_file(path).close()


def test_a_file_that_another_program_changed_is_replaced_only_when_asked_twice(play: Play, tmp_path: Path) -> None:
    path = tmp_path / "글.txt"
    text_of_file(path, "하나")

    async def scene(stage: Stage) -> None:
        await stage.press("f11")
        await stage.fill(str(path))
        await stage.type("!")
        for theirs in ("vim 하나", "vim 둘"):  # each change is asked for
            path.write_text(theirs, encoding="utf-8")
            await stage.press("ctrl+s")
            assert path.read_text(encoding="utf-8") == theirs
            assert "Another program changed" in stage.foot
        await stage.press("ctrl+s")
        assert path.read_text(encoding="utf-8") == stage.text
        await stage.type("?")
        await stage.press("ctrl+s")
        assert path.read_text(encoding="utf-8") == stage.text

    play(scene, text=TEXT)


def test_what_another_program_changed_is_told_when_the_text_is_opened(play: Play, tmp_path: Path) -> None:
    path = tmp_path / "글.txt"
    text_of_file(path, "하나")
    path.write_text("둘", encoding="utf-8")

    async def scene(stage: Stage) -> None:
        await stage.press("f11")
        await stage.fill(str(path))
        assert stage.text == "둘"
        assert "Another program changed" in stage.foot
        await stage.press("ctrl+z")
        assert stage.text == "하나"

    play(scene, text=TEXT)
    path.write_text("셋", encoding="utf-8")
    opened = open_first(path)
    assert "Another program changed" in notice_of(opened, asked=True, model=None)
    opened.file.close()


def test_switching_keeps_what_the_model_has_read_and_takes_up_the_other(play: Play) -> None:
    other = store.create_session("다른 글")
    other.session.hashes = 6
    other.close()
    other.state_path.write_bytes(b"")

    async def scene(stage: Stage) -> None:
        here = stage.screen.desk.file.state_path
        stage.engine.calls.clear()
        await stage.press("f11", "enter")
        names = ("save_state", "rehash", "restore_state", "prepare")
        asked = [(name, given[0]) for name, given, _ in stage.engine.calls if name in names]
        draft = stage.screen.desk.session.draft(stage.screen.cursor)
        assert asked == [
            ("save_state", here),
            ("rehash", 6),
            ("restore_state", other.state_path),
            ("prepare", draft),
        ]

    play(scene, text=TEXT)


@pytest.mark.parametrize("key", ["ctrl+s", "ctrl+right_square_bracket", "ctrl+o", "f11", "ctrl+d", "ctrl+k", "f1"])
def test_escape_closes_every_dialog(play: Play, key: str) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press(key)
        assert stage.app.screen is not stage.screen
        await stage.press("escape")
        assert stage.app.screen is stage.screen
        assert stage.screen.focused is stage.screen.page

    play(scene, text=TEXT)
