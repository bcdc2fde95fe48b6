"""The panels: controls that act while it writes, other tokens, history, attention."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from stage import INFO, TEXT, Play, Stage, meter, record
from textual.color import Color
from textual.widgets import Input

from korformer.errors import UsageError
from korformer.tui.widgets.controls import Controls
from korformer.tui.widgets.others import CandidateList, Others
from korformer.tui.widgets.places import Attention, History
from korformer.tui.widgets.status import sparkline
from korformer.writing import messages as said


def control(stage: Stage, name: str) -> None:
    """Highlight a control."""
    controls = stage.screen.query_one(Controls)
    place = [field.name for field in controls.fields].index(name)
    stage.screen.query_one("#control-list").highlighted = place  # type: ignore[attr-defined]


def sent(stage: Stage, name: str) -> object:
    """A setting as the engine was told last."""
    return getattr(stage.engine.named("set_settings")[-1][0][0], name)


def test_arrows_step_a_control_while_it_writes(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record(" 바다"))
        await stage.press("f4", "right", "right")
        assert sent(stage, "temperature") == 1.1
        await stage.press("shift+left")
        assert sent(stage, "temperature") == 0.6
        assert stage.screen.desk.session.settings.temperature == 0.6
        await stage.wrote(record("가"))
        assert stage.text.endswith(" 바다가")

    play(scene, text=TEXT)


def test_a_figure_typed_on_a_control_is_its_new_value(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f4")
        control(stage, "top_k")
        await stage.press("4", "0", "enter")
        assert sent(stage, "top_k") == 40
        assert not stage.screen.query_one("#control-entry", Input).display

    play(scene)


def test_an_illegal_value_is_refused_and_stays_to_be_mended(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f4")
        control(stage, "top_p")
        before = len(stage.engine.named("set_settings"))
        await stage.press("enter", *["backspace"] * 3, "2", "enter")
        assert "top-p" in stage.foot
        assert "less than or equal to 1" in stage.foot
        entry = stage.screen.query_one("#control-entry", Input)
        assert entry.display
        assert entry.value == "2"
        await stage.press("escape")
        assert not entry.display
        assert len(stage.engine.named("set_settings")) == before

    play(scene)


def test_korean_stop_strings_are_typed(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f4")
        control(stage, "stop")
        await stage.press("enter", "끝", "났", "다", "enter")
        assert sent(stage, "stop") == ("끝났다",)

    play(scene)


def test_hash_rounds_are_asked_of_the_engine(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f4")
        control(stage, "hashes")
        await stage.press("right")
        (rounds, draft), _ = stage.engine.named("rehash")[-1]
        assert (rounds, draft.text) == (5, TEXT)
        await stage.open_model(hashes=5)
        assert stage.screen.query_one(Controls).hashes == 5
        await stage.press("left")
        assert stage.engine.named("rehash")[-1][0][0] == 4
        assert stage.screen.desk.session.hashes is None

    play(scene, text=TEXT)


def test_hash_rounds_do_not_end_what_is_being_written_and_are_kept(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record(" 바다"))
        await stage.press("f4")
        control(stage, "hashes")
        await stage.press("right", "right")
        assert stage.engine.named("rehash")[-1][0][0] == 6
        assert not stage.engine.named("stop")
        await stage.open_model(hashes=6)
        await stage.wrote(record("가"))
        assert stage.text == TEXT + " 바다가"
        assert stage.screen.desk.session.hashes == 6
        await stage.ended()
        stage.screen.choosing.open_model(INFO.path)
        assert stage.engine.named("load")[-1][1]["hashes"] == 6
        await stage.press("ctrl+n")
        assert stage.screen.desk.session.hashes == 6

    play(scene, text=TEXT)


def test_hash_rounds_that_a_model_cannot_have_are_told_and_those_of_now_shown(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f4")
        control(stage, "hashes")
        await stage.press("9", "9", "9", "enter")
        error = UsageError("the number of hash rounds must be from 1 to 256, not 999")
        await stage.say(said.Failed(doing="rehash", error=error))
        assert "from 1 to 256" in stage.foot
        assert stage.screen.desk.session.hashes is None
        assert stage.screen.query_one(Controls).hashes is None

    play(scene)


def test_candidates_of_a_text_that_is_gone_are_gone(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        others = stage.screen.query_one(Others)
        for emptied in (("f4", "ctrl+a", "delete", "f4"), ("ctrl+n", "f4")):
            await stage.type("가나다")
            await stage.press("f10")
            lens = said.Lens(offset=3, passages=())
            await stage.say(said.Inspected(tag=3, start=3, end=3, record=record("라"), lens=lens))
            assert others.record is not None
            await stage.press(*emptied)
            await wait_for(stage, lambda: others.record is None)
            await stage.press("enter")
            assert not stage.engine.named("generate")
            await stage.press("f4")

    play(scene, size=(120, 30))


def test_a_candidate_chosen_at_a_place_that_is_gone_comes_at_the_end(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        stage.screen.desk.choose(394, record("라").candidates[1])
        (draft, _), named = stage.engine.named("generate")[-1]
        assert (draft.cursor, named["first_token"]) == (len(TEXT), 8)

    play(scene, text=TEXT)


async def wait_for(stage: Stage, there: Callable[[], bool]) -> None:
    """Wait until something holds that a timer brings about."""
    for _ in range(200):
        if there():
            return
        await stage.pilot.pause(0.01)
    raise AssertionError("it never came")


def test_the_meter_is_empty_where_the_text_is(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("korformer.tui.screens.writing.PAUSE_SECONDS", 0.01)

    async def scene(stage: Stage) -> None:
        await stage.type("가")
        await stage.say(meter(11))
        await stage.press("backspace")
        await wait_for(stage, lambda: stage.screen.status.facts.used == 0)
        await stage.type("가")
        await stage.say(meter(11, outside=1))
        await stage.press("ctrl+n")
        assert stage.screen.status.facts.used == 0
        assert stage.screen.page.readable == (0, 0)

    play(scene)


def test_presets_are_saved_loaded_and_reset(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f4", "right", "ctrl+k")
        await stage.press("m", "y", "enter")
        assert stage.foot == "Preset my saved."
        await stage.press("ctrl+u")
        assert stage.screen.desk.settings.temperature == 1.0
        await stage.press("ctrl+d")
        dialog = stage.app.screen
        rows = dialog.query_one("#pick-list")
        names = [row[0] for row in dialog._rows]  # type: ignore[attr-defined]
        rows.highlighted = names.index("my")  # type: ignore[attr-defined]
        await stage.press("enter")
        assert stage.screen.desk.settings.temperature == 1.05

    play(scene)


def test_another_token_is_chosen_and_the_text_goes_on_from_it(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record("하늘"), record("은 맑다"))
        await stage.ended()
        stage.screen.page.move_to(len(TEXT))
        await stage.press("f10")
        assert stage.screen.query_one(Others).record is not None
        assert " 바람" not in stage.text
        await stage.press("down", "enter")
        (draft, _), named = stage.engine.named("generate")[-1]
        assert (draft.text, named["first_token"]) == (TEXT, 8)
        await stage.wrote(record(" 바람"), record("이 분다"))
        await stage.ended()
        assert stage.text == TEXT + " 바람이 분다"
        assert stage.screen.status.facts.version == (2, 2)

    play(scene, text=TEXT)


def test_alternatives_of_a_token_that_the_engine_knows_better(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        stage.screen.page.move_to(3)
        await stage.press("f10")
        (_, offset), named = stage.engine.named("inspect")[-1]
        assert (offset, named["tag"]) == (3, 3)
        lens = said.Lens(offset=3, passages=())
        await stage.say(said.Inspected(tag=3, start=3, end=6, record=record("마을의"), lens=lens))
        others = stage.screen.query_one(Others)
        assert others.record == record("마을의")
        assert [overlay.look for overlay in stage.screen.page.overlays] == ["chosen"]
        await stage.press("enter")
        assert stage.text == TEXT[:3]
        assert stage.engine.named("generate")[-1][1]["first_token"] == 7

    play(scene, text=TEXT)


def test_what_comes_late_from_another_place_is_not_shown(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        lens = said.Lens(offset=3, passages=())
        await stage.say(said.Inspected(tag=3, start=3, end=6, record=record("마을의"), lens=lens))
        assert stage.screen.query_one(Others).record is None

    play(scene, text=TEXT)


def test_a_candidate_is_banned_and_allowed_again(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record("하늘"))
        await stage.ended()
        stage.screen.page.move_to(len(TEXT))
        await stage.press("f10", "down", "delete")
        assert stage.screen.desk.settings.banned_tokens == (8,)
        assert stage.foot == "_바람 will not come any more. Delete once more allows it."
        assert "banned" in next(line for line in (await stage.dump()).splitlines() if "_바람  " in line)
        await stage.press("delete")
        assert stage.screen.desk.settings.banned_tokens == ()
        assert stage.foot == "_바람 may come again."
        assert "banned" not in next(line for line in (await stage.dump()).splitlines() if "_바람  " in line)

    play(scene, text=TEXT)


def test_single_steps_write_one_token_and_show_the_next(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f9")
        assert stage.engine.named("generate")[-1][1]["max_tokens"] == 1
        await stage.wrote(record(" 바다"))
        await stage.ended()
        end = len(TEXT) + 3
        assert stage.engine.named("inspect")[-1][0][1] == end
        lens = said.Lens(offset=end, passages=())
        await stage.say(said.Inspected(tag=end, start=end, end=end, record=record("는"), lens=lens))
        stage.screen.sidebar.focus_panel()
        await stage.press("down", "enter")
        (_, _), named = stage.engine.named("generate")[-1]
        assert (named["first_token"], named["max_tokens"]) == (8, 1)

    play(scene, text=TEXT)


def test_the_tree_is_listed_and_gone_to(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        for key, word in (("f5", " 하나"), ("f6", " 둘")):
            await stage.press(key)
            await stage.wrote(record(word))
            await stage.ended()
        stage.screen.panels.open("history")
        await stage.pilot.pause()
        rows = stage.screen.query_one(History).outline
        assert [row.excerpt.strip() for row in rows][1:] == ["하나", "둘"]
        assert [row.current for row in rows] == [False, False, True]
        stage.screen.sidebar.focus_panel()
        await stage.press("up", "enter")
        assert stage.text == TEXT + " 하나"
        assert [row.current for row in stage.screen.query_one(History).outline] == [False, True, False]

    play(scene, text=TEXT)


def test_the_lens_highlights_passages_and_leads_to_them(play: Play) -> None:
    long_text = "등대가 보였다.\n" + "파도가 쳤다.\n" * 60

    async def scene(stage: Stage) -> None:
        await stage.press("f12")
        assert stage.engine.named("set_lens")[-1][0] == (True,)
        await stage.press("f5")
        await stage.wrote(record("그는"))
        found = tuple(
            said.Passage(start=start, end=start + 4, weight=weight, peak_start=start, peak_end=start + 2)
            for start, weight in ((0, 0.5), (30, 0.2))
        )
        lens = said.Lens(offset=len(long_text), passages=found)
        await stage.say(said.Attended(generation=stage.screen.desk.generation or 0, lens=lens))
        assert [overlay.look for overlay in stage.screen.page.overlays] == ["lens-0", "lens-1"]
        panel = stage.screen.query_one(Attention)
        assert [text for _, text in panel.passages] == ["등대가 ", long_text[30:34]]
        assert not stage.screen.page.is_seen(0)
        cursor = stage.screen.page.cursor
        stage.screen.sidebar.focus_panel()
        await stage.press("enter")
        assert stage.screen.page.is_seen(0)
        assert stage.screen.page.cursor == cursor
        await stage.press("f12")
        assert stage.engine.named("set_lens")[-1][0] == (False,)
        assert stage.screen.page.overlays == ()

    play(scene, text=long_text)


@pytest.mark.parametrize(("width", "seen"), [(80, False), (100, True), (200, True)])
def test_panels_fold_where_there_is_no_room(play: Play, width: int, seen: bool) -> None:
    async def scene(stage: Stage) -> None:
        assert stage.screen.sidebar.display is seen
        await stage.press("f2")
        assert stage.screen.sidebar.display
        for _ in range(3 if seen else 4):
            await stage.press("f2")
        assert not stage.screen.sidebar.display

    play(scene, text=TEXT, size=(width, 24))


def test_a_click_on_a_name_opens_its_panel(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.pilot.click("#panel-names", offset=(12, 0))
        await stage.pilot.pause()
        assert stage.screen.sidebar.panel == "next"
        assert isinstance(stage.screen.focused, CandidateList)

    play(scene, text=TEXT, size=(120, 30))


def test_the_sparkline_has_two_values_a_cell() -> None:
    assert len(sparkline([0.1] * 40, 8)) == 8
    assert sparkline([], 8) == ""
    assert set(sparkline([1.0, 1.0], 1)) == {"\u28ff"}


@pytest.mark.parametrize("theme", ["korformer-dark", "korformer-light"])
def test_the_strength_of_attention_is_seen(play: Play, theme: str) -> None:
    """Each rank has a background of its own, and text can be read on it; see-through colours are laid over the page."""

    async def scene(stage: Stage) -> None:
        stage.app.theme = theme
        await stage.pilot.pause()
        page = stage.screen.page
        styles = [page._style(f"lens-{rank}") for rank in range(5)]
        backgrounds = [style.bgcolor for style in styles]
        assert len({str(colour) for colour in backgrounds}) == 5
        below = page.background_colors[1]
        distances = [_distance(Color.from_rich_color(colour), below) for colour in backgrounds]
        assert distances == sorted(distances, reverse=True)
        text = Color.from_rich_color(page._style("written").color)
        assert all(_contrast(text, Color.from_rich_color(colour)) > 3 for colour in backgrounds)

    play(scene, text=TEXT)


def _distance(one: Color, other: Color) -> int:
    return sum(abs(a - b) for a, b in zip(one.rgb, other.rgb, strict=True))


def _contrast(one: Color, other: Color) -> float:
    """The contrast ratio of WCAG 2."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Color) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
