"""The model's state over a text of any length.

A model reads at most its window. When a text outgrows it, the oldest tokens are dropped in steps of a quarter of the
window, so that the state is rebuilt once in many tokens and only grows in between. Where the cuts lie is a function of
the number of tokens alone, so that a resumed text is read exactly as it was when it was written. What is left after a
cut is read as it stands, without [CLS]: in training too a long document goes on without one in the next pack.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Protocol, runtime_checkable

from torch import Tensor

from korformer.events import Listener, Notice, Progress, ignore

READING = "reading the prompt"
"""Stage of the progress events."""

_SECONDS_BETWEEN_EVENTS = 0.1


class IncrementalState(Protocol):
    """What is known of a text that a model reads token by token; a function of the tokens alone."""

    @property
    def length(self) -> int:
        """Tokens read so far."""

    @property
    def max_tokens(self) -> int:
        """Most tokens that can be read."""

    def append(self, token_ids: Sequence[int], *, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """Read tokens; the scores of the token that follows, (V,) float32.

        `progress` is called with the tokens read and to read, and may raise to stop: what the state holds then is the
        first `length` tokens.
        """
        ...

    def rewind(self, length: int) -> None:
        """Go back to the first `length` tokens."""
        ...


@runtime_checkable
class WatchedState(Protocol):
    """A state that can keep the attention of its last token."""

    watch: bool

    def attention(self, layer: int) -> Tensor:
        """The weights that each head of a layer gave to every position, (H, T) float32."""
        ...


class IncrementalModel(Protocol):
    """A model that can read token by token."""

    def new_state(self) -> IncrementalState:
        """A state that has read nothing."""
        ...


class Cancelled(Exception):
    """Reading was given up on request."""


def never() -> bool:
    """Nobody cancels."""
    return False


def window_start(length: int, window_tokens: int) -> int:
    """How many of `length` tokens are too old for the model to read: the least multiple of a quarter window that does.

    Args:
        length: tokens of the text.
        window_tokens: tokens that the model reads at most.
    """
    step = max(1, window_tokens // 4)
    return -(-max(0, length - window_tokens) // step) * step


class ContextWindow:
    """A text and the state of a model that has read the end of it.

    It can be kept between generations: a text that begins like the last one is read from the first difference on.

    Args:
        model: its weights must not change in the meantime.
    """

    def __init__(self, model: IncrementalModel) -> None:
        self._model = model
        self._watch = False
        self._state = model.new_state()
        self._read: list[int] = []
        self.window_tokens = self._state.max_tokens
        self.tokens: list[int] = []
        """The whole text. Not to be changed from outside."""
        self.start = 0
        """How many tokens at its beginning the model does not see."""

    @property
    def state(self) -> IncrementalState:
        """What the model has read: the tokens of the text from `start` on, or a beginning of those."""
        return self._state

    @property
    def watch(self) -> bool:
        """Whether the attention of the last token is kept, by a state that can."""
        return self._watch

    @watch.setter
    def watch(self, watch: bool) -> None:
        self._watch = watch
        if isinstance(self._state, WatchedState):
            self._state.watch = watch

    def adopt(self, state: IncrementalState, tokens: Sequence[int], *, start: int) -> None:
        """Go on with a state that was kept from another time; text that begins otherwise is read anew.

        Args:
            state: of the same model.
            tokens: what it has read.
            start: tokens of the text before those.
        """
        self._state, self._read, self.start = state, list(tokens), start
        self.tokens = []
        self.watch = self._watch

    def shared_with(self, tokens: Sequence[int]) -> int:
        """How many of `tokens`, from the first that fits the window on, need not be read again."""
        start = window_start(len(tokens), self.window_tokens)
        return self._known(tokens[start:]) if start == self.start else 0

    def _known(self, wanted: Sequence[int]) -> int:
        same = takewhile(lambda pair: pair[0] == pair[1], zip(self._read, wanted, strict=False))
        return min(sum(1 for _ in same), len(wanted) - 1)

    def read(
        self, tokens: Sequence[int], *, listen: Listener = ignore, cancelled: Callable[[], bool] = never
    ) -> Tensor:
        """Make `tokens` the text; the scores of the token that follows, (V,) float32.

        Args:
            tokens: at least one.
            listen: told how far the reading is, and when the text does not fit the window.
            cancelled: asked now and then; once it says yes, reading ends.

        Raises:
            Cancelled: on request; what was read until then need not be read again.
            ValueError: there are no tokens.
        """
        if not tokens:
            raise ValueError("a text has at least one token, [CLS]")
        self.tokens = list(tokens)
        return self._catch_up(listen, cancelled)

    def push(self, token: int, *, listen: Listener = ignore, cancelled: Callable[[], bool] = never) -> Tensor:
        """Add one token to the text; otherwise as `read`."""
        self.tokens.append(token)
        start = window_start(len(self.tokens), self.window_tokens)
        if start != self.start or self.start + len(self._read) != len(self.tokens) - 1:
            return self._catch_up(listen, cancelled)
        return self._append([token], None)

    def _catch_up(self, listen: Listener, cancelled: Callable[[], bool]) -> Tensor:
        start = window_start(len(self.tokens), self.window_tokens)
        wanted = self.tokens[start:]
        known = 0
        if start == self.start:
            known = self._known(wanted)
        elif start:
            listen(Notice(text=_notice(len(self.tokens), start, self.window_tokens)))
        self._state.rewind(known)
        self._read, self.start = self._read[:known], start
        return self._append(wanted[known:], _Watch(len(wanted) - known, listen, cancelled))

    def _append(self, tokens: Sequence[int], watch: _Watch | None) -> Tensor:
        try:
            if watch is None:
                scores = self._state.append(tokens)
            else:
                watch(0, len(tokens))
                scores = self._state.append(tokens, progress=watch)
                watch.finish()
        except Cancelled:
            self._read = [*self._read, *tokens][: self._state.length]
            raise
        except BaseException:
            # What a half-read state holds is anybody's guess.
            self._state, self._read = self._model.new_state(), []
            self.watch = self._watch
            raise
        self._read.extend(tokens)
        return scores


def _notice(length: int, start: int, window_tokens: int) -> str:
    return (
        f"the text has {length:,} tokens and the model reads {window_tokens:,}: "
        f"the first {start:,} are not read any more"
    )


class _Watch:
    """Turns a state's progress into events, not too many, and a request to stop into an end."""

    def __init__(self, total: int, listen: Listener, cancelled: Callable[[], bool]) -> None:
        self._total = total
        self._listen = listen
        self._cancelled = cancelled
        self._told = -1
        self._told_at = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Take `done` of `total` tokens; a state that reads known tokens again counts more of them than are new."""
        if self._cancelled():
            raise Cancelled
        now = time.monotonic()
        if now - self._told_at >= _SECONDS_BETWEEN_EVENTS and done < total:
            self._tell(self._total * done // total)
            self._told_at = now

    def finish(self) -> None:
        self._tell(self._total)

    def _tell(self, done: int) -> None:
        if done != self._told:
            self._told = done
            self._listen(Progress(stage=READING, done=done, total=self._total, unit="tokens"))
