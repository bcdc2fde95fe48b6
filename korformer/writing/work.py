"""What the engine's thread does: load a model, read, write, look. Used by that thread alone.

Everything takes the event that cancels it, and tells what comes of it through `tell`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from korformer.errors import UsageError
from korformer.events import Event, Notice, Progress
from korformer.generation.settings import SamplingSettings
from korformer.writing.draft import Draft
from korformer.writing.messages import (
    LARGEST_HASHES,
    EngineState,
    Inspected,
    LoadProgress,
    Message,
    ModelInfo,
    ModelLoaded,
    Notified,
    ReadingProgress,
    StateRestored,
    StateSaved,
)

if TYPE_CHECKING:
    from korformer.model.decode import Precision
    from korformer.writing.reader import Reader

CANDIDATES = 10
"""Candidates that are recorded with each token, or looked at, unless another number is set."""

LOAD_STEPS = ("importing torch", "reading and checking the files", "preparing the weights", "preparing the vocabulary")


class Work:
    """A model and what can be done with it.

    Args:
        tell: takes messages.
        enter: told what sort of work begins.

    Attributes:
        settings: of the sampler, read at every token.
        candidates: recorded with each token, read at every token.
        lens: whether attention is watched, read at every token.
        hashes: rounds of hashing, looked at before every job and token; None for those that the model has.
        info: of the model that is loaded; None without one.
    """

    def __init__(self, tell: Callable[[Message], None], enter: Callable[[EngineState], None]) -> None:
        self.settings = SamplingSettings()
        self.candidates = CANDIDATES
        self.lens = False
        self.hashes: int | None = None
        self.info: ModelInfo | None = None
        self._tell = tell
        self._enter = enter
        self._reader: Reader | None = None

    def _needed(self) -> Reader:
        if self._reader is None:
            raise UsageError("no model is loaded", hint="Open one first.")
        self._take_hashes(self._reader)
        return self._reader

    def want_hashes(self, hashes: int) -> None:
        """Use so many rounds from the next token on, where a model can have them; called from any thread."""
        if 1 <= hashes <= LARGEST_HASHES:
            self.hashes = hashes

    def _take_hashes(self, reader: Reader) -> None:
        """Let the model work with the rounds that are wanted now."""
        if self.hashes is not None and self.hashes != reader.hashes:
            self._enter("reading")
            reader.rehash(self.hashes)
            self.info = reader.info
            self._tell(ModelLoaded(info=self.info))

    def load(self, path: Path, weights: Precision, hashes: int | None, device: str) -> None:
        self._enter("loading")

        def begin(step: int) -> None:
            self._tell(LoadProgress(step=step, steps=len(LOAD_STEPS), what=LOAD_STEPS[step - 1]))

        begin(1)
        from korformer.model.directory import load_model
        from korformer.writing.reader import Reader

        begin(2)
        loaded = load_model(path, n_hashes=hashes, device=device)
        begin(3)
        reader = Reader(loaded, weights, listen=lambda: begin(4))
        self._reader, self.info, self.hashes = reader, reader.info, None
        self._tell(ModelLoaded(info=self.info))

    def generate(
        self, cancel: threading.Event, draft: Draft, generation: int, first_token: int | None, max_tokens: int | None
    ) -> None:
        from korformer.writing.run import Run

        reader = self._needed()
        self._enter("reading")
        reader.window.watch = self.lens
        run = Run(
            reader,
            generation,
            tell=self._tell,
            came=lambda: self._enter("writing"),
            lens=lambda: self.lens,
            between=lambda: self._take_hashes(reader),
        )
        run.write(
            draft,
            _Override(lambda: self.settings, max_tokens),
            candidates=lambda: self.candidates,
            chosen=first_token,
            listen=self._listener(),
            cancelled=cancel.is_set,
        )

    def prepare(self, cancel: threading.Event, draft: Draft) -> None:
        reader = self._needed()
        tokenized = reader.tokenize(draft)
        self._tell(reader.meter(tokenized))
        self._enter("reading")
        reader.read(tokenized, listen=self._listener(), cancelled=cancel.is_set)

    def measure(self, draft: Draft) -> None:
        if self._reader is not None:
            self._tell(self._reader.meter(self._reader.tokenize(draft)))

    def inspect(self, cancel: threading.Event, draft: Draft, offset: int, tag: object) -> None:
        reader = self._needed()
        self._enter("working")
        from korformer.writing.looking import inspect

        start, end, record, lens = inspect(
            reader,
            draft,
            offset,
            self.settings,
            self.candidates or CANDIDATES,
            listen=self._listener(),
            cancelled=cancel.is_set,
        )
        self._tell(Inspected(tag=tag, start=start, end=end, record=record, lens=lens))

    def rehash(self, cancel: threading.Event, hashes: int, draft: Draft | None) -> None:
        reader = self._needed()
        if hashes != self.hashes:  # it was refused, or another number is wanted by now
            reader.check_hashes(hashes)
            return
        if draft is not None:
            self._enter("reading")
            reader.read(reader.tokenize(draft), listen=self._listener(), cancelled=cancel.is_set)

    def save(self, path: Path) -> None:
        if self._reader is not None:
            self._enter("working")
            tokens = self._reader.save_state(path)
            if tokens:
                self._tell(StateSaved(path=path, tokens=tokens))

    def restore(self, path: Path) -> None:
        reader = self._needed()
        self._enter("working")
        self._tell(StateRestored(tokens=reader.restore_state(path)))

    def _listener(self) -> Callable[[Event], None]:
        """Turns the library's events into messages, with the time that is left."""
        began = time.monotonic()

        def listen(event: Event) -> None:
            if isinstance(event, Notice):
                self._tell(Notified(text=event.text, level=event.level))
            elif isinstance(event, Progress) and event.total and event.total > 1:
                nonlocal began
                if event.done == 0:
                    began = time.monotonic()
                self._tell(_reading(event.done, event.total, time.monotonic() - began))

        return listen


class _Override:
    """Settings of the moment, with another limit where one is given."""

    def __init__(self, settings: Callable[[], SamplingSettings], max_tokens: int | None) -> None:
        self._settings = settings
        self._max_tokens = max_tokens
        self._given: SamplingSettings | None = None
        self._changed: SamplingSettings | None = None

    def __call__(self) -> SamplingSettings:
        given = self._settings()
        if self._max_tokens is None:
            return given
        if self._changed is None or given is not self._given:
            update = {"max_new_tokens": self._max_tokens, "sentence_tokens": 0}
            self._given, self._changed = given, given.model_copy(update=update)
        return self._changed


def _reading(done: int, total: int, seconds: float) -> ReadingProgress:
    pace = done / seconds if done and seconds > 0 else 0.0
    return ReadingProgress(
        done=done,
        total=total,
        tokens_per_second=pace,
        seconds_left=(total - done) / pace if pace else None,
    )
