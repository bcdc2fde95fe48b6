"""One generation: the tokens of a stream as messages, with pace, meter and lens."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from korformer.events import Listener
from korformer.generation.settings import SamplingSettings
from korformer.writing.draft import Draft
from korformer.writing.looking import lens_of
from korformer.writing.messages import Attended, GenerationEnded, Message, Notified, Wrote
from korformer.writing.reader import Reader, Writing
from korformer.writing.records import EndReason, TokenRecord

PACE_SECONDS = 1.0
"""The live pace is that of so long, or of the last two tokens."""

LENS_SECONDS = 0.2
"""The lens is told no more often."""


class Run:
    """Writes once.

    Args:
        reader: what to write with.
        generation: the number to tell what came of it by.
        tell: takes messages.
        came: called whenever a token is there.
        lens: whether attention is wanted.
        between: called before the next token is asked for.
    """

    def __init__(
        self,
        reader: Reader,
        generation: int,
        *,
        tell: Callable[[Message], None],
        came: Callable[[], None],
        lens: Callable[[], bool],
        between: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._generation = generation
        self._tell = tell
        self._came = came
        self._lens = lens
        self._between = between
        self._times: deque[float] = deque()
        self._texts: list[str] = []
        self._held: list[TokenRecord] = []
        self._lens_at = 0.0

    def write(
        self,
        draft: Draft,
        settings: Callable[[], SamplingSettings],
        *,
        candidates: Callable[[], int],
        chosen: int | None,
        listen: Listener,
        cancelled: Callable[[], bool],
    ) -> None:
        """Write at the cursor and tell how it ended; arguments as in `Reader.write`."""
        writing = self._reader.write(
            draft, settings, candidates=candidates, chosen=chosen, listen=listen, cancelled=cancelled
        )
        if draft.cursor < len(draft.text) and not writing.between:
            self._tell(Notified(text="what follows the cursor is ignored: the model was not trained to fill in gaps"))
        for number, token in enumerate(writing.stream):
            self._came()
            writing.window.watch = self._lens()
            now = time.monotonic()
            seconds = now - self._times[-1] if self._times else 0.0
            self._times.append(now)
            self._take(self._reader.record(token, chosen=number == 0 and chosen is not None, seconds=seconds), writing)
            self._between()
        reason: EndReason = writing.stream.summary.stop_reason or "cancelled"
        self._tell_end(writing, "joined" if reason == "end" and writing.between else reason)

    def _take(self, record: TokenRecord, writing: Writing) -> None:
        """Tell a token; those that complete no character wait for the one that does."""
        self._texts.append(record.text)
        self._held.append(record)
        if record.text:
            held, self._held = tuple(self._held), []
            self._tell(
                Wrote(
                    generation=self._generation,
                    tokens=held,
                    tokens_per_second=self._pace(),
                    meter=self._reader.meter_of(writing),
                )
            )
        now = time.monotonic()
        if self._lens() and now - self._lens_at >= LENS_SECONDS:
            self._lens_at = now
            lens = lens_of(self._reader, writing, self._texts)
            if lens is not None:
                self._tell(Attended(generation=self._generation, lens=lens))

    def _pace(self) -> float:
        """Tokens a second of late."""
        while len(self._times) > 2 and self._times[-1] - self._times[0] > PACE_SECONDS:
            self._times.popleft()
        seconds = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / seconds if seconds > 0 else 0.0

    def _tell_end(self, writing: Writing, reason: EndReason) -> None:
        summary = writing.stream.summary
        self._tell(
            GenerationEnded(
                generation=self._generation,
                reason=reason,
                seed=summary.seed if summary.tokens else None,
                tokens=summary.tokens,
                tokens_per_second=summary.tokens_per_second,
            )
        )
