import numpy as np
import torch

from korformer.model.attention.hashing import drawn_rotations, hash_buckets, stored_rotations


def test_buckets_are_those_of_reformer_pytorch() -> None:
    """Its hash_vectors with our rotations put in the place of its own."""
    torch.manual_seed(0)
    qk = torch.randn(2, 3, 50, 8, dtype=torch.float64)
    rotations = torch.randn(1, 4, 8, 5, dtype=torch.float64)
    rotated = torch.einsum("btf,fhi->bhti", qk.flatten(0, 1), rotations[0].transpose(0, 1))
    expected = torch.argmax(torch.cat([rotated, -rotated], dim=-1), dim=-1).view(2, 3, 4, 50)
    assert torch.equal(hash_buckets(qk, rotations).long(), expected)


def test_a_tie_goes_to_the_first() -> None:
    zero = torch.zeros(1, 1, 1, 4)
    assert hash_buckets(zero, torch.randn(1, 2, 4, 3)).tolist() == [[[[0], [0]]]]


def test_more_rounds_begin_with_the_fewer() -> None:
    few, many = (stored_rotations(7, 2, rounds, 16, 10) for rounds in (2, 5))
    assert torch.equal(few, many[:, :2])
    assert not torch.equal(few, stored_rotations(7, 3, 2, 16, 10))
    assert not torch.equal(few, stored_rotations(8, 2, 2, 16, 10))


def test_drawn_rotations_do_not_depend_on_the_micro_batch() -> None:
    whole = drawn_rotations(1, 5, range(0, 4), 0, 2, 8, 6)
    halves = torch.cat([drawn_rotations(1, 5, range(0, 2), 0, 2, 8, 6), drawn_rotations(1, 5, range(2, 4), 0, 2, 8, 6)])
    assert torch.equal(whole, halves)
    assert len({row.numpy().tobytes() for row in whole.flatten(0, 1)}) == 8
    assert not torch.equal(whole, drawn_rotations(1, 6, range(0, 4), 0, 2, 8, 6))


def test_near_vectors_share_buckets_more_often_than_far_ones() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 400, 16)
    near, far = x + 0.1 * torch.randn_like(x), torch.randn_like(x)
    rotations = stored_rotations(0, 0, 8, 16, 8)
    same = [(hash_buckets(x, rotations) == hash_buckets(y, rotations)).float().mean().item() for y in (near, far)]
    assert same[0] > 0.8
    assert np.isclose(same[1], 1 / 8, atol=0.05)
