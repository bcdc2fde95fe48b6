"""Which function computes a layer's attention, by its kind.

Legend: B samples, H heads, R rounds, T tokens, d head width.
"""

from __future__ import annotations

from torch import Tensor

from korformer.model.attention.causal_lsh import causal_lsh, local
from korformer.model.attention.full import full
from korformer.model.attention.lsh import lsh
from korformer.model.attention.windowed import two_sided, windowed
from korformer.model.config import AttentionKind, ModelConfig


def near_attention(
    config: ModelConfig, kind: AttentionKind, q: Tensor, k: Tensor, v: Tensor, documents_BT: Tensor
) -> Tensor:
    """Attention of heads that see what is near, (B, H, T, d).

    Args:
        config: the model's shape.
        kind: kind of the layer; beside heads with reformer-pytorch's hashing the local heads are its own too.
        q, k, v: (B, H, T, d) queries, unit-length keys, values.
        documents_BT: document of each token, that of padding above all others.
    """
    if kind == "lsh" and config.local_window is None:
        return windowed(q, k, v, documents_BT, window=config.near_window, causal=config.causal)
    if config.causal:
        return local(q, k, v, documents_BT, window=config.near_window)
    return two_sided(q, k, v, documents_BT, window=config.near_window)


def far_attention(
    config: ModelConfig,
    kind: AttentionKind,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    buckets_BHRT: Tensor | None,
    documents_BT: Tensor,
) -> Tensor:
    """Attention of heads that see any distance, (B, H, T, d); `buckets_BHRT` where the kind hashes."""
    if kind == "full":
        return full(q, k, v, documents_BT, causal=config.causal)
    assert buckets_BHRT is not None
    if kind == "lsh":
        return lsh(
            q,
            k,
            v,
            buckets_BHRT,
            documents_BT,
            n_buckets=config.buckets,
            chunk=config.bucket_size,
            causal=config.causal,
        )
    return causal_lsh(
        q,
        k,
        v,
        buckets_BHRT,
        documents_BT,
        n_buckets=config.buckets,
        chunk=config.bucket_size,
        window=config.bucket_window,
    )
