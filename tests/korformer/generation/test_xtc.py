from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from korformer.generation.xtc import xtc

GONE = float("-inf")


@given(st.lists(st.integers(-4, 4).map(float) | st.just(GONE), min_size=1, max_size=20), st.floats(0, 1))
def test_is_its_definition(values: list[float], threshold: float) -> None:
    if max(values) == GONE:
        values[0] = 0.0
    scores = torch.tensor(values)
    share = torch.softmax(scores, dim=0).tolist()
    obvious = [token for token, p in enumerate(share) if p >= threshold and values[token] > GONE]
    expected = list(values)
    if len(obvious) > 1:
        stays = min(obvious, key=lambda token: (values[token], -token))
        for token in obvious:
            if token != stays:
                expected[token] = GONE
    assert xtc(scores, threshold).tolist() == expected


def test_never_acts_above_one_half() -> None:
    scores = torch.tensor([0.5, 0.3, 0.2]).log()
    assert torch.equal(xtc(scores, 0.51), scores)
