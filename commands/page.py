"""What `korformer generate` puts on stdout, and when its events may be shown beside it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from korformer.commands.console import is_terminal, printable
from korformer.events import Event, Listener, Notice, Progress, ignore

if TYPE_CHECKING:
    from korformer.generation.stream import GeneratedToken, Summary

SLOW_SECONDS = 0.5
"""Reading a prompt that takes less is not reported."""


class Relay:
    """Passes events on: of a stage only what takes long, and notices later while nobody may listen."""

    def __init__(self) -> None:
        self.listen: Listener | None = ignore
        self.held: list[Event] = []
        self._began = 0.0
        self._shown = False

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Progress):
            if event.done == 0:
                self._began, self._shown = time.monotonic(), False
            slow = event.done != event.total and time.monotonic() - self._began >= SLOW_SECONDS
            if self.listen is not None and (slow or self._shown):
                self._shown = True
                self.listen(event)
        elif self.listen is not None:
            self.listen(event)
        elif isinstance(event, Notice):
            self.held.append(event)


class Page(Protocol):
    """Where the tokens are written."""

    def write(self, token: GeneratedToken) -> None:
        """One more token."""

    def end(self, summary: Summary) -> None:
        """The text is complete."""

    def break_off(self) -> None:
        """Something went wrong in the middle of it."""


class PlainPage:
    """The text itself. On a terminal it stands between prompt and suffix, and control characters are spelt out."""

    def __init__(self, prompt: str, suffix: str = "") -> None:
        self._safe = is_terminal(sys.stdout)
        self._prompt = prompt if self._safe else ""
        self._suffix = suffix if self._safe else ""

    def write(self, token: GeneratedToken) -> None:
        """One more token."""
        text, self._prompt = self._prompt + token.text, ""
        self._show(text)

    def _show(self, text: str) -> None:
        if text:
            sys.stdout.write(printable(text, keep="\n\t") if self._safe else text)
            sys.stdout.flush()

    def end(self, summary: Summary) -> None:
        """A line break, so that what comes next starts on its own line."""
        self._show(self._suffix)
        self.break_off()

    def break_off(self) -> None:
        """The same."""
        sys.stdout.write("\n")
        sys.stdout.flush()


class JsonLines:
    """One object a token, and a last one for the whole."""

    def write(self, token: GeneratedToken) -> None:
        """One more token."""
        self._line({"token_id": token.token_id, "text": token.text, "logprob": token.logprob})

    def end(self, summary: Summary) -> None:
        """The whole."""
        self._line(
            {
                "text": summary.text,
                "seed": summary.seed,
                "tokens": summary.tokens,
                "tokens_per_second": summary.tokens_per_second,
                "stop_reason": summary.stop_reason,
            }
        )

    def break_off(self) -> None:
        """Nothing: every line written so far is complete."""

    def _line(self, value: Mapping[str, object]) -> None:
        sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
        sys.stdout.flush()
