"""A text at one moment, as the engine takes it: it shares nothing that changes with the session."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedRun:
    """Tokens that stand in the text as the model wrote them.

    Attributes:
        start, end: their characters in the text.
        token_ids: which; at least one.
        whole_start: whether the first one is the first of its generation, so that the text before it was read alone.
        space_owed: whether that token brought the space before `start` too.
        vocabulary: fingerprint of the vocabulary of the ids.
    """

    start: int
    end: int
    token_ids: tuple[int, ...]
    whole_start: bool
    space_owed: bool
    vocabulary: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A text and where to write in it.

    Attributes:
        text: all of it.
        cursor: characters before the place to write at.
        runs: generated tokens in it, in order.
    """

    text: str
    cursor: int
    runs: tuple[GeneratedRun, ...] = ()

    @property
    def before(self) -> str:
        """The text before the cursor."""
        return self.text[: self.cursor]

    @property
    def after(self) -> str:
        """The text behind the cursor."""
        return self.text[self.cursor :]
