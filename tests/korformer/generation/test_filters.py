"""Each filter against a slow definition written here, and against transformers where it has the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from korformer.generation import filters
from korformer.generation.settings import SamplingSettings

GONE = float("-inf")
SHARES = st.floats(0.0, 0.999)


@st.composite
def score_lists(draw: st.DrawFn) -> Tensor:
    """Scores with ties and tokens already dropped among them; at least one is left."""
    one = st.one_of(st.floats(-12, 12, width=32), st.integers(-3, 3).map(float), st.just(GONE))
    scores = draw(st.lists(one, min_size=1, max_size=60))
    if max(scores) == GONE:
        scores[draw(st.integers(0, len(scores) - 1))] = 0.0
    return torch.tensor(scores, dtype=torch.float32)


def probabilities(scores: Tensor) -> list[float]:
    """Softmax in float64, one number at a time."""
    largest = max(scores.tolist())
    weights = [math.exp(score - largest) for score in scores.tolist()]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def ranked(scores: Tensor) -> list[int]:
    """Tokens that are left, likeliest first, lower ids first among equals."""
    left = [token for token, score in enumerate(scores.tolist()) if score > GONE]
    return sorted(left, key=lambda token: (-scores[token].item(), token))


def kept(scores: Tensor) -> set[int]:
    return set(torch.nonzero(scores > GONE).flatten().tolist())


def shortest_reaching(order: list[int], share: list[float], p: float) -> set[int]:
    """The first of `order` whose sum reaches p, to within the rounding of float32; at least one."""
    for count, total in enumerate(accumulate(share[token] for token in order), start=1):
        if total >= p - filters.ROUNDING:
            return set(order[:count])
    return set(order)


def near_the_edge(order: list[int], share: list[float], p: float) -> bool:
    """Whether rounding may decide which token is the last."""
    sums = accumulate(share[token] for token in order)
    return any(abs(total - (p - filters.ROUNDING)) < 5e-7 for total in sums)


def assert_keeps(filtered: Tensor, scores: Tensor, wanted: set[int]) -> None:
    assert kept(filtered) == wanted
    survivors = sorted(wanted)
    assert torch.equal(filtered[survivors], scores[survivors])


@given(score_lists(), st.integers(0, 70))
def test_top_k_keeps_the_k_likeliest(scores: Tensor, k: int) -> None:
    wanted = ranked(scores)[:k] if k else ranked(scores)
    assert_keeps(filters.top_k(scores, k), scores, set(wanted))


@given(score_lists(), SHARES)
@settings(max_examples=300)
def test_top_p_keeps_the_smallest_set_that_reaches_p(scores: Tensor, p: float) -> None:
    share, order = probabilities(scores), ranked(scores)
    if near_the_edge(order, share, p):
        return
    assert_keeps(filters.top_p(scores, p), scores, shortest_reaching(order, share, p))


def test_top_p_is_not_a_tenth_of_the_mass() -> None:
    scores = torch.tensor([0.5, 0.3, 0.1, 0.06, 0.04]).log()
    assert kept(filters.top_p(scores, 0.9)) == {0, 1, 2}
    assert kept(filters.top_p(scores, 0.91)) == {0, 1, 2, 3}
    assert kept(filters.top_p(scores, 0.5)) == {0}
    assert kept(filters.top_p(scores, 0.0)) == {0}
    assert kept(filters.top_p(scores, 1.0)) == {0, 1, 2, 3, 4}


def test_top_p_finds_a_nucleus_larger_than_its_first_guess() -> None:
    size = 6 * filters.FIRST_CANDIDATES
    flat = torch.zeros(size)
    assert kept(filters.top_p(flat, 0.5)) == set(range(size // 2))
    steep = torch.linspace(0, 1, size)
    share, order = probabilities(steep), ranked(steep)
    assert kept(filters.top_p(steep, 0.7)) == shortest_reaching(order, share, 0.7)


@given(score_lists(), SHARES)
def test_min_p_keeps_what_is_likely_beside_the_likeliest(scores: Tensor, p: float) -> None:
    bar = max(scores.tolist()) + (math.log(p) if p else GONE)
    left = {token for token in kept(scores) if scores[token] >= bar}
    unsure = {token for token in kept(scores) if abs(scores[token].item() - bar) < 1e-5}
    assert kept(filters.min_p(scores, p)) - unsure == left - unsure
    assert kept(filters.min_p(scores, p))


@given(score_lists(), SHARES)
def test_typical_keeps_what_is_closest_to_the_entropy(scores: Tensor, p: float) -> None:
    share = probabilities(scores)
    left = [token for token in sorted(kept(scores)) if share[token] > 0]
    entropy = -math.fsum(share[token] * math.log(share[token]) for token in left)
    distance = {token: abs(-math.log(share[token]) - entropy) for token in left}
    order = sorted(left, key=lambda token: (distance[token], token))
    result = kept(filters.typical(scores, p))
    assert result
    # The result is a beginning of the order, up to tokens that rounding cannot tell apart …
    last = max(distance[token] for token in result)
    assert all(token in result for token in order if distance[token] < last - 1e-5)
    # … which reaches p and would not without its last token.
    mass = math.fsum(share[token] for token in result)
    assert mass >= p - 1e-5
    least = min(share[token] for token in result if distance[token] > last - 1e-5)
    largest = max(share[token] for token in result if distance[token] > last - 1e-5)
    assert len(result) == 1 or mass - max(least, largest) <= p + 1e-5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda s: filters.top_p(s, 0.9), transformers.TopPLogitsWarper(0.9)),
        (lambda s: filters.top_p(s, 0.3), transformers.TopPLogitsWarper(0.3)),
        (lambda s: filters.top_k(s, 40), transformers.TopKLogitsWarper(40)),
        (lambda s: filters.min_p(s, 0.05), transformers.MinPLogitsWarper(0.05)),
        (lambda s: filters.typical(s, 0.8), transformers.TypicalLogitsWarper(0.8)),
        (lambda s: filters.typical(s, 0.2), transformers.TypicalLogitsWarper(0.2)),
        (lambda s: torch.softmax(filters.temper(s, 0.7), 0).log(), None),
    ],
    ids=["top-p .9", "top-p .3", "top-k", "min-p", "typical .8", "typical .2", "temperature"],
)
def test_agrees_with_transformers(
    ours: Callable[[Tensor], Tensor], theirs: Callable[..., Tensor] | None, seed: int
) -> None:
    scores = torch.randn(3000, generator=torch.Generator().manual_seed(seed)) * 3
    if theirs is None:
        expected = torch.log_softmax(transformers.TemperatureLogitsWarper(0.7)(None, scores[None])[0], 0)
        torch.testing.assert_close(ours(scores), expected)
    else:
        assert torch.equal(ours(scores), theirs(None, scores[None])[0])


@given(score_lists(), st.floats(0.0, 3.0))
def test_temperature_keeps_the_order_and_sharpens(scores: Tensor, temperature: float) -> None:
    result = filters.temper(scores, temperature)
    assert int(torch.argmax(result)) == int(torch.argmax(scores))
    assert not result.isnan().any()
    if temperature > 0.1:
        scaled = [score / temperature for score in scores.tolist()]
        expected = probabilities(torch.tensor(scaled, dtype=torch.float64))
        assert probabilities(result) == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_temperature_zero_is_greedy_and_takes_the_lowest_id_of_equals() -> None:
    assert kept(filters.temper(torch.tensor([1.0, 7.0, 7.0, GONE]), 0.0)) == {1}


def test_a_minute_temperature_is_nearly_greedy_and_not_infinite() -> None:
    assert probabilities(filters.temper(torch.tensor([300.0, 299.0]), 1e-38)) == [1.0, 0.0]


def chain(scores: Tensor, given: SamplingSettings, chance: float = 0.0) -> Tensor:
    return filters.filter_scores(scores, [0], given, pieces=[b"x"] * len(scores), chance=lambda: chance)


def test_the_nucleus_is_taken_before_the_temperature() -> None:
    scores = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    hot = chain(scores, SamplingSettings(temperature=5.0, top_p=0.8))
    assert kept(hot) == {0, 1}
    assert probabilities(hot) == pytest.approx([x / (0.5**0.2 + 0.3**0.2) for x in (0.5**0.2, 0.3**0.2, 0, 0)])


def test_top_k_comes_before_typical_before_top_p_before_min_p() -> None:
    scores = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05]).log()
    # Over the three of top-k the first two have .82 of the mass; over all five they have .7.
    assert kept(chain(scores, SamplingSettings(top_k=3, top_p=0.8))) == {0, 1}
    assert kept(chain(scores, SamplingSettings(top_p=0.8))) == {0, 1, 2}
    # Typical drops the likeliest token, so that top-p counts the mass of the others.
    assert 0 not in kept(chain(scores, SamplingSettings(typical_p=0.3, top_p=0.9)))
    expected = filters.min_p(filters.top_p(filters.typical(scores, 0.6), 0.7), 0.6)
    assert torch.equal(chain(scores, SamplingSettings(typical_p=0.6, top_p=0.7, min_p=0.6, temperature=1.0)), expected)


def test_xtc_acts_as_often_as_it_should() -> None:
    scores = torch.tensor([0.5, 0.3, 0.2]).log()
    given = SamplingSettings(top_p=1.0, xtc_probability=0.4, xtc_threshold=0.25)
    assert kept(chain(scores, given, chance=0.39)) == {1, 2}
    assert kept(chain(scores, given, chance=0.4)) == {0, 1, 2}


def test_no_filter_changes_what_it_was_given() -> None:
    scores = torch.tensor([3.0, 2.0, 1.0, 0.0])
    everything = SamplingSettings(
        top_k=3,
        typical_p=0.9,
        top_p=0.9,
        min_p=0.1,
        xtc_probability=1.0,
        repetition_penalty=1.2,
        dry_multiplier=1.0,
        temperature=0.5,
    )
    filters.filter_scores(scores, [1, 2, 3, 1, 2, 3, 1, 2], everything, pieces=[b"x"] * 4, chance=lambda: 0.0)
    assert scores.tolist() == [3.0, 2.0, 1.0, 0.0]
