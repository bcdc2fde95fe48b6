from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import torch

from korformer.errors import ModelDirectoryError, UsageError
from korformer.generation.sampler import NEVER_WRITTEN, Sampler
from korformer.generation.settings import SamplingSettings

SEP = 3
OPEN = SamplingSettings(temperature=1.0, top_p=1.0)
GREEDY = SamplingSettings(temperature=0.0)


@pytest.fixture
def sampler(vocabulary: Any) -> Sampler:
    return Sampler(vocabulary)


def scores_of(vocabulary: Any, chosen: dict[int, float], others: float = -40.0) -> torch.Tensor:
    scores = torch.full((vocabulary.size,), others)
    for token, score in chosen.items():
        scores[token] = score
    return scores


def test_special_tokens_never_come_however_likely(sampler: Sampler, vocabulary: Any) -> None:
    fine = vocabulary.id_of("나무")
    scores = scores_of(vocabulary, {**dict.fromkeys(NEVER_WRITTEN, 30.0), fine: 0.0})
    for seed in range(20):
        assert sampler.draw(scores, [2], OPEN, seed=seed).token_id == fine
    # Not even a bias brings them back.
    wanted = SamplingSettings(temperature=0.0, logit_bias=dict.fromkeys(NEVER_WRITTEN, 500.0))
    assert sampler.draw(scores, [2], wanted, seed=0).token_id == fine


def test_inside_a_character_only_its_next_byte_may_come(sampler: Sampler, vocabulary: Any) -> None:
    begun = [2, vocabulary.id_of("가"), vocabulary.id_of(b"\xec")]
    for seed in range(50):
        token = sampler.draw(torch.zeros(vocabulary.size), begun, OPEN, seed=seed).token_id
        assert 0x80 <= vocabulary.token_bytes(token)[0] <= 0xBF
    assert vocabulary.token_bytes(sampler.draw(scores_of(vocabulary, {SEP: 90.0}), begun, OPEN, seed=1).token_id)


def test_a_document_may_end_between_characters(sampler: Sampler, vocabulary: Any) -> None:
    scores = scores_of(vocabulary, {SEP: 90.0})
    assert sampler.draw(scores, [2, vocabulary.id_of("가")], OPEN, seed=1).token_id == SEP


def test_draws_follow_the_probabilities(sampler: Sampler, vocabulary: Any) -> None:
    chosen = {vocabulary.id_of("가"): 0.6, vocabulary.id_of("나무"): 0.3, vocabulary.id_of("끝"): 0.1}
    scores = scores_of(vocabulary, {token: math.log(p) for token, p in chosen.items()}, others=-200.0)
    draws = 2000
    counts = Counter(sampler.draw(scores, [2] * place, OPEN, seed=5).token_id for place in range(1, draws + 1))
    assert set(counts) == set(chosen)
    for token, p in chosen.items():
        assert abs(counts[token] - draws * p) < 5 * math.sqrt(draws * p * (1 - p))


def test_a_draw_depends_on_seed_and_place_only(sampler: Sampler, vocabulary: Any) -> None:
    scores = torch.zeros(vocabulary.size)
    letters = [vocabulary.id_of("가"), vocabulary.id_of("a")]

    def draw(tokens: list[int], seed: int) -> int:
        return sampler.draw(scores, tokens, OPEN, seed=seed).token_id

    first = [draw([2, *letters[:1] * place], 1) for place in range(30)]
    assert first == [draw([2, *letters[1:] * place], 1) for place in reversed(range(30))][::-1]
    assert first != [draw([2, *letters[:1] * place], 2) for place in range(30)]
    assert len(set(first)) > 5


def test_logprob_is_the_models_own(sampler: Sampler, vocabulary: Any) -> None:
    scores = torch.linspace(-3, 3, vocabulary.size)
    expected = torch.log_softmax(scores, dim=0)
    filtered = SamplingSettings(
        temperature=0.3, top_k=4, repetition_penalty=1.5, logit_bias={vocabulary.id_of("가"): 9.0}
    )
    for seed in range(5):
        draw = sampler.draw(scores, [2, vocabulary.id_of("가")], filtered, seed=seed)
        assert draw.logprob == pytest.approx(float(expected[draw.token_id]), abs=1e-5)


def test_greedy_takes_the_likeliest(sampler: Sampler, vocabulary: Any) -> None:
    best = vocabulary.id_of("하세요")
    scores = scores_of(vocabulary, {best: 1.0, vocabulary.id_of("가"): 0.9})
    assert {sampler.draw(scores, [2], GREEDY, seed=seed).token_id for seed in range(10)} == {best}


def test_bans_and_biases(sampler: Sampler, vocabulary: Any) -> None:
    first, second, third = (vocabulary.id_of(piece) for piece in ("가", "나무", "끝"))
    scores = scores_of(vocabulary, {first: 3.0, second: 2.0, third: 1.0})
    banned = SamplingSettings(temperature=0.0, banned_tokens=(first,))
    assert sampler.draw(scores, [2], banned, seed=0).token_id == second
    biased = SamplingSettings(temperature=0.0, logit_bias={third: 2.5, second: -1.0})
    assert sampler.draw(scores, [2], biased, seed=0).token_id == third
    # The tables follow the settings of the moment.
    assert sampler.draw(scores, [2], GREEDY, seed=0).token_id == first
    both = SamplingSettings(temperature=0.0, banned_tokens=(third,), logit_bias={third: 100.0})
    assert sampler.draw(scores, [2], both, seed=0).token_id == first


def test_tokens_that_do_not_exist_are_told(sampler: Sampler, vocabulary: Any) -> None:
    scores = torch.zeros(vocabulary.size)
    with pytest.raises(UsageError, match=r"banned_tokens: no such token: 9999"):
        sampler.draw(scores, [2], SamplingSettings(banned_tokens=(7, 9999)), seed=0)
    with pytest.raises(UsageError, match=r"logit_bias: no such token: 8888, 9999"):
        sampler.draw(scores, [2], SamplingSettings(logit_bias={8888: 1.0, 9999: 1.0}), seed=0)


def test_banning_everything_is_told(sampler: Sampler, vocabulary: Any) -> None:
    with pytest.raises(UsageError, match="banned"):
        sampler.draw(
            torch.zeros(vocabulary.size), [2], SamplingSettings(banned_tokens=tuple(range(vocabulary.size))), seed=0
        )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_told(sampler: Sampler, vocabulary: Any, value: float) -> None:
    scores = torch.zeros(vocabulary.size)
    scores[20] = value
    with pytest.raises(ModelDirectoryError, match="not a number"):
        sampler.draw(scores, [2], OPEN, seed=0)


def test_alternatives_have_both_probabilities(sampler: Sampler, vocabulary: Any) -> None:
    a, b, c = (vocabulary.id_of(piece) for piece in ("가", "나무", "끝"))
    chosen = {a: 0.5, b: 0.3, c: 0.2}
    scores = scores_of(vocabulary, {token: math.log(p) for token, p in chosen.items()}, others=-200.0)
    draw = sampler.draw(scores, [2], SamplingSettings(temperature=1.0, top_p=0.7), seed=0, alternatives=3)
    assert [alternative.token_id for alternative in draw.alternatives] == [a, b, c]
    assert [alternative.probability for alternative in draw.alternatives] == pytest.approx([0.5, 0.3, 0.2])
    after = [alternative.filtered_probability for alternative in draw.alternatives]
    assert after == pytest.approx([0.625, 0.375, 0.0])
    assert [alternative.kept for alternative in draw.alternatives] == [True, True, False]
    assert draw.entropy == pytest.approx(-sum(p * math.log(p) for p in chosen.values()), abs=1e-5)


def test_alternatives_are_tokens_that_can_come_and_the_drawn_one(sampler: Sampler, vocabulary: Any) -> None:
    a, b = vocabulary.id_of("가"), vocabulary.id_of("나무")
    scores = scores_of(vocabulary, {0: 20.0, a: 3.0, b: 2.0, SEP: 1.0})
    draw = sampler.draw(scores, [2], SamplingSettings(temperature=0.0, banned_tokens=(a, b)), seed=0, alternatives=2)
    assert [(alternative.token_id, alternative.kept) for alternative in draw.alternatives] == [
        (a, False),
        (b, False),
        (SEP, True),
    ]
    many = sampler.draw(scores, [2, vocabulary.id_of(b"\xea")], OPEN, seed=0, alternatives=1000).alternatives
    assert len(many) == 64  # the continuation bytes


def test_alternatives_change_nothing_and_are_off_by_default(sampler: Sampler, vocabulary: Any) -> None:
    scores = torch.linspace(0, 2, vocabulary.size)
    for seed in range(10):
        plain = sampler.draw(scores, [2], OPEN, seed=seed)
        told = sampler.draw(scores, [2], OPEN, seed=seed, alternatives=5)
        assert (plain.alternatives, plain.entropy) == ((), None)
        assert (plain.token_id, plain.logprob) == (told.token_id, told.logprob)


def test_a_draw_wakes_no_thread_pool() -> None:
    """Waiting for other threads takes many times as long as the work itself where the machine is busy."""
    script = """
import psutil, torch
from korformer.generation.sampler import Sampler
from korformer.generation.settings import SamplingSettings

class Large:
    scheme, size = "lossless", 22000
    def encode(self, text, *, add_special_tokens=False): return []
    def token_bytes(self, token): return b"" if token < 5 else chr(0xAC00 + token % 11172).encode()

sampler = Sampler(Large())
scores = torch.linspace(0, 3, 22000)
before = psutil.Process().num_threads()
for settings in (
    SamplingSettings(),
    SamplingSettings(temperature=0),
    SamplingSettings(typical_p=0.9, top_k=15000, min_p=0.01, xtc_probability=1, xtc_threshold=0),
    SamplingSettings(repetition_penalty=1.2, dry_multiplier=1, logit_bias={9: 1}, banned_tokens=(8,)),
):
    sampler.draw(scores, [2, *range(10, 5000)], settings, seed=1, alternatives=10)
print(psutil.Process().num_threads() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0", done.stderr
