"""The stock ReformerLM beside a model: the same weights, in float64, with the same hash buckets."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from reformer_pytorch import ReformerLM
from torch import Tensor

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig

SHAPE: dict[str, Any] = {"dim": 32, "depth": 2, "heads": 4, "max_seq_len": 64, "bucket_size": 8, "attention": "lsh"}
VOCABULARY = 40


def make(**options: Any) -> ReformerModel:
    """A model in float64 whose weights are large enough for every part to matter."""
    model = ReformerModel(ModelConfig(**{**SHAPE, **options}), VOCABULARY).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.lm.parameters():
            parameter.normal_(0.0, 1.0 if parameter.dim() < 2 else parameter.shape[-1] ** -0.5, generator=generator)
    return model.eval()


def tokens(rows: int = 2, length: int = SHAPE["max_seq_len"]) -> Tensor:
    return torch.randint(5, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(0))


def record_buckets(model: ReformerModel) -> dict[int, Tensor]:
    """The buckets (B, H, R, T) that each layer of the model uses from now on; filled while it runs."""
    found: dict[int, Tensor] = {}
    original = model.hash

    def remember(layer: int, qk: Tensor, draw: Any = None) -> Tensor:
        found[layer] = original(layer, qk, draw)
        return found[layer]

    model.hash = remember  # type: ignore[method-assign]
    return found


def inject_buckets(lm: ReformerLM, buckets: Mapping[int, Tensor]) -> None:
    """Let a ReformerLM use these instead of its own hashing."""

    def hash_vectors(n_buckets: int, vectors: Tensor, key_namespace: int = 0, **_: Any) -> Tensor:
        chosen = buckets[key_namespace].long()
        return (chosen + torch.arange(chosen.shape[2])[:, None] * n_buckets).reshape(vectors.shape[0], -1)

    for block in lm.reformer.layers.blocks:
        block.f.net.fn.lsh_attn.hash_vectors = hash_vectors


def logits(model: ReformerModel, tokens_BT: Tensor, **options: Any) -> Tensor:
    """Scores of every token in the model's own precision, (B, T, V)."""
    hidden = model(tokens_BT, **options)
    return F.linear(model.lm.out[0](hidden), model.head_weight, model.head_bias)
