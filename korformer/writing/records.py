"""A generated token as a session remembers it. Without torch: a screen shows these before any model is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Origin = Literal["written", "generated", "edited"]
"""Typed by a person; written by the model; typed over or into what the model wrote."""

EndReason = Literal["end", "joined", "stop", "sentence", "length", "cancelled", "failed"]
"""The document ended, the gap is filled, a stop string came, the sentence ended, the limit was reached, somebody asked
to stop, something went wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A token that could have come.

    Attributes:
        token_id: which.
        text: as the vocabulary shows it to people.
        probability: at temperature 1, before the filters.
        filtered_probability: what it was drawn with; 0 where it was cut.
        kept: whether the filters left it.
    """

    token_id: int
    text: str
    probability: float
    filtered_probability: float
    kept: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRecord:
    """A token of a generation.

    Attributes:
        token_id: which.
        text: the characters that it completed, possibly none.
        logprob: natural log of its probability at temperature 1, before the filters.
        filtered_probability: what it was drawn with, where candidates were recorded.
        entropy: of the model's distribution in nats, where candidates were recorded.
        candidates: the likeliest tokens at its place, likeliest first, and the token itself.
        chosen: a person chose it among the candidates.
        seconds: time from the token before it; 0 where it is not known any more.
    """

    token_id: int
    text: str
    logprob: float
    filtered_probability: float | None = None
    entropy: float | None = None
    candidates: tuple[Candidate, ...] = ()
    chosen: bool = False
    seconds: float = 0.0

    @property
    def probability(self) -> float:
        """At temperature 1, before the filters."""
        return math.exp(min(0.0, self.logprob))
