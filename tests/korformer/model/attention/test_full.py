import oracle
import torch
import torch.nn.functional as F

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
