"""Attention against its definition, and rows that do not know in what block they stand."""

import pytest
import torch
from torch import nn

from korformer.model.attention import ordered
from korformer.model.products import fast_products, stays_fp32

NEEDS_ORDER = pytest.mark.skipif(not stays_fp32(), reason="on this processor products have no order to rely on")


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed + sum(shape)))


def test_attention_is_a_softmax_over_what_may_be_seen() -> None:
    q, k, v = random(3, 5, 8, dtype=torch.float64), *(random(3, 9, 8, seed=s, dtype=torch.float64) for s in (1, 2))
    bias = torch.where(random(3, 5, 9) < 0, ordered.NEVER, random(3, 5, 9)).double()
    bias[..., 0] = 0.0
    scores = q @ k.mT * 8**-0.5 + bias
    out, lse = ordered.attend(q, k, v, bias)
    torch.testing.assert_close(out, torch.softmax(scores, -1) @ v, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(lse, torch.logsumexp(scores, -1), rtol=1e-12, atol=1e-12)


def test_merging_sets_is_one_softmax_over_all_of_them() -> None:
    q, k, v = (random(2, n, 8, seed=n, dtype=torch.float64) for n in (4, 12, 12))
    zero = torch.zeros(2, 4, 4, dtype=torch.float64)
    parts = [ordered.attend(q, k[:, at : at + 4], v[:, at : at + 4], zero) for at in (0, 4, 8)]
    merged = ordered.merge([out for out, _ in parts], [lse for _, lse in parts])
    whole, _ = ordered.attend(q, k, v, torch.zeros(2, 4, 12, dtype=torch.float64))
    torch.testing.assert_close(merged, whole, rtol=1e-12, atol=1e-12)
    once, shares = ordered.merge_once(
        torch.stack([out[:, 0] for out, _ in parts], 1), torch.stack([lse[:, 0] for _, lse in parts], 1)[..., None]
    )
    torch.testing.assert_close(once, whole[:, 0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 1, dtype=torch.float64))


@NEEDS_ORDER
@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("shape", [(80, 64, 128), (12, 2, 65), (1, 1, 70), (33, 32, 96), (2, 448, 512)])
@pytest.mark.parametrize("seen", [1, 7, 64])
def test_a_row_does_not_know_in_what_block_it_stands(shape: tuple[int, int, int], seen: int, width: int) -> None:
    """Other queries, other rows, and what must not be seen before and behind: not a bit of the result changes."""
    B, Q, K = shape
    query, keys, values = random(width), random(seen, width, seed=1), random(seen, width, seed=2)
    found = []
    for first in {0, 3, K - seen} if seen <= K - 3 else {0}:
        q, k, v = random(B, Q, width), random(B, K, width, seed=3), random(B, K, width, seed=4)
        bias = torch.full((B, Q, K), ordered.NEVER)
        bias[..., 0] = 0.0
        row = (B - 1, Q // 2)
        bias[row], bias[row][first : first + seen] = ordered.NEVER, 0.0
        q[row], k[B - 1, first : first + seen], v[B - 1, first : first + seen] = query, keys, values
        with fast_products():
            out, lse = ordered.attend(q, k, v, bias)
        found.append((out[row], lse[row]))
    with fast_products():
        alone = ordered.weigh_once(query[None], keys[None, None], None)
    sums = torch.embedding_bag(values, torch.arange(seen), torch.zeros(1).long(), per_sample_weights=alone[0].view(-1))
    for out, lse in found:
        assert torch.equal(out, (sums[0] / alone[1][0])[0])
        assert torch.equal(lse, alone[2].view(()))


@NEEDS_ORDER
def test_merging_one_query_gives_the_bits_of_merging_many() -> None:
    outs, lses = random(4, 100, 6, 64), random(4, 100, 6, seed=1) * 5
    lses[1, 3] = -1e3
    whole = ordered.merge(list(outs), list(lses))
    for at in (0, 3, 99):
        merged, _ = ordered.merge_once(outs[:, at].transpose(0, 1), lses[:, at].T[..., None])
        assert torch.equal(merged, whole[at])


@NEEDS_ORDER
@pytest.mark.parametrize("inputs", [256, 576, 768, 1536, 3072])
def test_a_linear_layer_gives_a_row_the_same_bits_alone(inputs: int) -> None:
    layer, x = nn.Linear(inputs, 320), random(70, inputs)
    with torch.inference_mode(), fast_products():
        whole = ordered.linear(layer, x)
        for rows in (slice(5, 6), slice(5, 7), slice(0, 33)):
            assert torch.equal(ordered.linear(layer, x[rows]), whole[rows])


def test_long_sums_are_the_layer_s_own_up_to_rounding_and_keep_their_gradient() -> None:
    layer, x = nn.Linear(2500, 7).double(), random(3, 2500, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ordered.linear(layer, x), layer(x), rtol=1e-12, atol=1e-12)
    ordered.linear(layer, x).sum().backward()  # type: ignore[no-untyped-call]
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad[0], x.sum(0))
