"""What Korean needs of the terminal and of Textual, and the language of the screen."""

from __future__ import annotations

import os
from collections.abc import Mapping

LONGEST_SEQUENCE = 4096
"""Characters that an escape sequence may have: an input method commits a whole phrase in one."""


def prepare_environment() -> None:
    """Set what Textual reads when it is imported.

    With the keyboard protocol that reports every key as a sequence, iTerm2 and xterm.js drop what input methods
    commit. It stays off unless a person asks for it.
    """
    os.environ.setdefault("TEXTUAL_DISABLE_KITTY_KEY", "1")


def allow_long_sequences() -> None:
    """Let a commit of many syllables through as text.

    Where the protocol is on, a commit is one sequence with the code of every character. Textual takes a sequence of
    more than 32 characters for noise; five syllables are longer.
    """
    from textual import _xterm_parser

    _xterm_parser._MAX_SEQUENCE_SEARCH_THRESHOLD = LONGEST_SEQUENCE


def language(environment: Mapping[str, str] | None = None) -> str:
    """The language that the locale asks for: "ko" or "en"."""
    values = os.environ if environment is None else environment
    chosen = next((values[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if values.get(name)), "")
    return "ko" if chosen.lower().startswith("ko") else "en"
