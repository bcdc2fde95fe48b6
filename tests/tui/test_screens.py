"""What the screen looks like, as text: the dumps lie in `screens/` and are compared character by character.

Write them anew, and look at what changed, with: KORFORMER_WRITE_SCREENS=1 pytest tests/tui/test_screens.py
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from stage import Play, Scene, Stage, meter, record

from korformer.tui import words
from korformer.tui.cells import cell_len
from korformer.writing import messages as said

SCREENS = Path(__file__).parent / "screens"
SIZES = ((80, 24), (120, 40), (200, 60))
STORY = (
    "등대지기의 딸은 매일 아침 계단을 세었다. 아흔여섯 개였다.\n\n"
    '"하나가 모자라면 어떻게 해요?" 아이가 물었다. 할머니는 웃으며 찻주전자를 내려놓았다. 👍 '
    "바람이 창을 두드렸고, 멀리서 배 한 척이 들어왔다. Lighthouse No. 3.\n"
)


def passages() -> said.Lens:
    found = (
        said.Passage(start=0, end=22, weight=0.31, peak_start=0, peak_end=5),
        said.Passage(start=36, end=53, weight=0.22, peak_start=36, peak_end=40),
        said.Passage(start=60, end=70, weight=0.08, peak_start=60, peak_end=62),
    )
    return said.Lens(offset=len(STORY), passages=found)


async def writes(stage: Stage) -> None:
    """Every part of the screen in use."""
    await stage.press("f5")
    await stage.wrote(record("배에서"), record(" 내린"), record(" 사람은", 0.02), record(" 편지를", 0.7))


async def alternatives(stage: Stage) -> None:
    await writes(stage)
    await stage.ended()
    stage.screen.page.move_to(len(stage.text) - 2)
    await stage.press("f10")


async def attention(stage: Stage) -> None:
    await stage.press("f12", "f5")
    await stage.wrote(record("배에서"))
    await stage.say(said.Attended(generation=stage.screen.desk.generation or 0, lens=passages()))


async def history(stage: Stage) -> None:
    for key, word in (("f5", "배가 왔다."), ("f6", "눈이 왔다."), ("f6", "편지가 왔다.")):
        await stage.press(key)
        await stage.wrote(record(word))
        await stage.ended()
    await stage.press("f7")
    stage.screen.panels.open("history")
    await stage.pilot.pause()


async def controls(stage: Stage) -> None:
    stage.screen.panels.open("sampling")
    await stage.press("f4", "right", "right", "down", "left")


async def probabilities(stage: Stage) -> None:
    await writes(stage)
    await stage.press("f3")


async def reading(stage: Stage) -> None:
    await stage.say(
        meter(3912, outside=22),
        said.StateChanged(state="reading"),
        said.ReadingProgress(done=1800, total=3912, tokens_per_second=310.0, seconds_left=73.0),
    )


async def help_screen(stage: Stage) -> None:
    await stage.press("f1")


SCENES: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (writes, alternatives, attention, history, controls, probabilities, reading, help_screen)
}


CASES = [
    *((name, size, "ko") for name in SCENES for size in SIZES),
    *((name, SIZES[0], "en") for name in ("writes", "controls", "alternatives")),
]


@pytest.mark.parametrize(("name", "size", "language"), CASES)
def test_the_screen_looks_as_it_did(
    play: Play, monkeypatch: pytest.MonkeyPatch, name: str, size: tuple[int, int], language: str
) -> None:
    monkeypatch.setattr("korformer.tui.screens.help.key_file", lambda: Path("tui.toml"))
    file = SCREENS / f"{name}-{size[0]}x{size[1]}-{language}.txt"

    async def scene(stage: Stage) -> None:
        stage.screen.foot.show_keys()
        await SCENES[name](stage)
        seen = await stage.dump()
        assert all(cell_len(line) <= size[0] for line in seen.splitlines())
        if os.environ.get("KORFORMER_WRITE_SCREENS"):
            SCREENS.mkdir(exist_ok=True)
            file.write_text(seen + "\n", encoding="utf-8")
        assert seen + "\n" == file.read_text(encoding="utf-8")

    words.choose_language(language)
    play(scene, text=STORY, size=size)


def test_no_sign_on_the_screen_has_an_ambiguous_width(play: Play) -> None:
    """What the program draws itself stays clear of signs that some Korean terminals make two cells wide."""

    async def scene(stage: Stage) -> None:
        for act in SCENES.values():
            await act(stage)
            ambiguous = {sign for sign in (await stage.dump()) if unicodedata.east_asian_width(sign) == "A"}
            assert not ambiguous
            await stage.press("escape", "escape")

    words.choose_language("ko")
    play(scene, text="등대.", size=(120, 40))
