import oracle
import pytest
import torch
import torch.nn.functional as F
from reformer_pytorch.reformer_pytorch import LSHAttention
from torch import Tensor

from korformer.model.attention import lsh as module
from korformer.model.attention.lsh import lsh
from korformer.model.attention.sorting import sort_groups

BATCH, HEADS = 2, 3
SHAPES = [(64, 8, 2, 8), (32, 8, 1, 6), (16, 8, 3, 4), (96, 4, 4, 16)]
"""Tokens, chunk, rounds, head width."""


def inputs(T: int, R: int, d: int, *, n_buckets: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(T + R + d)
    qk = torch.randn(BATCH, HEADS, T, d, dtype=torch.float64, requires_grad=True)
    v = torch.randn(BATCH, HEADS, T, d, dtype=torch.float64, requires_grad=True)
    return qk, v, torch.randint(0, n_buckets, (BATCH, HEADS, R, T))


def library(qk: Tensor, v: Tensor, buckets: Tensor, *, chunk: int, causal: bool, real: Tensor | None = None) -> Tensor:
    """reformer_pytorch's attention with these buckets."""
    _, _, R, T = buckets.shape
    attention = LSHAttention(bucket_size=chunk, n_hashes=R, causal=causal)
    of_rounds = buckets + torch.arange(R)[:, None] * T
    attention.hash_vectors = lambda *_, **__: of_rounds.reshape(BATCH * HEADS, R * T)
    mask = None if real is None else real.repeat_interleave(HEADS, dim=0)
    out: Tensor = attention(qk.flatten(0, 1), v.flatten(0, 1), input_mask=mask)[0]
    return out.view_as(qk)


def assert_same(ours: Tensor, theirs: Tensor, inputs: tuple[Tensor, ...], where: Tensor | None = None) -> None:
    """Outputs and gradients agree (on the tokens of `where` only, if given)."""
    direction = torch.randn(ours.shape, dtype=ours.dtype)
    if where is not None:
        direction = direction * where[:, None, :, None]
        ours, theirs = ours * where[:, None, :, None], theirs * where[:, None, :, None]
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    for one, other in zip(
        torch.autograd.grad(ours, inputs, direction, retain_graph=True),
        torch.autograd.grad(theirs, inputs, direction),
        strict=True,
    ):
        assert other.abs().sum() > 0
        torch.testing.assert_close(one, other, atol=1e-9, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("T", "chunk", "R", "d"), SHAPES)
def test_equal_to_reformer_pytorch(T: int, chunk: int, R: int, d: int, causal: bool) -> None:
    qk, v, buckets = inputs(T, R, d, n_buckets=T // chunk)
    ours = lsh(
        qk, F.normalize(qk, dim=-1), v, buckets, torch.zeros(BATCH, T, dtype=torch.long),
        n_buckets=T // chunk, chunk=chunk, causal=causal,
    )  # fmt: skip
    assert_same(ours, library(qk, v, buckets, chunk=chunk, causal=causal), (qk, v))


@pytest.mark.parametrize("causal", [True, False])
def test_padding_is_that_of_reformer_pytorch_in_a_bucket_above_all_others(causal: bool) -> None:
    T, chunk, n_buckets = 64, 8, 6
    qk, v, buckets = inputs(T, 3, 8, n_buckets=n_buckets)
    real = torch.arange(T) < torch.tensor([[50], [64]])
    documents = torch.where(real, 0, T)
    ours = lsh(qk, F.normalize(qk, dim=-1), v, buckets, documents, n_buckets=n_buckets, chunk=chunk, causal=causal)
    last = torch.where(real[:, None, None], buckets, n_buckets)
    assert_same(ours, library(qk, v, last, chunk=chunk, causal=causal, real=real), (qk, v), real)


def packed(T: int) -> Tensor:
    return torch.tensor([[0] * (T // 3) + [1] + [4] * (T - T // 3 - 6) + [T] * 5, [2] * T])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("T", "chunk", "R", "d"), SHAPES)
def test_documents_equal_the_definition(T: int, chunk: int, R: int, d: int, causal: bool) -> None:
    n_buckets = 4
    qk, v, buckets = inputs(T, R, d, n_buckets=n_buckets)
    k, documents = F.normalize(qk, dim=-1), packed(T)
    ours = lsh(qk, k, v, buckets, documents, n_buckets=n_buckets, chunk=chunk, causal=causal)
    expected = [
        oracle.lsh(qk[b, h], k[b, h], v[b, h], buckets[b, h], documents[b], chunk, causal)
        for b in range(BATCH)
        for h in range(HEADS)
    ]
    assert_same(ours, torch.stack(expected).view_as(ours), (qk, v))


@pytest.mark.parametrize("causal", [True, False])
def test_slices_change_nothing(monkeypatch: pytest.MonkeyPatch, causal: bool) -> None:
    qk, v, buckets = inputs(96, 2, 8, n_buckets=4)
    k, documents = F.normalize(qk, dim=-1), packed(96)

    def run(bias_bytes: int) -> list[Tensor]:
        monkeypatch.setitem(module.SLICE_BIAS_BYTES, "cpu", bias_bytes)
        out = lsh(qk, k, v, buckets, documents, n_buckets=4, chunk=8, causal=causal)
        return [out, *torch.autograd.grad(out.square().sum(), (qk, v), retain_graph=True)]

    whole = run(2**30)
    for bias_bytes in (1, 5 * 8 * 16 * 8, 13 * 8 * 16 * 8):
        for one, other in zip(whole, run(bias_bytes), strict=True):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
def test_a_changed_document_leaves_the_others_to_the_last_bit(causal: bool) -> None:
    qk, v, buckets = (x.float() if x.is_floating_point() else x for x in inputs(96, 2, 8, n_buckets=4))
    documents = packed(96)

    def run(qk: Tensor, v: Tensor, buckets: Tensor) -> Tensor:
        with torch.no_grad():
            return lsh(qk, F.normalize(qk, dim=-1), v, buckets, documents, n_buckets=4, chunk=8, causal=causal)

    before = run(qk, v, buckets)
    inside = documents[:, None, :, None] == 4
    other = torch.randint(0, 4, buckets.shape)
    after = run(
        torch.where(inside, torch.randn_like(qk), qk),
        torch.where(inside, torch.randn_like(v), v),
        torch.where(inside[:, :, None, :, 0], other, buckets),
    )
    assert torch.equal(before.masked_fill(inside, 0), after.masked_fill(inside, 0))
    assert not torch.allclose(before[0, :, 40], after[0, :, 40], atol=1e-3)


def test_a_lone_token_returns_its_own_value_in_single_precision() -> None:
    qk, v, buckets = (x.float() if x.is_floating_point() else x for x in inputs(16, 3, 4, n_buckets=2))
    alone = torch.arange(16).expand(BATCH, 16)
    out = lsh(qk, F.normalize(qk, dim=-1), v, buckets, alone, n_buckets=2, chunk=4, causal=False)
    torch.testing.assert_close(out, v, atol=1e-6, rtol=0)


def test_large_chunks_in_which_whole_blocks_of_keys_are_masked() -> None:
    T, chunk = 2048, 1024
    torch.manual_seed(0)
    qk, v = (torch.randn(1, 1, T, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    documents = (torch.arange(T) >= 1400).long()[None]
    buckets = torch.zeros(1, 1, 1, T, dtype=torch.long)
    out = lsh(qk, F.normalize(qk, dim=-1), v, buckets, documents, n_buckets=2, chunk=chunk, causal=False)
    for t in (100, 1023, 1024, 1399, 1400, 2047):
        keys = [s for s in (range(1400) if t < 1400 else range(1400, T)) if s != t]
        expected = oracle.attend(qk[0, 0, t], F.normalize(qk[0, 0, keys], dim=-1), v[0, 0, keys])
        torch.testing.assert_close(out[0, 0, t], expected, atol=1e-12, rtol=0)
    assert torch.autograd.grad(out.sum(), qk)[0].isfinite().all()


@pytest.mark.parametrize("n_buckets", [3, 2**14])
def test_sorting_is_by_document_bucket_and_position(n_buckets: int) -> None:
    """Few and many buckets: sorted as 16 and as 32 bits."""
    buckets = torch.randint(0, n_buckets, (2, 2, 2, 24), generator=torch.Generator().manual_seed(0))
    documents = torch.tensor([[0] * 9 + [7] * 10 + [24] * 5, [3] * 24])
    order, _ = sort_groups(buckets, documents, n_buckets)
    for b in range(2):
        for h in range(2):
            for r in range(2):
                keys = [(int(documents[b, t]), int(buckets[b, h, r, t]), int(t)) for t in order[b, h, r]]
                assert keys == sorted(keys)


def test_strides_of_the_inputs_do_not_matter() -> None:
    qk, v, buckets = inputs(32, 2, 6, n_buckets=4)
    documents = torch.zeros(BATCH, 32, dtype=torch.long)

    def run(qk: Tensor, v: Tensor) -> list[Tensor]:
        out = lsh(qk, F.normalize(qk, dim=-1), v, buckets, documents, n_buckets=4, chunk=8, causal=True)
        return [out, *torch.autograd.grad(out.square().sum(), (qk, v))]

    wide = torch.zeros(BATCH, 32, HEADS + 1, 6, dtype=torch.float64)
    wide[:, :, 1:] = qk.detach().transpose(1, 2)
    strided = wide.transpose(1, 2)[:, 1:].requires_grad_()
    odd = torch.zeros(BATCH, HEADS, 32, 7, dtype=torch.float64)
    odd[..., :6] = v.detach()
    for one, other in zip(run(qk, v), run(strided, odd[..., :6].requires_grad_()), strict=True):
        assert torch.equal(one, other)
