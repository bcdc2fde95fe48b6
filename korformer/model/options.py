"""Arguments of reformer-pytorch that are no settings here: why there are none, and what to use instead.

docs/options.md has the table of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

REFUSED_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "num_tokens": "is the size of the vocabulary; choose it with korformer vocab --size",
        "ff_chunks": "is not needed: where memory counts, feed-forward blocks are computed some tokens at a time, with "
        "the same result",
        "attn_chunks": "is not needed: attention is computed a few heads at a time, with the same result (in "
        "reformer-pytorch it makes the gradients of reversible layers wrong)",
        "reverse_thres": "is training.reversible here",
        "lsh_dropout": "is not supported: dropped attention weights fit no fast kernel; use model.post_attn_dropout or "
        "model.ff_dropout",
        "use_full_attn": "is model.attention = 'full' here, or model.attention_layers for some of the layers",
        "full_attn_thres": "is not supported: a model would attend otherwise to short texts than to long ones; choose "
        "with model.attention",
        "num_mem_kv": "is not supported: learnt memory has no place in the order of tokens nor in a pack of documents; "
        "leave it out",
        "pkm_layers": "is not supported: there are no product-key memory layers; model.ff_mult widens the feed-forward "
        "blocks",
        "pkm_num_keys": "belongs to pkm_layers, which is not supported; leave it out",
        "return_embeddings": "is no setting: ReformerModel.forward gives embeddings, ReformerModel.logits scores",
        "lsh_attend_across_buckets": "is not supported: chunks attend across buckets in lsh, and in causal_lsh never; "
        "choose with model.attention",
        "lsh_allow_duplicate_attention": "is not supported: a pair of tokens counts once for every round that finds it",
        "twin_attention": "is not supported: reformer-pytorch dropped it after 1.1; leave it out",
    }
)
"""Name of the argument, and the rest of a sentence that begins with it."""
