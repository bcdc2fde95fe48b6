"""DRY against a definition that tries every earlier place and every length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from korformer.generation.dry import breaker_tokens, dry, repeat_lengths


def slow_lengths(tokens: list[int], breaks: list[bool], longest: int) -> dict[int, int]:
    lengths: dict[int, int] = {}
    count = len(tokens)
    for follower in range(1, count):
        if breaks[follower]:
            continue
        length = 0
        while (
            length < longest
            and follower - length - 1 >= 0
            and tokens[follower - length - 1] == tokens[count - length - 1]
            and not breaks[count - length - 1]
        ):
            length += 1
        if length:
            lengths[tokens[follower]] = max(length, lengths.get(tokens[follower], 0))
    return lengths


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=40), st.integers(1, 12))
@settings(max_examples=300)
def test_repeats_are_found_as_by_trying_everything(text: list[tuple[int, bool]], longest: int) -> None:
    # One token in four is a breaker; which one it is hangs on the token alone, as in a text.
    tokens = [token for token, _ in text]
    breaks = [token == 3 for token in tokens]
    found = repeat_lengths(np.array(tokens), np.array(breaks), longest)
    assert found == slow_lengths(tokens, breaks, longest)


def test_the_penalty_grows_with_the_passage() -> None:
    #        a b c d  x  b c d  y  a b c -> d would make "a b c d", as long as a passage of three
    tokens = [1, 2, 3, 4, 9, 2, 3, 4, 8, 1, 2, 3]
    no_breaks = np.zeros(len(tokens), dtype=np.bool_)
    scores = dry(torch.zeros(10), tokens, no_breaks, multiplier=0.8, base=1.75, allowed_length=2)
    assert scores[4].item() == pytest.approx(-0.8 * 1.75)
    assert scores.count_nonzero() == 1
    assert not dry(torch.zeros(10), tokens, no_breaks, multiplier=0.8, base=1.75, allowed_length=4).any()


def test_a_breaker_ends_the_passage_and_costs_nothing_itself() -> None:
    tokens = [1, 2, 5, 3, 4, 1, 2, 5, 3]
    breaks = np.array([token == 5 for token in tokens])
    # Without breakers "1 2 5 3" repeats and 4 pays for four tokens; with them only "3" repeats, which is free.
    assert dry(torch.zeros(6), tokens, np.zeros(9, np.bool_), multiplier=1, base=2, allowed_length=2)[4] == -4
    assert not dry(torch.zeros(6), tokens, breaks, multiplier=1, base=2, allowed_length=2).any()
    again = [1, 2, 5, 1, 2]
    assert not dry(
        torch.zeros(6), again, np.array([token == 5 for token in again]), multiplier=1, base=2, allowed_length=2
    ).any()


def test_endless_repetition_is_costly_but_finite() -> None:
    tokens = [7] * 3000
    scores = dry(torch.zeros(8), tokens, np.zeros(3000, np.bool_), multiplier=100, base=1.75, allowed_length=2)
    assert scores[7] < -1e30
    assert scores.isfinite().all()


@given(
    st.lists(st.text("ab:c\n", max_size=3), max_size=20),
    st.lists(st.text("ab:c\n", min_size=1, max_size=3), max_size=3),
)
def test_breakers_are_found_over_token_boundaries(pieces: list[str], breakers: list[str]) -> None:
    text = "".join(pieces)
    covered = {
        place + step
        for breaker in breakers
        for place in range(len(text))
        if text.startswith(breaker, place)
        for step in range(len(breaker))
    }
    begin, expected = 0, []
    for piece in pieces:
        expected.append(any(place in covered for place in range(begin, begin + len(piece))))
        begin += len(piece)
    result = breaker_tokens([piece.encode() for piece in pieces], breakers).tolist()
    # An empty piece inside a breaker may count as part of it.
    assert [r for r, p in zip(result, pieces, strict=True) if p] == [
        e for e, p in zip(expected, pieces, strict=True) if p
    ]
