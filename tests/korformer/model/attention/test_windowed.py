from collections.abc import Callable

import oracle
import pytest
import torch
import torch.nn.functional as F
from local_attention import LocalAttention
from torch import Tensor

from korformer.model.attention import windowed as module
from korformer.model.attention.windowed import two_sided, windowed

BATCH, HEADS, T, WIDTH = 2, 2, 48, 6
DOCUMENTS = torch.tensor([[0] * 13 + [1] + [5] * 29 + [T] * 5, [0] * T])

Attention = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

KINDS: dict[str, tuple[Attention, Callable[[int, int], bool]]] = {
    "earlier blocks": (
        lambda q, k, v, documents: windowed(q, k, v, documents, window=8, causal=True),
        lambda query, key: key < query and key // 8 >= query // 8 - 1,
    ),
    "blocks": (
        lambda q, k, v, documents: windowed(q, k, v, documents, window=8, causal=False),
        lambda query, key: abs(key // 8 - query // 8) <= 1,
    ),
    "band": (
        lambda q, k, v, documents: two_sided(q, k, v, documents, window=8),
        lambda query, key: abs(key - query) <= 8,
    ),
    "band as wide as the row": (
        lambda q, k, v, documents: two_sided(q, k, v, documents, window=T),
        lambda query, key: True,
    ),
}


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    qk, v = (torch.randn(BATCH, HEADS, T, WIDTH, dtype=dtype, generator=generator) for _ in range(2))
    return qk.requires_grad_(), v.requires_grad_()


def assert_same(ours: Tensor, theirs: Tensor, inputs: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    direction = torch.randn(ours.shape, dtype=ours.dtype)
    for one, other in zip(
        torch.autograd.grad(ours, inputs, direction, retain_graph=True),
        torch.autograd.grad(theirs, inputs, direction),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [8, 16, T])
def test_equal_to_the_local_heads_of_reformer_pytorch(window: int, causal: bool) -> None:
    qk, v = inputs()
    library = LocalAttention(window_size=window, causal=causal, shared_qk=True, look_forward=0 if causal else 1)
    theirs = library(qk.flatten(0, 1), qk.flatten(0, 1), v.flatten(0, 1)).view_as(v)
    one_document = torch.zeros(BATCH, T, dtype=torch.long)
    ours = windowed(qk, F.normalize(qk, dim=-1), v, one_document, window=window, causal=causal)
    assert_same(ours, theirs, (qk, v))


@pytest.mark.parametrize("bias_bytes", [1, 2**22])
@pytest.mark.parametrize("kind", KINDS)
def test_documents_equal_the_definition(monkeypatch: pytest.MonkeyPatch, kind: str, bias_bytes: int) -> None:
    monkeypatch.setattr(module, "BIAS_BYTES", bias_bytes)
    attention, sees = KINDS[kind]
    qk, v = inputs()
    k = F.normalize(qk, dim=-1)
    expected = [oracle.near(qk[b, h], k[b, h], v[b, h], sees, DOCUMENTS[b]) for b in range(BATCH) for h in range(HEADS)]
    assert_same(attention(qk, k, v, DOCUMENTS), torch.stack(expected).view_as(v), (qk, v))


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_document_leaves_the_others_to_the_last_bit(kind: str) -> None:
    attention, _ = KINDS[kind]
    inside = DOCUMENTS[:, None, :, None] == 5
    with torch.no_grad():
        qk, v = inputs(torch.float32)
        before = attention(qk, F.normalize(qk, dim=-1), v, DOCUMENTS)
        qk, v = (torch.where(inside, torch.randn(v.shape), x) for x in (qk, v))
        after = attention(qk, F.normalize(qk, dim=-1), v, DOCUMENTS)
    assert torch.equal(before.masked_fill(inside, 0), after.masked_fill(inside, 0))
    assert not torch.allclose(before[0, :, 20], after[0, :, 20], atol=1e-3)
