import numpy as np
import pytest
import torch

from korformer.model.attention import hashing
from korformer.model.attention.hashing import drawn_rotations, hash_buckets, stored_rotations
from korformer.model.draws import TrainingDraw


def test_buckets_are_those_of_reformer_pytorch() -> None:
    """Its hash_vectors with our rotations put in the place of its own."""
    torch.manual_seed(0)
    qk = torch.randn(2, 3, 50, 8, dtype=torch.float64)
    rotations = torch.randn(1, 1, 4, 8, 5, dtype=torch.float64)
    rotated = torch.einsum("btf,fhi->bhti", qk.flatten(0, 1), rotations[0, 0].transpose(0, 1))
    expected = torch.argmax(torch.cat([rotated, -rotated], dim=-1), dim=-1).view(2, 3, 4, 50)
    assert torch.equal(hash_buckets(qk, rotations, (10,)).long(), expected)


def test_a_tie_goes_to_the_first() -> None:
    zero = torch.zeros(1, 1, 1, 4)
    assert hash_buckets(zero, torch.randn(1, 1, 2, 4, 3), (6,)).tolist() == [[[[0], [0]]]]


def test_more_rounds_begin_with_the_fewer() -> None:
    few, many = (stored_rotations(7, 2, 1, rounds, 16, 10) for rounds in (2, 5))
    assert torch.equal(few, many[:, :, :2])
    assert not torch.equal(few, stored_rotations(7, 3, 1, 2, 16, 10))
    assert not torch.equal(few, stored_rotations(8, 2, 1, 2, 16, 10))


def test_heads_with_rotations_of_their_own_begin_with_the_shared_ones() -> None:
    shared, own = (stored_rotations(7, 2, heads, 3, 16, 10) for heads in (1, 4))
    assert torch.equal(own[:, :1], shared)
    assert len({row.numpy().tobytes() for row in own.flatten(0, 2)}) == 12


def test_drawn_rotations_do_not_depend_on_the_micro_batch() -> None:
    def drawn(samples: range, step: int = 5) -> torch.Tensor:
        return drawn_rotations(TrainingDraw(seed=1, step=step, samples=samples), 0, 2, 2, 8, 6)

    whole = drawn(range(4))
    assert torch.equal(whole, torch.cat([drawn(range(2)), drawn(range(2, 4))]))
    assert len({row.numpy().tobytes() for row in whole.flatten(0, 2)}) == 16
    assert not torch.equal(whole, drawn(range(4), step=6))


def test_a_long_text_is_hashed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    qk, rotations = torch.randn(2, 3, 50, 8), stored_rotations(0, 0, 3, 2, 8, 6)
    whole = hash_buckets(qk, rotations, (6,))
    monkeypatch.setattr(hashing, "HASHED_AT_A_TIME", 42)
    assert torch.equal(hash_buckets(qk, rotations, (6,)), whole)


def test_factorised_buckets_are_pairs_of_hashes() -> None:
    qk, rotations = torch.randn(1, 2, 200, 8), stored_rotations(0, 0, 1, 2, 8, 4 + 6)
    first = hash_buckets(qk, rotations[..., :2], (4,)).long()
    second = hash_buckets(qk, rotations[..., 2:], (6,)).long()
    assert torch.equal(hash_buckets(qk, rotations, (4, 6)).long(), first * 6 + second)


def test_near_vectors_share_buckets_more_often_than_far_ones() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 400, 16)
    near, far = x + 0.1 * torch.randn_like(x), torch.randn_like(x)
    rotations = stored_rotations(0, 0, 1, 8, 16, 8)
    same = [
        (hash_buckets(x, rotations, (8,)) == hash_buckets(y, rotations, (8,))).float().mean().item()
        for y in (near, far)
    ]
    assert same[0] > 0.8
    assert np.isclose(same[1], 1 / 8, atol=0.05)
