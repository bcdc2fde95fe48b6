"""Korean as terminals send it: an input method may commit a whole phrase at once."""

from __future__ import annotations

import os

import pytest
from textual import events
from textual._xterm_parser import XTermParser

from korformer.tui import terminal

PHRASE = "안녕하세요 반갑습니다 오늘은 바다에 갔습니다"


def keys(data: str) -> list[str | None]:
    return [event.character for event in XTermParser().feed(data) if isinstance(event, events.Key)]


@pytest.mark.parametrize("length", [1, 4, 5, 12, len(PHRASE)])
def test_a_commit_arrives_as_its_characters(length: int) -> None:
    assert keys(PHRASE[:length]) == list(PHRASE[:length])


@pytest.mark.parametrize("length", [1, 4, 5, 12, len(PHRASE)])
def test_a_commit_in_one_sequence_arrives_as_its_characters(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a person asked for the keyboard protocol that sends a commit as one sequence."""
    monkeypatch.setattr("textual.constants.DISABLE_KITTY_KEY", False)
    terminal.allow_long_sequences()
    codes = ":".join(str(ord(character)) for character in PHRASE[:length])
    assert keys(f"\x1b[0;;{codes}u") == list(PHRASE[:length])


def test_that_protocol_is_off_by_default() -> None:
    assert os.environ["TEXTUAL_DISABLE_KITTY_KEY"] == "1"
