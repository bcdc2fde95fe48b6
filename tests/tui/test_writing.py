"""What a person does on the writing screen, and what the screen asks of the engine and of the session."""

from __future__ import annotations

import pytest
from stage import TEXT, Play, Stage, meter, record
from textual import events
from textual.keys import _character_to_key

from korformer.errors import InputError, ModelDirectoryError, ResourceError
from korformer.tui.messages import AutosaveSaid
from korformer.tui.widgets.sheet import TONES
from korformer.tui.widgets.status import Facts
from korformer.writing import messages as said
from korformer.writing.autosave import AutosaveResult


def tone_names(stage: Stage) -> list[str]:
    return [TONES[tone] for tone in stage.screen.page.tones]


def test_typed_korean_reaches_session_and_page(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.type("안녕하세요 반갑습니다")
        await stage.press("enter", "home", "backspace")
        assert stage.text == stage.screen.desk.session.text == "안녕하세요 반갑습니다"
        await stage.press("left", "left", "backspace")
        assert stage.text == "안녕하세요 반갑니다"

    play(scene)


def test_keys_with_alt_type_nothing(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        for key, character in (("alt+z", "z"), ("super+a", "a"), ("plus", "+"), ("A", "A"), ("shift+b", "B")):
            stage.app.post_message(events.Key(key, character))
        await stage.type("가")
        assert stage.text == "+AB가"

    play(scene)


def test_emoji_are_drawn_whole_and_the_cursor_stands_behind_them(play: Play) -> None:
    family = "👩\u200d👧\u200d👦"

    async def scene(stage: Stage) -> None:
        await stage.press("f3")
        seen = await stage.dump()
        assert (seen.count("❤\ufe0f"), seen.count("끝")) == (60, 1)
        await stage.press("ctrl+home")
        left = stage.app.cursor_position.x
        for character in family * 4:  # as a terminal sends it
            stage.app.post_message(events.Key(_character_to_key(character), character))
        await stage.press("f3")
        assert stage.text.startswith(family * 4)
        assert stage.app.cursor_position.x == left + 8
        await stage.pilot.click("#page", offset=(left + 5, 0))
        assert stage.screen.page.cursor == 2 * len(family)
        await stage.press("backspace")
        assert stage.text.startswith(family + family[:-1])

    play(scene, text="❤\ufe0f" * 60 + " 끝")


def test_parts_of_a_syllable_become_one(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        stage.screen.page.type("\u1112\u1161")
        stage.screen.page.type("\u11ab")
        assert stage.text == "한"
        assert stage.screen.page.cursor == 1
        await stage.press("backspace")
        assert stage.text == ""

    play(scene)


def test_generation_streams_in_at_the_cursor(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        (draft, _), _ = stage.engine.named("generate")[0]
        assert (draft.text, draft.cursor) == (TEXT, len(TEXT))
        await stage.wrote(record(" 바다"), record("는", 0.9))
        assert stage.text == TEXT + " 바다는"
        assert stage.screen.page.cursor == len(stage.text)
        assert tone_names(stage)[-5:] == ["written"] + ["generated"] * 4
        facts = stage.screen.status.facts
        assert (facts.rate, facts.entropy, facts.state, facts.used) == (41.5, 2.5, "writing", 30)
        await stage.ended("end")
        assert stage.foot == "The text ended."
        assert stage.screen.desk.generation is None

    play(scene, text=TEXT)


def test_escape_stops_and_what_came_stays(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record(" 바다"))
        await stage.press("escape")
        assert stage.engine.named("stop")
        await stage.wrote(record("너무 늦은"))
        assert stage.text == TEXT + " 바다"

    play(scene, text=TEXT)


def test_typing_while_it_writes_ends_the_generation(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record(" 바다"))
        await stage.press("!")
        await stage.wrote(record("늦음"))
        assert stage.text == TEXT + " 바다!"
        assert stage.screen.desk.generation is None

    play(scene, text=TEXT)


def test_typing_before_the_first_token_of_another_try_changes_what_is_seen(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        stage.screen.page.move_to(5)
        await stage.press("f5")
        await stage.wrote(record("xxxx "))
        await stage.ended()
        await stage.press("f6", "end", "backspace")
        assert stage.text == stage.screen.desk.session.text == "AAAA BBB"
        assert stage.screen.desk.generation is None
        await stage.press("ctrl+z")
        assert stage.text == "AAAA xxxx BBBB"

    play(scene, text="AAAA BBBB")


def test_undo_before_the_first_token_of_another_try_only_takes_that_back(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record(" 바다"))
        await stage.ended()
        for key in ("ctrl+z", "ctrl+y"):
            await stage.press("f6")
            assert stage.text == TEXT
            await stage.press(key)
            assert stage.text == stage.screen.desk.session.text == TEXT + " 바다"
        await stage.press("ctrl+z")
        assert stage.text == TEXT

    play(scene, text=TEXT)


def test_a_branch_before_the_first_token_of_another_try_is_at_the_cursor(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        stage.screen.page.move_to(5)
        await stage.press("f5")
        await stage.wrote(record("xxxx "))
        await stage.ended()
        await stage.press("f6", "ctrl+b")
        assert stage.text == stage.screen.desk.session.text == "AAAA "

    play(scene, text="AAAA BBBB")


def test_another_try_and_other_versions_keep_a_changed_prompt(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record(" 웃었다."))
        await stage.ended()
        stage.screen.page.move_to(1)
        await stage.type("녀")
        await stage.press("f6")
        (draft, _), _ = stage.engine.named("generate")[-1]
        assert (draft.text, draft.cursor) == ("그녀는", 3)
        await stage.wrote(record(" 울었다."))
        await stage.ended()
        assert stage.screen.status.facts.version == (2, 2)
        await stage.press("f7")
        assert stage.text == "그녀는 웃었다."
        await stage.press("f8")
        assert stage.text == "그녀는 울었다."

    play(scene, text="그는")


def test_a_stopped_generation_still_learns_its_seed(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record(" 바다"))
        await stage.press("escape")
        await stage.ended("cancelled")
        session = stage.screen.desk.session
        (made,) = [source.generation for source in session.versions.tree.sources.values() if source.generation]
        assert (made.reason, made.seed) == ("cancelled", 5)

    play(scene, text=TEXT)


def test_a_gap_that_is_filled_owes_no_space(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.open_model(fills_in_the_middle=True)
        stage.screen.page.move_to(3)
        await stage.press("f5")
        await stage.wrote(record("큰 "))
        await stage.ended("joined")
        assert [run.space_owed for run in stage.screen.desk.session.draft().runs] == [False]

    play(scene, text=TEXT)


def test_text_after_the_cursor_is_told_to_be_ignored_and_dimmed(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        stage.screen.page.move_to(5)
        await stage.press("f5")
        assert "cannot fill in" in stage.foot
        await stage.wrote(record(" 바다"))
        assert stage.text == TEXT[:5] + " 바다" + TEXT[5:]
        assert stage.screen.page.readable == (0, 8)
        await stage.ended("cancelled")
        assert stage.screen.page.readable == (0, len(stage.text))

    play(scene, text=TEXT)


def test_a_model_that_fills_in_reads_what_follows(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.open_model(fills_in_the_middle=True)
        stage.screen.page.move_to(5)
        await stage.press("f5")
        assert "cannot fill in" not in stage.foot
        await stage.wrote(record(" 바다"))
        assert stage.screen.page.readable == (0, len(stage.text))
        await stage.ended("joined")
        assert stage.foot == "The gap is filled."

    play(scene, text=TEXT)


def test_what_lies_before_the_window_is_dimmed(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.say(meter(40, outside=6))
        assert stage.screen.page.readable == (6, len(TEXT))

    play(scene, text=TEXT)


def test_versions_stand_side_by_side(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        for word in (" 하나", " 둘"):
            await stage.press("f5" if word == " 하나" else "f6")
            await stage.wrote(record(word))
            await stage.ended()
        assert stage.text == TEXT + " 둘"
        assert stage.screen.status.facts.version == (2, 2)
        await stage.press("f7")
        assert stage.text == TEXT + " 하나"
        assert stage.screen.status.facts.version == (1, 2)
        await stage.press("f7")
        assert stage.text == TEXT + " 하나"
        await stage.press("f8")
        assert stage.text == TEXT + " 둘"

    play(scene, text=TEXT)


def test_undo_and_redo_go_across_edits_and_generations(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.type("봄")
        await stage.press("f5")
        await stage.wrote(record("이 왔다"))
        await stage.ended()
        await stage.type("!")
        seen = []
        for _ in range(3):
            await stage.press("ctrl+z")
            seen.append(stage.text)
        assert seen == ["봄이 왔다", "봄", ""]
        await stage.press("ctrl+z")
        assert stage.foot == "Nothing to undo."
        await stage.press("ctrl+y", "ctrl+y", "ctrl+y")
        assert stage.text == "봄이 왔다!"

    play(scene)


def test_branching_keeps_what_followed(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record(" 바다"), record("는 넓다"))
        await stage.ended()
        stage.screen.page.move_to(len(TEXT) + 3)
        await stage.press("ctrl+b")
        assert stage.text == TEXT + " 바다"
        await stage.press("ctrl+z")
        assert stage.text == TEXT + " 바다는 넓다"

    play(scene, text=TEXT)


def test_colours_go_round(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record("가", 0.005), record("나", 0.95))
        await stage.ended()
        await stage.press("f3")
        assert tone_names(stage) == ["written"] * len(TEXT) + ["band-0", "band-7"]
        await stage.press("f3")
        assert set(tone_names(stage)) == {"written"}
        await stage.press("f3")
        assert tone_names(stage)[-1] == "generated"

    play(scene, text=TEXT)


def test_nothing_is_written_without_a_model(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        assert stage.foot == "Open a model first (Ctrl+O)."
        await stage.say(said.StateChanged(state="loading"), said.LoadProgress(step=1, steps=4, what="weights"))
        assert stage.screen.status.facts.progress == 0.25
        await stage.press("f5")
        assert stage.foot == "The model is not open yet."
        assert not stage.engine.named("generate")

    play(scene, text=TEXT, model=False)


def test_a_broken_checkpoint_is_told_and_the_text_goes_on(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        error = ModelDirectoryError("is damaged", where="model/model.safetensors", hint="Copy it again.")
        await stage.say(said.Failed(doing="load", error=error), said.StateChanged(state="empty"))
        assert "model/model.safetensors: is damaged. Copy it again." in stage.foot
        await stage.type("계속")
        assert stage.text == "계속"

    play(scene, model=False)


def test_a_failed_generation_is_told(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.press("f5")
        await stage.wrote(record(" 바다"))
        await stage.say(said.Failed(doing="generate", error=InputError("every token that could come is banned")))
        await stage.ended("failed")
        assert "banned" in stage.foot
        assert stage.text == TEXT + " 바다"
        assert stage.screen.desk.generation is None

    play(scene, text=TEXT)


def test_a_full_disk_is_told_until_there_is_room(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        stage.screen.desk.file.stop_autosave()  # or a save that goes well might come between
        error = ResourceError("no room to write", where="session.jsonl")
        stage.screen.post_message(AutosaveSaid(AutosaveResult(error=error)))
        await stage.pilot.pause()
        assert "Not saved: session.jsonl: no room to write" in stage.foot
        assert "NOT SAVED" in (await stage.dump())
        stage.screen.post_message(AutosaveSaid(AutosaveResult()))
        await stage.pilot.pause()
        assert stage.foot == "Saved again."
        assert stage.screen.status.facts.unsaved is False

    play(scene, text=TEXT)


def test_pasted_text_becomes_nfc_with_line_feeds(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        from textual.events import Paste

        stage.screen.page.post_message(Paste("\u1112\u1161\u11ab\r\n글"))
        await stage.pilot.pause()
        assert stage.text == "한\n글"
        await stage.press("backspace", "backspace", "backspace")
        assert stage.text == ""

    play(scene)


@pytest.mark.parametrize("size", [(59, 20), (80, 13)])
def test_a_window_that_is_too_small_says_so_and_keeps_the_text(play: Play, size: tuple[int, int]) -> None:
    async def scene(stage: Stage) -> None:
        assert "too small" in (await stage.dump())
        await stage.pilot.resize_terminal(80, 24)
        await stage.pilot.pause()
        assert "too small" not in (await stage.dump())
        assert stage.text == TEXT

    play(scene, text=TEXT, size=size)


def test_the_text_is_read_ahead_after_a_pause(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("korformer.tui.screens.writing.PAUSE_SECONDS", 0.01)

    async def scene(stage: Stage) -> None:
        stage.engine.calls.clear()
        await stage.type("봄이")
        for _ in range(100):
            if stage.engine.named("prepare"):
                break
            await stage.pilot.pause(0.01)
        draft = stage.engine.named("prepare")[-1][0][0]
        assert (draft.text, draft.cursor) == ("봄이", 2)
        await stage.say(said.ReadingProgress(done=300, total=1200, tokens_per_second=100.0, seconds_left=9.0))
        facts: Facts = stage.screen.status.facts
        assert (facts.progress, facts.seconds_left) == (0.25, 9.0)

    play(scene)


def test_keys_typed_faster_than_the_screen_keep_their_order(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        from textual import events

        keys = [("가", "가"), ("left", None), ("나", "나"), ("end", None), ("다", "다"), ("f4", None), ("end", None)]
        for key, character in [
            *keys,
            ("up", None),
            ("up", None),
            ("7", "7"),
            ("enter", None),
            ("f4", None),
            ("라", "라"),
        ]:
            stage.app.post_message(events.Key(key, character))
        await stage.press("f3")
        assert stage.text == "나가다라"
        assert stage.screen.desk.session.settings.max_new_tokens == 7

    play(scene)
