"""What the engine tells. It tells in batches, so that a screen draws no more often than eyes see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from korformer.errors import KorformerError
from korformer.writing.records import EndReason, TokenRecord

EngineState = Literal["empty", "loading", "idle", "reading", "writing", "working"]
"""No model; one is being loaded; ready; reading the text; writing; something short, such as looking at a token."""

LARGEST_HASHES = 256
"""Rounds of hashing that a model can have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """Anything that is told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StateChanged(Message):
    """The engine does something else now."""

    state: EngineState


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadProgress(Message):
    """How far the loading of a model is: `step` of `steps` begins, and what that is."""

    step: int
    steps: int
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """A model that is loaded.

    Attributes:
        path: its directory.
        name: the last part of that.
        device: where its weights are.
        weights: their precision in single steps.
        window_tokens: what it reads at most.
        parameters: how many numbers it consists of.
        hashes: rounds of hashing that it works with.
        own_hashes: those that it was trained with.
        vocabulary_size: tokens that it knows.
        vocabulary: fingerprint of its vocabulary.
        fills_in_the_middle: whether it was trained to write between two texts.
    """

    path: Path
    name: str
    device: str
    weights: str
    window_tokens: int
    parameters: int
    hashes: int
    own_hashes: int
    vocabulary_size: int
    vocabulary: str
    fills_in_the_middle: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelLoaded(Message):
    """A model is ready, or has another number of hash rounds now."""

    info: ModelInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingProgress(Message):
    """How far the text is read; `seconds_left` is None until there is a pace to tell it from."""

    done: int
    total: int
    tokens_per_second: float
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextMeter(Message):
    """How much of the text up to the cursor the model sees.

    Attributes:
        window_tokens: what it can see.
        text_tokens: tokens up to the cursor.
        read_tokens: those that it sees, or would see when it writes.
        outside_tokens, outside_characters: at the beginning, that it does not see any more.
    """

    window_tokens: int
    text_tokens: int
    read_tokens: int
    outside_tokens: int
    outside_characters: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Wrote(Message):
    """Tokens that came.

    Attributes:
        generation: the number that `generate` was given.
        tokens: since the last such message.
        tokens_per_second: over the last second or so.
        meter: with them.
    """

    generation: int
    tokens: tuple[TokenRecord, ...]
    tokens_per_second: float
    meter: ContextMeter


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationEnded(Message):
    """A generation is over; what came of it was told before.

    Attributes:
        generation: the number that `generate` was given.
        reason: why.
        seed: of the first draw; None where there was none.
        tokens: how many were drawn.
        tokens_per_second: after the first.
    """

    generation: int
    reason: EndReason
    seed: int | None
    tokens: int
    tokens_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A stretch of the text that a token attended to.

    Attributes:
        start, end: its characters.
        weight: its share of the attention, of all heads of all layers.
        peak_start, peak_end: the token in it with the largest share.
    """

    start: int
    end: int
    weight: float
    peak_start: int
    peak_end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Lens:
    """What the model attended to when it wrote a token, or would write the next one.

    Attributes:
        offset: where that token stands.
        passages: strongest first.
    """

    offset: int
    passages: tuple[Passage, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attended(Message):
    """The lens on the running generation, a few times a second while it is on."""

    generation: int
    lens: Lens


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspected(Message):
    """What could have stood at a place.

    Attributes:
        tag: what `inspect` was given.
        start, end: characters of the token that stands there; equal at the end of the text.
        record: that token with its candidates; at the end of the text the likeliest one.
        lens: what the model attended to there.
    """

    tag: object
    start: int
    end: int
    record: TokenRecord
    lens: Lens


@dataclass(frozen=True, kw_only=True, slots=True)
class Notified(Message):
    """One sentence a person should read."""

    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed(Message):
    """Something did not work. The engine goes on with what it had.

    Attributes:
        doing: "load", "generate", "prepare", "inspect", "rehash", "save" or "restore".
        error: what to tell.
    """

    doing: str
    error: KorformerError


@dataclass(frozen=True, kw_only=True, slots=True)
class StateSaved(Message):
    """What the model has read is on disk: so many tokens."""

    path: Path
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StateRestored(Message):
    """What the model had read is there again: so many tokens."""

    tokens: int
