"""Two languages that say the same things."""

from __future__ import annotations

import string

import pytest
from stage import Play, Stage

from korformer.tui import terminal, words
from korformer.tui.actions import ACTIONS


def names(phrase: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(phrase) if name}


def test_both_languages_have_the_same_places_for_values() -> None:
    for key, (english, korean) in words.PHRASES.items():
        assert names(english) == names(korean), key
        assert english
        assert korean


def test_every_command_has_words_in_both_languages_and_a_key_of_its_own() -> None:
    keys = [key for action in ACTIONS for key in action.keys.split(",")]
    assert len(keys) == len(set(keys))
    for action in ACTIONS:
        assert action.english
        assert action.korean


def test_no_command_hangs_on_a_letter_that_hangul_would_swallow() -> None:
    for action in ACTIONS:
        for key in action.keys.split(","):
            assert key.startswith(("ctrl+", "f")) or key == "escape", key
            assert key == "escape" or key[:1] != "f" or key[1:].isdigit(), key


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LC_MESSAGES": "ko_KR.UTF-8", "LANG": "en_US.UTF-8"}, "ko"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": ""}, "en"),
        ({}, "en"),
    ],
)
def test_the_locale_chooses(environment: dict[str, str], language: str) -> None:
    assert terminal.language(environment) == language


def test_every_command_does_something(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        assert set(stage.screen.commands()) == {action.id for action in ACTIONS}

    play(scene)
