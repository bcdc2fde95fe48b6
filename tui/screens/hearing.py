"""What the screen does with what the engine tells."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from korformer.tui.words import say, told
from korformer.writing import messages

if TYPE_CHECKING:
    from korformer.tui.screens.writing import WritingScreen

FIGURES_SECONDS = 0.3
"""The figures of a running generation are written this far apart."""


class Hearing:
    """Takes the engine's messages for the writing screen."""

    def __init__(self, screen: WritingScreen) -> None:
        self._screen = screen
        self._told_at = 0.0

    def hear(self, message: messages.Message) -> None:  # noqa: PLR0912  one case a message
        """Take one message."""
        match message:
            case messages.StateChanged():
                self._take_state(message.state)
            case messages.LoadProgress():
                self._screen.status.tell(state="loading", progress=message.step / max(1, message.steps))
            case messages.ModelLoaded():
                self._take_model(message.info)
            case messages.ReadingProgress():
                self._screen.status.tell(
                    progress=message.done / max(1, message.total),
                    seconds_left=message.seconds_left if message.done < message.total else None,
                )
            case messages.ContextMeter():
                self._take_meter(message)
            case messages.Wrote():
                self._take_tokens(message)
            case messages.GenerationEnded():
                self._screen.status.tell(rate=message.tokens_per_second, characters=len(self._screen.page.text))
                self._screen.desk.ended(message)
                self._screen.panels.after_generation()
            case messages.Attended():
                if message.generation == self._screen.desk.generation:
                    self._screen.panels.show_lens(message.lens)
            case messages.Inspected():
                self._screen.show_inspected(message)
            case messages.Notified():
                self._screen.tell(told(message.text), "warning" if message.level == "warning" else "information")
            case messages.Failed():
                self._take_failure(message)
            case messages.StateSaved():
                self._screen.filing.state_saved()
            case messages.StateRestored():
                if message.tokens:
                    self._screen.tell(say("state restored", tokens=message.tokens))

    def _take_state(self, state: str) -> None:
        self._screen.desk.state = state
        self._screen.status.tell(state=state, progress=None, seconds_left=None)

    def _take_model(self, info: messages.ModelInfo) -> None:
        _settle_memory()
        before = self._screen.desk.info
        rehashed = before is not None and replace(before, hashes=info.hashes) == info
        self._screen.desk.info = info
        self._screen.status.tell(model=f"{info.name} {info.device} {info.weights}", window=info.window_tokens)
        self._screen.show_settings()
        if not rehashed:
            self._screen.desk.session.model = str(info.path.absolute())
            self._screen.tell(say("model opened", name=info.name))
            self._screen.desk.remember()
        self._screen.read_ahead()

    def _take_meter(self, meter: messages.ContextMeter) -> None:
        self._screen.status.tell(used=meter.read_tokens, window=meter.window_tokens)
        self._screen.set_readable_start(meter.outside_characters)

    def _take_tokens(self, message: messages.Wrote) -> None:
        screen = self._screen
        screen.desk.wrote(message)
        screen.status.token_seconds.extend(token.seconds for token in message.tokens)
        # Drawing a line at the foot and one in the page draws all that lies between them.
        now = time.monotonic()
        if now - self._told_at >= FIGURES_SECONDS:
            self._told_at = now
            entropy = next((token.entropy for token in reversed(message.tokens) if token.entropy is not None), None)
            screen.status.tell(rate=message.tokens_per_second, entropy=entropy, characters=len(screen.page.text))
            screen.status.refresh()
            self._take_meter(message.meter)

    def _take_failure(self, failure: messages.Failed) -> None:
        if failure.doing == "load":
            self._screen.tell(say("model failed", error=failure.error), "error")
        elif failure.doing in {"save", "restore"}:
            self._screen.filing.state_saved()
        else:
            if failure.doing == "rehash":
                self._screen.desk.keep_hashes()
                self._screen.show_settings()
            self._screen.tell(told(failure.error), "error")


def _settle_memory() -> None:
    """Keep the garbage collector from looking through all that the program is made of while a model writes, which costs
    a tenth of its speed; what a model opened before has left goes first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
