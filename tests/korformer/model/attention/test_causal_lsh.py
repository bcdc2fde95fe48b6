import itertools

import oracle
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from korformer.model.attention.causal_lsh import causal_lsh, local, sort_by_bucket

SHAPES = [(64, 8, 2, 8, 8), (48, 16, 4, 12, 16), (40, 4, 1, 5, 8), (32, 4, 3, 1, 2)]


def inputs(T: int, d: int, R: int, *, n_buckets: int = 6, heads: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(T + d + R)
    qk = torch.randn(1, heads, T, d, dtype=torch.float64, requires_grad=True)
    v = torch.randn(1, heads, T, d, dtype=torch.float64, requires_grad=True)
    buckets = torch.randint(0, n_buckets, (1, heads, R, T))
    documents = (torch.arange(T) >= T // 3).long()[None]
    return qk, v, buckets, documents


@pytest.mark.parametrize(("T", "d", "R", "window", "chunk"), SHAPES)
def test_output_and_gradients_equal_the_definition(T: int, d: int, R: int, window: int, chunk: int) -> None:
    qk, v, buckets, documents = inputs(T, d, R)
    out = causal_lsh(qk, F.normalize(qk, dim=-1), v, buckets, documents, n_buckets=6, chunk=chunk, window=window)
    keys = F.normalize(qk, dim=-1)
    expected = torch.stack(
        [oracle.causal_lsh(qk[0, h], keys[0, h], v[0, h], buckets[0, h], documents[0], window) for h in range(2)]
    )[None]
    assert torch.allclose(out, expected, atol=1e-12)
    direction = torch.randn_like(out)
    ours = torch.autograd.grad(out, (qk, v), direction)
    theirs = torch.autograd.grad(expected, (qk, v), direction)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-11)


def test_a_lone_token_returns_its_own_value() -> None:
    qk, v, _, documents = inputs(16, 4, 2)
    lone = torch.arange(16).expand(1, 2, 2, 16)  # every token in a bucket of its own
    out = causal_lsh(qk, F.normalize(qk, dim=-1), v, lone, documents, n_buckets=16, chunk=4, window=4)
    assert torch.equal(out, v)


def test_a_lone_token_returns_its_own_value_in_single_precision() -> None:
    qk, v, _, documents = (x.float() if x.is_floating_point() else x for x in inputs(16, 4, 3))
    lone = torch.arange(16).expand(1, 2, 3, 16)
    out = causal_lsh(qk, F.normalize(qk, dim=-1), v, lone, documents, n_buckets=16, chunk=4, window=4)
    assert torch.allclose(out, v, atol=1e-6)


def test_nothing_depends_on_the_future_or_on_another_document() -> None:
    qk, v, buckets, documents = inputs(64, 8, 2)

    def run(qk: Tensor, v: Tensor, buckets: Tensor) -> Tensor:
        return causal_lsh(qk, F.normalize(qk, dim=-1), v, buckets, documents, n_buckets=6, chunk=8, window=8)

    with torch.no_grad():
        before = run(qk, v, buckets)
        changed_qk, changed_v, changed_buckets = qk.clone(), v.clone(), buckets.clone()
        changed_qk[:, :, 40:] = torch.randn(1, 2, 24, 8, dtype=torch.float64)
        changed_buckets[..., 40:] = torch.randint(0, 6, (1, 2, 2, 24))
        # Not to the last bit: the future moves the chunk boundaries of the sorted axis, so the order of sums.
        assert torch.allclose(run(changed_qk, v, changed_buckets)[:, :, :40], before[:, :, :40], atol=1e-13)
        first = 64 // 3
        changed_v[:, :, :first] = 0
        changed_buckets = buckets.clone()
        changed_buckets[..., :first] = 0
        assert torch.equal(run(qk, changed_v, changed_buckets)[:, :, first:], before[:, :, first:])


def test_sorting_is_by_document_bucket_and_time() -> None:
    _, _, buckets, documents = inputs(24, 4, 2, n_buckets=3)
    order, lower = (x.flatten(0, 2) for x in sort_by_bucket(buckets, documents, 3))
    for row, (head, hash_round) in enumerate(itertools.product(range(2), range(2))):
        keys = [(int(documents[0, t]), int(buckets[0, head, hash_round, t]), int(t)) for t in order[row]]
        assert keys == sorted(keys)
        groups = [key[:2] for key in keys]
        assert lower[row].tolist() == [groups.index(group) for group in groups]


@pytest.mark.parametrize("window", [4, 8])
def test_local_is_one_bucket_in_one_round(window: int) -> None:
    qk, v, buckets, documents = inputs(64, 8, 1)
    keys = F.normalize(qk, dim=-1)
    near = local(qk, keys, v, documents, window=window)
    expected = torch.stack(
        [
            oracle.causal_lsh(qk[0, h], keys[0, h], v[0, h], torch.zeros_like(buckets[0, h]), documents[0], window)
            for h in range(2)
        ]
    )[None]
    assert torch.allclose(near, expected, atol=1e-12)
    direction = torch.randn_like(near)
    for one, other in zip(
        torch.autograd.grad(near, (qk, v), direction, retain_graph=True),
        torch.autograd.grad(expected, (qk, v), direction),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-11)
