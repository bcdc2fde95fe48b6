"""Which tokens a model is to guess, and what stands in their place (Devlin et al. 2019).

Of a sequence's tokens that are not special, 15% are chosen; of these 80% become [MASK], 10% another token, 10% stay.
The choice is a function of (seed, step, sample), so each epoch brings another one, and nothing else changes it.

Legend: B sequences, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from korformer.config import Settings
from korformer.data.edges import TokenEdges
from korformer.data.packing import NO_TARGET
from korformer.randomness import uniform
from korformer.text.special import MASK_ID, SPECIAL_TOKENS

LONGEST_WORD_TOKENS = 16
"""A word of more tokens, such as text without spaces, counts as several."""

Share = Annotated[float, Field(ge=0, le=1)]


class MaskSettings(Settings):
    """How tokens are hidden."""

    mask_rate: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the tokens, special ones apart, that are to be guessed."""
    masking: Literal["token", "word", "span"] = "token"
    """What is chosen: tokens; words with all their tokens (Korean 어절); or spans, several words in a row, as in ERNIE
    and SpanBERT."""
    mask_share: Share = 0.8
    """Share of those that become [MASK]."""
    random_share: Share = 0.1
    """Share of those that become any token but a special one; the rest stays as it is."""
    span_words: Annotated[float, Field(ge=1)] = 3.0
    """Mean length of a span in words; lengths are geometrically distributed."""
    longest_span_words: Annotated[int, Field(ge=1)] = 10
    """Longest span."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.mask_share + self.random_share > 1:
            raise ValueError(
                f"mask_share + random_share = {self.mask_share + self.random_share:g} is more than all; "
                f"with this mask_share, random_share is at most {1 - self.mask_share:g}"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class Masked:
    """Sequences with tokens hidden.

    Attributes:
        tokens: (B, L) int64, what the model reads.
        targets: (B, L) int64, the true token where it is to be guessed, else -100.
    """

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Tokens to be guessed."""
        return int((self.targets != NO_TARGET).sum())


def mask_tokens(
    tokens: NDArray[np.int64],
    documents: NDArray[np.int32],
    *,
    samples: range,
    seed: int,
    step: int,
    settings: MaskSettings,
    edges: TokenEdges,
) -> Masked:
    """Hide tokens of each sequence; neither padding nor special tokens.

    Args:
        tokens: (B, L) ids.
        documents: (B, L), -1 on padding.
        samples: number of each sequence within the step.
        seed, step: the rest of the key.
        settings: how.
        edges: knows where words begin; of the same vocabulary.
    """
    hidden, targets = tokens.copy(), np.full_like(tokens, NO_TARGET)
    free = (documents >= 0) & (tokens >= len(SPECIAL_TOKENS))
    for row, sample in enumerate(samples):
        key = ("mask", seed, step, sample)
        places = np.flatnonzero(free[row])
        if not len(places):
            continue
        wanted = max(1, round(settings.mask_rate * len(places)))
        if settings.masking == "token":
            scores = uniform(*key, "choice", shape=(len(places),))
            places = np.sort(places[np.argsort(scores, kind="stable")[:wanted]])
            fates = uniform(*key, "fate", shape=(len(places),))
        else:
            units = _units(tokens[row], places, edges)
            chosen, unit = _choose(units, wanted, key, settings)
            places = places[chosen]
            # A span's tokens share their fate (SpanBERT), a word's do not (BERT).
            drawn = uniform(*key, "fate", shape=(len(units),))
            fates = drawn[unit] if settings.masking == "span" else drawn[: len(places)]
        targets[row, places] = tokens[row, places]
        is_random = (fates >= settings.mask_share) & (fates < settings.mask_share + settings.random_share)
        hidden[row, places[fates < settings.mask_share]] = MASK_ID
        others = uniform(*key, "random", shape=(len(places),))[is_random]
        plain = edges.vocabulary.size - len(SPECIAL_TOKENS)
        hidden[row, places[is_random]] = len(SPECIAL_TOKENS) + (others * plain).astype(np.int64)
    return Masked(tokens=hidden, targets=targets)


def _units(row: NDArray[np.int64], places: NDArray[np.int64], edges: TokenEdges) -> NDArray[np.int64]:
    """Number of the word that each of the places (n,) belongs to, from 0; words of one document stand side by side,
    and between documents a number is left out.
    """
    begins = edges.word_begins(row)[places]
    new_document = np.diff(places, prepend=places[0]) > 1  # special tokens lie between
    begins[0] = True
    first = np.flatnonzero(begins)
    inside = np.arange(len(places)) - first[np.cumsum(begins) - 1]
    begins |= inside % LONGEST_WORD_TOKENS == 0
    return np.cumsum(begins) - 1 + np.cumsum(new_document)


def _choose(
    units: NDArray[np.int64], wanted: int, key: tuple[int | str, ...], settings: MaskSettings
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of chosen tokens in rising order, with the number of the span or word that each was chosen in.

    Units are taken in random order until the next one would lead further away from the number wanted than stopping.
    """
    numbers, first, sizes = np.unique(units, return_index=True, return_counts=True)
    order = np.argsort(uniform(*key, "choice", shape=(len(numbers),)), kind="stable")
    lengths = np.ones(len(numbers), np.int64)
    if settings.masking == "span":
        going_on = 1 - 1 / settings.span_words
        drawn = uniform(*key, "length", shape=(len(numbers),))
        geometric = np.floor(np.log1p(-drawn) / np.log(going_on)) + 1 if going_on > 0 else np.ones(len(numbers))
        lengths = np.minimum(geometric, settings.longest_span_words).astype(np.int64)
    span_of = np.full(len(numbers), -1, np.int64)
    count = 0
    for start in order.tolist():
        for unit in range(start, min(start + int(lengths[start]), len(numbers))):
            if span_of[unit] >= 0 or numbers[unit] - numbers[start] != unit - start:
                break  # what is chosen already, or another document
            over = count + int(sizes[unit]) - wanted
            if over > 0 and over >= wanted - count and count:
                break
            span_of[unit] = start
            count += int(sizes[unit])
        if count >= wanted:
            break
    chosen_units = np.flatnonzero(span_of >= 0)
    chosen = np.concatenate([np.arange(first[unit], first[unit] + sizes[unit]) for unit in chosen_units.tolist()])
    return chosen, np.repeat(span_of[chosen_units], sizes[chosen_units])
