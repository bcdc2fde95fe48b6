import oracle
import pytest
import torch
import torch.nn.functional as F

from korformer.model.attention import full as module
from korformer.model.attention.full import full


def test_every_earlier_token_of_the_document_and_gradients() -> None:
    torch.manual_seed(0)
    q, v = (torch.randn(2, 2, 20, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    documents = torch.tensor([[0] * 7 + [1] * 12 + [20], [0] * 20])
    k = F.normalize(q, dim=-1)
    out = full(q, k, v, documents)
    everything = torch.zeros(1, 20, dtype=torch.long)
    expected = torch.stack(
        [
            torch.stack([oracle.causal_lsh(q[b, h], k[b, h], v[b, h], everything, documents[b], 20) for h in range(2)])
            for b in range(2)
        ]
    )
    assert torch.allclose(out, expected, atol=1e-12)
    direction = torch.randn_like(out)
    for one, other in zip(
        torch.autograd.grad(out, (q, v), direction, retain_graph=True),
        torch.autograd.grad(expected, (q, v), direction),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-11)


def test_equal_to_the_exact_attention_of_reformer_pytorch() -> None:
    from reformer_pytorch.reformer_pytorch import FullQKAttention

    torch.manual_seed(1)
    qk, v = (torch.randn(3, 16, 8, dtype=torch.float64) for _ in range(2))
    theirs = FullQKAttention(causal=True)(qk, v)[0]
    ours = full(qk[None], F.normalize(qk, dim=-1)[None], v[None], torch.zeros(1, 16))[0]
    assert torch.allclose(ours, theirs, atol=1e-12)


DOCUMENTS = torch.tensor([[0] * 7 + [1] * 12 + [20], [0] * 19 + [20]])


def everything(query: int, key: int) -> bool:
    return True


@pytest.mark.parametrize("way", ["masked", "two halves", "blocks of queries"])
def test_both_sides(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    if way != "masked":
        monkeypatch.setattr(module, "BIAS_BYTES", 400)
    if way == "blocks of queries":  # what runs off the CPU
        monkeypatch.setattr(module, "KERNEL_ON", ())
    torch.manual_seed(2)
    q, v = (torch.randn(2, 2, 20, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    k = F.normalize(q, dim=-1)
    out = full(q, k, v, DOCUMENTS, causal=False)
    expected = [oracle.near(q[b, h], k[b, h], v[b, h], everything, DOCUMENTS[b]) for b in range(2) for h in range(2)]
    theirs = torch.stack(expected).view_as(out)
    torch.testing.assert_close(out, theirs, atol=1e-12, rtol=0)
    direction = torch.randn_like(out)
    for one, other in zip(
        torch.autograd.grad(out, (q, v), direction, retain_graph=True),
        torch.autograd.grad(theirs, (q, v), direction),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_both_sides_equal_the_exact_attention_of_reformer_pytorch() -> None:
    from reformer_pytorch.reformer_pytorch import FullQKAttention

    torch.manual_seed(1)
    qk, v = (torch.randn(3, 16, 8, dtype=torch.float64) for _ in range(2))
    theirs = FullQKAttention(causal=False)(qk, v)[0]
    ours = full(qk[None], F.normalize(qk, dim=-1)[None], v[None], torch.zeros(1, 16), causal=False)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
def test_a_changed_document_leaves_the_others_to_the_last_bit(causal: bool) -> None:
    torch.manual_seed(3)
    qk, v = torch.randn(2, 2, 20, 8), torch.randn(2, 2, 20, 8)
    inside = DOCUMENTS[:, None, :, None] == 1
    before = full(qk, F.normalize(qk, dim=-1), v, DOCUMENTS, causal=causal)
    qk, v = (torch.where(inside, torch.randn_like(x), x) for x in (qk, v))
    after = full(qk, F.normalize(qk, dim=-1), v, DOCUMENTS, causal=causal)
    assert torch.equal(before.masked_fill(inside, 0), after.masked_fill(inside, 0))
    assert not torch.allclose(before[0, :, 10], after[0, :, 10], atol=1e-3)
