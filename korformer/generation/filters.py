"""The chain of filters from a model's scores to the tokens that may be drawn, in the order of llama.cpp:

    penalties -> DRY -> top-k -> typical -> top-p -> min-p -> XTC -> temperature

Every filter takes and gives natural-log scores (V,) float32 that need not be normalised; a dropped token has -inf.
No filter drops the last token, and equally likely tokens are kept from the lowest id upwards.

Speed matters here: this runs between any two tokens. Operations that wake torch's thread pool for vectors of this size
(`exp`, `logsumexp`, dot products, large gathers) are avoided: on a busy machine waking takes ten times as long.

Legend: V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from korformer.generation.dry import breaker_tokens, dry
from korformer.generation.penalties import newest, penalize
from korformer.generation.settings import SamplingSettings
from korformer.generation.xtc import xtc

__all__ = ["SamplingSettings", "filter_scores", "min_p", "temper", "top_k", "top_p", "typical"]

ROUNDING = 1e-6
"""A mass this close below the wanted one counts as reached: float32 probabilities carry that much error."""

COLDEST = 1e-6
"""Lower temperatures would choose no differently, and float32 cannot divide by all of them."""

LEAST_LOG = -1e4
"""Stands for the logarithm of 0 where 0 times it must be 0."""

FIRST_CANDIDATES = 2048
"""Tokens that top-p sorts at first; in a trained model the nucleus is nearly always among them."""


def _keep_largest(scores_V: Tensor, cut: Tensor, count: int) -> Tensor:
    """Keep the `count` largest scores, of which `cut` is the least; equals by lowest id."""
    keep = scores_V > cut
    missing = count - int(keep.sum())
    keep[torch.nonzero(scores_V == cut).flatten()[:missing]] = True
    return scores_V.masked_fill(~keep, -torch.inf)


def top_k(scores_V: Tensor, k: int) -> Tensor:
    """Keep the `k` likeliest tokens; 0 keeps all."""
    if not 0 < k < scores_V.numel():
        return scores_V
    cut = torch.topk(scores_V, k, sorted=True).values[-1]
    return scores_V if cut == -torch.inf else _keep_largest(scores_V, cut, k)


def top_p(scores_V: Tensor, p: float) -> Tensor:
    """Keep the smallest set of likeliest tokens whose probability reaches `p`, the likeliest always; 1 keeps all.

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020.
    """
    if p >= 1.0:
        return scores_V
    candidates = min(FIRST_CANDIDATES, scores_V.numel())
    best = torch.topk(scores_V, candidates, sorted=True)
    last = _place_of_mass(torch.softmax(scores_V, dim=0)[best.indices], p)
    if last < candidates:
        return _keep_largest(scores_V, best.values[last], last + 1)
    # numpy sorts values without their places, four times as fast as torch sorts both.
    values = torch.from_numpy(np.sort(scores_V.numpy())[::-1].copy())
    last = _place_of_mass(torch.softmax(values, dim=0), p)
    return _keep_largest(scores_V, values[last], last + 1) if last < len(values) else scores_V


def _place_of_mass(probabilities: Tensor, p: float) -> int:
    """Index of the first of these probabilities with which their sum reaches `p`; their number where none does."""
    mass = torch.cumsum(probabilities, dim=0, dtype=torch.float64)
    return int(torch.searchsorted(mass, p - ROUNDING))


def typical(scores_V: Tensor, p: float) -> Tensor:
    """Keep the tokens whose information is closest to the entropy, up to a probability of `p`; 1 keeps all.

    Source: Meister et al., "Locally Typical Sampling", TACL 2023.
    """
    if p >= 1.0:
        return scores_V
    probabilities = torch.softmax(scores_V, dim=0)
    logs = torch.log_softmax(scores_V, dim=0)
    entropy = -(probabilities * logs.clamp_min(LEAST_LOG)).sum()
    order = _order((logs + entropy).abs())  # a dropped token is infinitely far away
    last = _place_of_mass(torch.from_numpy(probabilities.numpy()[order]), p)
    return scores_V.index_fill(0, torch.from_numpy(order[last + 1 :]), -torch.inf)


def _order(values_V: Tensor) -> NDArray[np.int64]:
    """Places of non-negative float32 values from the least up, equal ones as they stand.

    Such values sort as their bits do; with the place below them in one integer a plain sort, which is much faster than
    one that tracks places, gives both.
    """
    keys = values_V.numpy().view(np.uint32).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(keys), dtype=np.uint64)
    return (np.sort(keys) & np.uint64(0xFFFFFFFF)).astype(np.int64)


def min_p(scores_V: Tensor, p: float) -> Tensor:
    """Keep the tokens at least `p` times as likely as the likeliest; 0 keeps all.

    Source: Nguyen et al., "Turning Up the Heat: Min-p Sampling", 2024.
    """
    if p <= 0.0:
        return scores_V
    return scores_V.masked_fill(scores_V < scores_V.max() + math.log(p), -torch.inf)


def temper(scores_V: Tensor, temperature: float) -> Tensor:
    """Divide by the temperature; 0 keeps the likeliest token only, the lowest id of equals."""
    if temperature == 1.0:
        return scores_V
    if temperature == 0.0:
        alone = torch.full_like(scores_V, -torch.inf)
        alone[int(torch.argmax(scores_V))] = 0.0
        return alone
    # Relative to the largest, or a small temperature makes infinities of large scores.
    return (scores_V - scores_V.max()) / max(temperature, COLDEST)


def filter_scores(
    scores_V: Tensor,
    tokens: Sequence[int],
    settings: SamplingSettings,
    *,
    pieces: Sequence[bytes],
    chance: Callable[[], float],
) -> Tensor:
    """The whole chain.

    Args:
        scores_V: (V,) float32 on the CPU; at least one token above -inf.
        tokens: ids of the text so far.
        settings: which filters act, and how.
        pieces: UTF-8 bytes of each token of the vocabulary.
        chance: gives the number in [0, 1) that decides whether XTC acts.

    Returns:
        (V,) float32: log-probabilities up to a constant, -inf where a token was dropped.
    """
    scores_V = penalize(
        scores_V,
        newest(tokens, settings.penalty_range),
        repetition=settings.repetition_penalty,
        presence=settings.presence_penalty,
        frequency=settings.frequency_penalty,
    )
    if settings.dry_multiplier > 0.0:
        seen = newest(tokens, settings.dry_range)
        scores_V = dry(
            scores_V,
            seen,
            breaker_tokens([pieces[token] for token in seen], settings.dry_sequence_breakers),
            multiplier=settings.dry_multiplier,
            base=settings.dry_base,
            allowed_length=settings.dry_allowed_length,
        )
    scores_V = top_k(scores_V, settings.top_k)
    scores_V = typical(scores_V, settings.typical_p)
    scores_V = top_p(scores_V, settings.top_p)
    scores_V = min_p(scores_V, settings.min_p)
    if settings.xtc_probability > 0.0 and chance() < settings.xtc_probability:
        scores_V = xtc(scores_V, settings.xtc_threshold)
    return temper(scores_V, settings.temperature)
