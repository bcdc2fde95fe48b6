"""Small models of every kind, with weights large enough for every part to matter."""

import torch

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig

SMALL = {"dim": 32, "depth": 3, "heads": 4, "max_seq_len": 256, "bucket_size": 8}

VARIANTS: dict[str, dict[str, object]] = {
    "mixed heads, axial": {"n_local_attn_heads": 2},
    "hashed heads, rotary": {"axial_position_emb": False},
    "narrow window, fixed": {"window": 3, "axial_position_emb": False, "fixed_position_emb": True},
    "local, absolute": {"attention": "local", "axial_position_emb": False, "absolute_position_emb": True},
    "local, rotary": {"attention": "local", "axial_position_emb": False, "local_window": 5},
    "full, rotary": {"attention": "full", "axial_position_emb": False},
    "layers differ": {"attention_layers": ("local", "causal_lsh", "full"), "n_local_attn_heads": 1},
    "every option": {
        "emb_dim": 16,
        "weight_tie": True,
        "weight_tie_embedding": False,
        "ff_glu": True,
        "use_rezero": True,
        "one_value_head": True,
        "dim_head": 6,
        "n_hashes": 2,
    },
    "scale norm": {"use_scale_norm": True, "ff_mult": 2},
    "factorised buckets": {"bucket_factors": (8, 4), "random_rotations_per_head": True, "ff_activation": "silu"},
    "no final norm": {"final_norm": False, "ff_activation": "relu"},
}
CHUNKED: dict[str, dict[str, object]] = {
    "lsh": {"attention": "lsh"},
    "lsh, local heads, rotary": {"attention": "lsh", "n_local_attn_heads": 2, "axial_position_emb": False},
    "lsh, sliding local heads": {"attention": "lsh", "n_local_attn_heads": 2, "local_window": 5},
    "lsh, rotary where the library has it": {
        "attention_layers": ("lsh", "full", "lsh"),
        "n_local_attn_heads": 1,
        "axial_position_emb": False,
        "rotary_everywhere": False,
    },
    "lsh, rotations of its own for each head": {"attention": "lsh", "random_rotations_per_head": True},
}
"""Decoders in whose hashed layers a token's chunk depends on what follows."""

ENCODERS: dict[str, dict[str, object]] = {
    f"encoder, {name}": {**options, "causal": False}
    for name, options in {
        **CHUNKED,
        "local": {"attention": "local"},
        "full": {"attention": "full", "axial_position_emb": False},
        "factorised": {"attention": "lsh", "bucket_factors": (4, 8)},
    }.items()
}
"""Models that see both sides."""

ALL = {**VARIANTS, **CHUNKED, **ENCODERS}
VOCABULARY = 60


def make(variant: str) -> ReformerModel:
    """A model whose weights are large enough for every part to matter."""
    model = ReformerModel(ModelConfig(**{**SMALL, **ALL[variant]}), VOCABULARY)  # type: ignore[arg-type]
    model.initialise(3)
    with torch.no_grad():
        for name, parameter in model.lm.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
            elif name.endswith(".g"):
                parameter.fill_(0.7)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    return model.eval()
