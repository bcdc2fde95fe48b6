"""The frozen prefix against reformer-pytorch's own attention on the padded prefix."""

import pytest
import torch
import torch.nn.functional as F
from reformer_pytorch.reformer_pytorch import LSHAttention
from torch import Tensor

from korformer.model.decode.frozen import frozen_entries, frozen_entries_of_block
from korformer.model.decode.pages import BucketPages

HEADS, ROUNDS, WIDTH, TOKENS, BUCKET_SIZE, BUCKETS = 2, 3, 6, 60, 4, 16
"""Sixteen buckets of four: a window of 64 tokens."""


class GivenBuckets(LSHAttention):  # type: ignore[misc]
    """reformer-pytorch's attention with buckets of ours in the place of its hashes."""

    given: Tensor

    def hash_vectors(self, n_buckets: int, vecs: Tensor, **_: object) -> Tensor:
        offsets = torch.arange(self.n_hashes)[:, None] * n_buckets
        return (self.given + offsets).reshape(len(vecs), -1)


def by_the_library(qk_Htd: Tensor, v_Htd: Tensor, buckets_HRt: Tensor) -> Tensor:
    """Its output at the last token of a prefix that is padded to the window and one pair of chunks more."""
    length = qk_Htd.shape[1]
    padding = BUCKET_SIZE * (BUCKETS + 2) - length
    attention = GivenBuckets(bucket_size=BUCKET_SIZE, n_hashes=ROUNDS, causal=True).double().eval()
    attention.given = F.pad(buckets_HRt, (0, padding), value=BUCKETS)
    mask = torch.arange(length + padding).expand(HEADS, -1) < length
    out = attention(F.pad(qk_Htd, (0, 0, 0, padding)), F.pad(v_Htd, (0, 0, 0, padding)), input_mask=mask)[0]
    return out[:, length - 1]


def attended(qk_Htd: Tensor, v_Htd: Tensor, entries_HS: Tensor) -> Tensor:
    """Attention of the last token to the given entries, by definition."""
    rows = []
    for qk, v, entries in zip(qk_Htd, v_Htd, entries_HS, strict=True):
        seen = entries[entries > 0] - 1
        keys = F.normalize(qk, dim=-1)
        weights = torch.softmax(keys[seen] @ qk[-1] * WIDTH**-0.5, dim=0)
        rows.append(weights @ v[seen] if len(seen) else v[-1])
    return torch.stack(rows)


@pytest.mark.parametrize("spread", [BUCKETS, 3, 1])
def test_each_token_sees_what_the_library_shows_it_on_the_padded_prefix(spread: int) -> None:
    """With few buckets in use chunks lie inside buckets, with many they reach over several."""
    torch.manual_seed(0)
    qk, v = (torch.randn(HEADS, TOKENS, WIDTH, dtype=torch.float64) for _ in range(2))
    buckets = torch.randint(0, BUCKETS, (spread,))[torch.randint(0, spread, (HEADS, ROUNDS, TOKENS))]
    pages = BucketPages(1, HEADS * ROUNDS, BUCKETS, 2 * BUCKET_SIZE, torch.device("cpu"))
    pages.reserve(TOKENS)
    flat = buckets.flatten(0, 1)
    for t in range(TOKENS):
        entries = frozen_entries(pages, 0, flat[:, t], t, BUCKET_SIZE).view(HEADS, -1)
        pages.add(flat[:, t])
        prefix = slice(0, t + 1)
        ours = attended(qk[:, prefix], v[:, prefix], entries)
        assert torch.allclose(ours, by_the_library(qk[:, prefix], v[:, prefix], buckets[..., prefix]), atol=1e-12)


@pytest.mark.parametrize("spread", [BUCKETS, 3, 1])
def test_a_block_sees_what_its_tokens_see_one_by_one(spread: int) -> None:
    torch.manual_seed(1)
    rows = HEADS * ROUNDS
    buckets = torch.randint(0, BUCKETS, (spread,))[torch.randint(0, spread, (rows, TOKENS))]
    stepped, read = (BucketPages(1, rows, BUCKETS, 2 * BUCKET_SIZE, torch.device("cpu")) for _ in range(2))
    stepped.reserve(TOKENS)
    read.reserve(TOKENS)
    alone = []
    for t in range(TOKENS):
        alone.append(frozen_entries(stepped, 0, buckets[:, t], t, BUCKET_SIZE))
        stepped.add(buckets[:, t])
    for begin, end in ((0, 7), (7, 50), (50, 60)):
        before = read.counts(0).clone()
        read.extend(0, buckets[:, begin:end])
        together = frozen_entries_of_block(read, 0, before, buckets[:, begin:end], begin, BUCKET_SIZE)
        for t in range(begin, end):
            # The same in another order is the same: masked places are 0 wherever they stand.
            assert torch.equal(together[t - begin].sort().values, alone[t].sort().values)
