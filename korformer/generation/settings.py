"""The controls of the sampler."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import Field, field_validator

from korformer.config import Settings

Share = Annotated[float, Field(ge=0.0, le=1.0)]
TokenId = Annotated[int, Field(ge=0)]
RangeTokens = Annotated[int, Field(ge=0)]

MAX_SEED = 2**63 - 1


class SamplingSettings(Settings):
    """How the next token is chosen, and when to stop. Immutable: a running generation reads one snapshot a token.

    The filters work in the order of llama.cpp: bias and bans, penalties, DRY, top-k, typical, top-p, min-p, XTC,
    temperature.
    """

    temperature: Annotated[float, Field(ge=0.0, le=100.0)] = 1.0
    """Below 1 likely tokens become likelier, above 1 less so; 0 takes the likeliest. Comes after the filters."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Keep this many of the likeliest tokens; 0 keeps all."""
    top_p: Share = 0.9
    """Keep the smallest set of likeliest tokens whose probability reaches this (nucleus sampling); 1 keeps all."""
    min_p: Share = 0.0
    """Keep tokens at least this likely in proportion to the likeliest one; 0 keeps all."""
    typical_p: Share = 1.0
    """Keep the tokens whose information is closest to the entropy, up to this probability; 1 keeps all."""
    repetition_penalty: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0
    """Divides positive scores of tokens already there, multiplies negative ones; 1 changes nothing."""
    presence_penalty: Annotated[float, Field(ge=-10.0, le=10.0)] = 0.0
    """Subtracted from the score of every token already there."""
    frequency_penalty: Annotated[float, Field(ge=-10.0, le=10.0)] = 0.0
    """Subtracted from a token's score once for each time it is already there."""
    penalty_range: RangeTokens = 512
    """Newest tokens that the three penalties look at, prompt included; 0 is the whole text (its last 32,768)."""
    dry_multiplier: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    """Strength of the penalty on going on with a passage already written; 0 switches DRY off."""
    dry_base: Annotated[float, Field(ge=1.0, le=10.0)] = 1.75
    """The DRY penalty grows by this factor with every token that the repeated passage is longer."""
    dry_allowed_length: Annotated[int, Field(ge=1)] = 2
    """Repeated passages shorter than this many tokens cost nothing."""
    dry_range: RangeTokens = 0
    """Newest tokens in which DRY looks for the passage; 0 is the whole text (its last 32,768)."""
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    """A passage is never followed across these strings."""
    xtc_probability: Share = 0.0
    """How often XTC acts: it then drops every token above the threshold but the least likely of them."""
    xtc_threshold: Share = 0.1
    """Probability from which a token is obvious to XTC; above 0.5 it never acts."""
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-1000.0, le=1000.0)]] = Field(default_factory=dict)
    """Added to the scores of single tokens, by token id."""
    banned_tokens: tuple[TokenId, ...] = ()
    """Ids of tokens that never come."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    """Decides every draw: the token at a place depends on the seed and the place only. None draws a seed."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 256
    """Tokens to write at most."""
    sentence_tokens: Annotated[int, Field(ge=0)] = 0
    """Tokens that may come on top of that until the sentence ends; 0 stops wherever the text is."""
    stop: tuple[str, ...] = ()
    """Strings that end the text when they come; they are not part of it."""

    @field_validator("stop", "dry_sequence_breakers")
    @classmethod
    def _real_strings(cls, strings: tuple[str, ...]) -> tuple[str, ...]:
        if "" in strings:
            raise ValueError("an empty string is everywhere; leave it out")
        return tuple(unicodedata.normalize("NFC", string) for string in strings)
