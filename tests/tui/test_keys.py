"""The file of keys and colours."""

from __future__ import annotations

from pathlib import Path

from stage import Play, Stage, record

from korformer.tui.keys import Choices, key_file, known_ids, read_choices


def write(text: str) -> Path:
    path = key_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_everything_is_as_it_comes(tmp_path: Path) -> None:
    assert read_choices(tmp_path / "none.toml") == Choices()


def test_keys_and_theme_are_read() -> None:
    choices = read_choices(write('theme = "light"\n[keys]\ngenerate = "ctrl+g"\n"page.word_left" = "alt+b"\n'))
    assert choices.keys == {"generate": "ctrl+g", "page.word_left": "alt+b"}
    assert choices.theme == "korformer-light"
    assert choices.problems == ()
    assert "page.word_left" in known_ids()


def test_every_problem_of_the_file_is_told_at_once() -> None:
    choices = read_choices(write('theme = "blue"\ncolour = 1\n[keys]\ngenerat = "f5"\nretry = 7\n'))
    assert choices.keys == {}
    assert choices.problems == (
        "theme is 'blue', not dark or light",
        "unknown key colour",
        "no such command: generat (did you mean generate?)",
        "the key of retry is not a text",
    )
    assert "not valid TOML" in read_choices(write("[keys\n")).problems[0]


def test_another_key_writes_on_and_the_old_one_does_not(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        assert not stage.engine.named("generate")
        await stage.press("f6")
        await stage.wrote(record("왔다"))
        assert stage.text == "봄왔다"
        await stage.press("f1")
        assert "f6" in (await stage.dump()).split("Write on at the cursor")[0].splitlines()[-1]

    play(scene, text="봄", choices=Choices(keys={"generate": "f6", "retry": "f5"}))


def test_problems_are_told_on_the_screen(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        assert "no such command: x" in stage.foot

    play(scene, model=False, choices=Choices(problems=("no such command: x",)))
