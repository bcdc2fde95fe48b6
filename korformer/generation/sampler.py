"""One draw of a token: mask what may never come, filter, draw by key, and tell the alternatives if asked.

Legend: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from korformer.errors import ModelDirectoryError, UsageError
from korformer.generation.filters import LEAST_LOG, filter_scores
from korformer.generation.settings import SamplingSettings
from korformer.generation.utf8 import BOUNDARY, ContinuationTable, advance
from korformer.randomness import uniform
from korformer.text.vocabulary import CLS_ID, MASK_ID, PAD_ID, SEP_ID, UNK_ID

NEVER_WRITTEN = (PAD_ID, UNK_ID, CLS_ID, MASK_ID)


class TokenTexts(Protocol):
    """What is needed of a vocabulary here."""

    @property
    def size(self) -> int:
        """Number of tokens."""
        ...

    @property
    def scheme(self) -> str:
        """`lossless` or `bert`."""
        ...

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Ids of a text."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 bytes that the token adds to the text; empty for special tokens."""
        ...


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A token that could have come.

    Attributes:
        token_id: which.
        probability: at temperature 1, before the filters.
        filtered_probability: what it was drawn with; 0 where it was cut.
        kept: whether the filters left it.
    """

    token_id: int
    probability: float
    filtered_probability: float
    kept: bool


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A drawn token.

    Attributes:
        token_id: which.
        logprob: natural log of its probability at temperature 1, before filters, bans and biases.
        alternatives: the likeliest tokens by that probability, likeliest first, and the drawn one; empty if not asked.
        entropy: of those probabilities, in nats; None if alternatives were not asked for.
    """

    token_id: int
    logprob: float
    alternatives: tuple[Alternative, ...] = ()
    entropy: float | None = None


class Sampler:
    """Draws tokens of one vocabulary. Holds its tables, and nothing of any text.

    Args:
        vocabulary: whose tokens are drawn.
    """

    def __init__(self, vocabulary: TokenTexts) -> None:
        self.pieces = [vocabulary.token_bytes(token) for token in range(vocabulary.size)]
        for token in (*NEVER_WRITTEN, SEP_ID):
            self.pieces[token] = b""
        self.table = ContinuationTable(self.pieces, end_id=SEP_ID)
        self.begins_with_space = torch.tensor([piece.startswith(b" ") for piece in self.pieces])
        self._settings: SamplingSettings | None = None
        self._bias: tuple[Tensor, Tensor] | None = None
        self._banned: Tensor | None = None

    def draw(
        self,
        logits_V: Tensor,
        tokens: Sequence[int],
        settings: SamplingSettings,
        *,
        seed: int,
        alternatives: int = 0,
        only: Tensor | None = None,
        chosen: int | None = None,
    ) -> Draw:
        """Draw the token that follows `tokens`.

        Its randomness depends on the seed and on the number of tokens before it, on nothing else.

        Args:
            logits_V: the model's scores, (V,), on any device.
            tokens: the whole text so far, [CLS] included.
            settings: how to draw; its own seed is not looked at.
            seed: decides the draw.
            alternatives: how many of the likeliest tokens to tell; costs nothing at 0.
            only: (V,) bool, tokens that may come at this place; any where it is None.
            chosen: the token to take, whatever the settings say; it is told what it would have been drawn with.

        Raises:
            UsageError: `chosen` or the settings name a token that the vocabulary lacks, or everything that could come
                is banned.
            ModelDirectoryError: the scores are not numbers.
        """
        raw = logits_V.detach().to("cpu", torch.float32)
        if not raw.max().isfinite():  # the maximum of scores with a NaN among them is NaN
            raise ModelDirectoryError("the model's output is not a number", hint="Its weights are damaged.")
        allowed = self.table.allowed(advance(BOUNDARY, self.table.unfinished(tokens)))
        if only is not None:
            allowed = allowed & only
        draws = uniform("generation", seed, len(tokens), shape=(2,))
        filtered = filter_scores(
            self._prepared(raw, allowed, settings),
            tokens,
            settings,
            pieces=self.pieces,
            chance=lambda: float(draws[1]),
        )
        probabilities = torch.softmax(filtered.double(), dim=0)
        if chosen is not None:
            self._check_ids("chosen token", [chosen])
        token = _place(probabilities, float(draws[0])) if chosen is None else chosen
        logs = torch.log_softmax(raw, dim=0)
        return Draw(
            token_id=token,
            logprob=float(logs[token]),
            alternatives=_alternatives(logs, allowed, filtered, probabilities, token, alternatives)
            if alternatives
            else (),
            entropy=_entropy(raw, logs) if alternatives else None,
        )

    def _prepared(self, raw: Tensor, allowed: Tensor, settings: SamplingSettings) -> Tensor:
        """The scores with biases added and everything dropped that may not come."""
        if settings is not self._settings:
            self._bias, self._banned = self._tables(settings)
            self._settings = settings
        scores = raw.masked_fill(~allowed, -torch.inf)
        if self._bias is not None:
            scores[self._bias[0]] += self._bias[1]
        if self._banned is not None:
            scores[self._banned] = -torch.inf
        if scores.max() == -torch.inf:
            raise UsageError("every token that could come is banned", hint="Ban fewer tokens.")
        return scores

    def _tables(self, settings: SamplingSettings) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
        self._check_ids("logit_bias", settings.logit_bias)
        self._check_ids("banned_tokens", settings.banned_tokens)
        bias = (
            (torch.tensor(list(settings.logit_bias)), torch.tensor(list(settings.logit_bias.values())))
            if settings.logit_bias
            else None
        )
        return bias, torch.tensor(settings.banned_tokens) if settings.banned_tokens else None

    def _check_ids(self, name: str, ids: Iterable[int]) -> None:
        unknown = [str(token) for token in ids if token >= len(self.pieces)]
        if unknown:
            raise UsageError(
                f"no such token: {', '.join(unknown)}", where=name, hint=f"Ids go from 0 to {len(self.pieces) - 1}."
            )


def _place(probabilities_V: Tensor, chance: float) -> int:
    """Where `chance` in [0, 1) falls when the probabilities are laid end to end; never on one of 0."""
    mass = torch.cumsum(probabilities_V, dim=0)
    place = int(torch.searchsorted(mass, chance * float(mass[-1]), right=True))
    return place if place < len(mass) else int(torch.nonzero(probabilities_V)[-1])


def _entropy(raw_V: Tensor, logs_V: Tensor) -> float:
    """In nats."""
    return -float((torch.softmax(raw_V, dim=0) * logs_V.clamp_min(LEAST_LOG)).sum())


def _alternatives(
    logs_V: Tensor, allowed_V: Tensor, filtered_V: Tensor, probabilities_V: Tensor, drawn: int, count: int
) -> tuple[Alternative, ...]:
    """The `count` likeliest tokens among those allowed, and the drawn one wherever it ranks.

    Args:
        logs_V: log-probabilities before the filters, float32.
        allowed_V: which tokens may come at this place, bool.
        filtered_V: scores after the filters, minus infinity where a token was cut.
        probabilities_V: what the token was drawn with, float64.
        drawn: the drawn token.
        count: of the likeliest.
    """
    candidates = logs_V.masked_fill(~allowed_V, -torch.inf)
    tokens = torch.topk(candidates, min(count, int(allowed_V.sum()))).indices
    if drawn not in tokens.tolist():
        tokens = torch.cat([tokens, tokens.new_tensor([drawn])])
    before, after, kept = logs_V[tokens].exp(), probabilities_V[tokens], filtered_V[tokens] > -torch.inf
    columns = (tokens.tolist(), before.tolist(), after.tolist(), kept.tolist())
    return tuple(
        Alternative(token_id=token, probability=one, filtered_probability=other, kept=left)
        for token, one, other, left in zip(*columns, strict=True)
    )
