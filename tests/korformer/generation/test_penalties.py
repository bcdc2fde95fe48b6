from __future__ import annotations

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from korformer.generation.penalties import FURTHEST, newest, penalize

SIZE = 12


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=SIZE, max_size=SIZE),
    st.lists(st.integers(0, SIZE - 1), max_size=30),
    st.floats(0.5, 2),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
def test_is_its_definition(
    scores: list[float], tokens: list[int], repetition: float, presence: float, frequency: float
) -> None:
    expected = list(scores)
    for token in set(tokens):
        expected[token] = scores[token] / repetition if scores[token] > 0 else scores[token] * repetition
        expected[token] -= presence + frequency * tokens.count(token)
    result = penalize(
        torch.tensor(scores), tokens, repetition=repetition, presence=presence, frequency=frequency
    ).tolist()
    assert result == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_agrees_with_transformers() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(500, generator=generator) * 4
    tokens = torch.randint(0, 500, (80,), generator=generator)
    theirs = transformers.RepetitionPenaltyLogitsProcessor(1.3)(tokens[None], scores[None])[0]
    assert torch.equal(penalize(scores, tokens.tolist(), repetition=1.3), theirs)


def test_only_the_newest_tokens_are_looked_at() -> None:
    assert list(newest([1, 2, 3, 4], 2)) == [3, 4]
    assert list(newest([1, 2, 3, 4], 9)) == [1, 2, 3, 4]
    assert list(newest([1, 2, 3, 4], 0)) == [1, 2, 3, 4]
    assert list(newest(range(FURTHEST + 2), 0)) == list(range(2, FURTHEST + 2))
    assert len(newest(range(FURTHEST + 2), FURTHEST + 1)) == FURTHEST + 1
