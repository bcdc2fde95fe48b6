"""Messages on their way: gathered, and handed over no more often than is of use."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from korformer.writing.messages import Attended, ContextMeter, LoadProgress, Message, ReadingProgress, Wrote

Deliver = Callable[[tuple[Message, ...]], None]

_NEWEST_ONLY = (Attended, ContextMeter, LoadProgress, ReadingProgress)
"""Of these only the last one in a batch counts."""


class Outbox:
    """Gathers messages. Used by one thread.

    Args:
        deliver: takes a batch; called from the thread that adds and flushes.
        batches_a_second: at most, unless somebody flushes.
    """

    def __init__(self, deliver: Deliver, batches_a_second: float) -> None:
        self._deliver = deliver
        self._seconds = 1.0 / batches_a_second
        self._waiting: list[Message] = []
        self._sent_at = -self._seconds

    def add(self, message: Message) -> None:
        """Take a message; hand over all that wait where the last batch was long enough ago."""
        last = self._waiting[-1] if self._waiting else None
        if isinstance(message, Wrote) and isinstance(last, Wrote) and last.generation == message.generation:
            self._waiting[-1] = replace(message, tokens=(*last.tokens, *message.tokens))
        else:
            if isinstance(message, _NEWEST_ONLY):
                self._waiting = [other for other in self._waiting if type(other) is not type(message)]
            self._waiting.append(message)
        if time.monotonic() - self._sent_at >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Hand over all that wait."""
        if self._waiting:
            batch, self._waiting = tuple(self._waiting), []
            self._sent_at = time.monotonic()
            self._deliver(batch)
