"""The systems that korformer is measured against, at a given shape, and korformer itself behind the same interface.

Every system is a module that gives the training loss of token ids and targets. Positions are axial where the system has
them (the dense decoder turns its queries and keys), the output layer is tied to the embedding where the system can, no
dropout, all in float32.

Legend: B samples, T tokens, D model width, H heads, d head width, V vocabulary.
"""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from measuring import settings_from
from reformer_pytorch import ReformerLM
from torch import Tensor, nn

from korformer.model.backbone import ReformerModel, TrainingDraw
from korformer.model.config import ModelConfig
from korformer.model.products import fast_products
from korformer.training.optimizer import make_optimizer
from korformer.training.settings import TrainingSettings

IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What all systems have in common.

    Attributes:
        length: tokens of a sample, and the window.
        dim, depth, heads: width, layers, heads a layer.
        vocabulary: tokens.
        bucket_size, n_hashes: of hashed attention.
        causal: a decoder; False makes an encoder.
        more: further fields of korformer's ModelConfig.
    """

    length: int
    dim: int = 768
    depth: int = 12
    heads: int = 12
    vocabulary: int = 22000
    bucket_size: int = 64
    n_hashes: int = 4
    causal: bool = True
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def axial_shape(self) -> tuple[int, int]:
        """Rows and columns of axial positions."""
        return self.length // self.bucket_size, self.bucket_size

    @property
    def config(self) -> ModelConfig:
        """Korformer's configuration of this shape."""
        values: dict[str, Any] = {
            "dim": self.dim,
            "depth": self.depth,
            "heads": self.heads,
            "max_seq_len": self.length,
            "bucket_size": self.bucket_size,
            "n_hashes": self.n_hashes,
            "causal": self.causal,
            "attention": "causal_lsh" if self.causal else "lsh",
        }
        return ModelConfig(**{**values, **self.more})


def shape_options(parser: ArgumentParser, *, length: int, dim: int = 768, depth: int = 12, heads: int = 12) -> None:
    """Add the options that `shape_of` reads, with these defaults."""
    sizes = {"length": length, "dim": dim, "depth": depth, "heads": heads, "vocabulary": 22000}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"of the model (default {default})")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of korformer's ModelConfig")


def shape_of(options: Namespace, **more: Any) -> Shape:
    """The shape that the options give, and further fields of it."""
    return Shape(
        length=options.length,
        dim=options.dim,
        depth=options.depth,
        heads=options.heads,
        vocabulary=options.vocabulary,
        more=settings_from(options.set),
        **more,
    )


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A system and how its process is set up.

    Attributes:
        system: name of its builder.
        fast_products: fp32 matrix products run where they are fastest (korformer.model.products; what
            `torch.set_float32_matmul_precision("medium")` asks for, on processors where it stays fp32). Training with
            korformer always does so.
        keep_memory: the C library keeps freed memory (korformer.training.allocator).
        bf16: forward under bfloat16 autocast.
        presets_mix: attention as in korformer's presets: half of the heads local, two rounds of hashing.
    """

    system: str
    fast_products: bool = False
    keep_memory: bool = False
    bf16: bool = False
    presets_mix: bool = False


class Trained:
    """A system that can take optimizer steps.

    Args:
        module: holds the parameters.
        loss: mean cross-entropy of (B, T) token ids and targets.
        optimizer: over the module's parameters; fused AdamW where it is not given.
        clip: largest norm of the gradient, for every system what `korformer pretrain` has by default.
    """

    clip = 1.0

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.module = module.train()
        self.loss = loss
        self.optimizer = optimizer or torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)

    def step(self, tokens_BT: Tensor, targets_BT: Tensor, setup: Setup) -> float:
        """Forward, backward, clipping and optimizer on the CPU; returns the loss."""
        with fast_products() if setup.fast_products else nullcontext():
            with torch.autocast("cpu", torch.bfloat16, enabled=setup.bf16):
                mean = self.loss(tokens_BT, targets_BT)
            mean.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(mean.detach())


def build(system: str, shape: Shape) -> Trained:
    """A system by its name in `SYSTEMS`, or transformers' notebook.

    Raises:
        ValueError: there is none of that name.
    """
    builders = {**SYSTEMS, NOTEBOOK: _half_million_peer}
    if system not in builders:
        raise ValueError(f"no system {system!r}; there are {', '.join(builders)}")
    torch.manual_seed(0)
    return builders[system](shape)


# korformer


def korformer_model(shape: Shape) -> ReformerModel:
    """The model as a new run of `korformer pretrain` has it."""
    model = ReformerModel(shape.config, shape.vocabulary)
    model.initialise(0)
    return model


def _korformer(shape: Shape, *, reversible: bool) -> Trained:
    """The path of `korformer pretrain`: model, loss, optimizer and hash draws."""
    model = korformer_model(shape)
    optimizer = make_optimizer(model, TrainingSettings())
    steps = iter(range(1, 2**31))

    def loss(tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        draw = TrainingDraw(seed=0, step=next(steps), samples=range(len(tokens_BT)))
        return model.loss(model(tokens_BT, draw=draw, reversible=reversible), targets_BT)[0]

    return Trained(model, loss, optimizer)


# reformer-pytorch


def reformer_pytorch_model(shape: Shape, *, tuned: bool) -> ReformerLM:
    """reformer-pytorch's language model.

    Args:
        shape: the shape.
        tuned: feed-forward in one piece and layers that keep their activations (`ff_chunks=1`, `reverse_thres` above
            the length), the fastest documented setting; else the library's defaults, reversible with 100 pieces.
    """
    speed = {"ff_chunks": 1, "reverse_thres": 2 * shape.length} if tuned else {}
    return ReformerLM(
        num_tokens=shape.vocabulary,
        dim=shape.dim,
        depth=shape.depth,
        heads=shape.heads,
        dim_head=shape.dim // shape.heads,
        max_seq_len=shape.length,
        bucket_size=shape.bucket_size,
        n_hashes=shape.n_hashes,
        causal=shape.causal,
        axial_position_emb=True,
        axial_position_shape=shape.axial_shape,
        weight_tie_embedding=True,
        **speed,
    )


def _reformer_pytorch(shape: Shape, *, tuned: bool) -> Trained:
    model = reformer_pytorch_model(shape, tuned=tuned)
    return Trained(model, lambda tokens, targets: _cross_entropy(model(tokens), targets))


def _cross_entropy(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    return F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORED)


# transformers


def transformers_model(shape: Shape) -> nn.Module:
    """The Reformer of transformers with hashed layers only; its output layer, 2 x dim wide, cannot be tied."""
    from transformers import ReformerConfig, ReformerForMaskedLM, ReformerModelWithLMHead
    from transformers.utils import logging

    logging.set_verbosity_error()
    buckets = shape.length // shape.bucket_size
    config = ReformerConfig(
        attention_head_size=shape.dim // shape.heads,
        attn_layers=["lsh"] * shape.depth,
        axial_pos_shape=shape.axial_shape,
        axial_pos_embds_dim=(shape.dim // 4, shape.dim - shape.dim // 4),
        feed_forward_size=4 * shape.dim,
        hidden_act="gelu",
        hidden_dropout_prob=0.0,
        hidden_size=shape.dim,
        is_decoder=shape.causal,
        lsh_attn_chunk_length=shape.bucket_size,
        lsh_num_chunks_after=0 if shape.causal else 1,
        max_position_embeddings=shape.length,
        num_attention_heads=shape.heads,
        num_buckets=_factors(buckets) if buckets > 2 * shape.bucket_size else buckets,
        num_hashes=shape.n_hashes,
        vocab_size=shape.vocabulary,
    )
    return cast("nn.Module", (ReformerModelWithLMHead if shape.causal else ReformerForMaskedLM)(config))


def _factors(buckets: int) -> list[int]:
    """Two even factors as near to each other as can be."""
    pairs = [(a, buckets // a) for a in range(2, buckets, 2) if buckets % a == 0 and buckets // a % 2 == 0]
    return list(min(pairs, key=lambda pair: abs(math.log(pair[0] / pair[1]))))


def _transformers(shape: Shape) -> Trained:
    model = transformers_model(shape)

    def loss(tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        return _cross_entropy(model(tokens_BT).logits, targets_BT)

    return Trained(model, loss)


# A plain decoder


class DenseLayer(nn.Module):
    """One pre-norm layer of a plain Transformer: dense attention with rotary positions, GELU feed-forward x 4."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def project(self, x_BTD: Tensor, turns_Td: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, H, T, d)."""
        B, T, _ = x_BTD.shape
        q, k, v = self.to_qkv(self.attention_norm(x_BTD)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return _turned(q, turns_Td), _turned(k, turns_Td), v

    def finish(self, x_BTD: Tensor, attended_BHTd: Tensor) -> Tensor:
        """What comes after attention, (B, T, D)."""
        x = x_BTD + self.to_out(attended_BHTd.transpose(1, 2).flatten(2))
        return x + cast("Tensor", self.down(F.gelu(self.up(self.feed_forward_norm(x)))))

    def forward(self, x_BTD: Tensor, turns_Td: tuple[Tensor, Tensor], causal: bool) -> Tensor:
        """The layer over whole sequences."""
        q, k, v = self.project(x_BTD, turns_Td)
        return self.finish(x_BTD, F.scaled_dot_product_attention(q, k, v, is_causal=causal))


def _turned(x_BHTd: Tensor, turns_Td: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions (Su et al. 2021), halves of the width as the two coordinates."""
    cos, sin = turns_Td
    first, second = x_BHTd.chunk(2, dim=-1)
    return x_BHTd * cos + torch.cat((-second, first), dim=-1) * sin


class DenseModel(nn.Module):
    """A plain Transformer of the same width, depth, heads and vocabulary."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.causal = shape.causal
        self.heads = shape.heads
        self.token_embedding = nn.Embedding(shape.vocabulary, shape.dim)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.layers = nn.ModuleList(DenseLayer(shape.dim, shape.heads) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.dim)
        angles = torch.outer(torch.arange(shape.length), 10000 ** -torch.linspace(0, 1, shape.dim // shape.heads // 2))
        turns = torch.cat([angles, angles], dim=-1)
        self.register_buffer("cos", turns.cos(), persistent=False)
        self.register_buffer("sin", turns.sin(), persistent=False)

    def turns(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of positions, each (T, d)."""
        return cast("Tensor", self.cos)[begin:end], cast("Tensor", self.sin)[begin:end]

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Hidden states before the output layer, (B, T, D)."""
        x = self.token_embedding(tokens_BT)
        turns = self.turns(0, tokens_BT.shape[1])
        for layer in self.layers:
            x = layer(x, turns, self.causal)
        return cast("Tensor", self.norm(x))

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every token, (..., V)."""
        return F.linear(hidden, self.token_embedding.weight)


class DenseDecode:
    """Token by token with a preallocated key-value cache.

    Args:
        model: a causal one.
        capacity: tokens that the cache holds.
        filled: tokens that it pretends to have read: their keys and values are random, which costs what others cost.
    """

    def __init__(self, model: DenseModel, capacity: int, filled: int) -> None:
        self.model = model.eval()
        self.length = filled
        layers, heads = len(model.layers), model.heads
        width = model.token_embedding.weight.shape[1] // heads
        self.keys_LHTd, self.values_LHTd = (torch.randn(layers, heads, capacity, width) for _ in range(2))

    @torch.inference_mode()
    def step(self, token: int) -> Tensor:
        """Scores of the token after this one, (V,)."""
        model, at = self.model, self.length
        x = model.token_embedding(torch.tensor([[token]]))
        turns = model.turns(at, at + 1)
        for number, layer in enumerate(model.layers):
            assert isinstance(layer, DenseLayer)
            q, k, v = layer.project(x, turns)
            keys, values = self.keys_LHTd[number], self.values_LHTd[number]
            keys[:, at], values[:, at] = k[0, :, 0], v[0, :, 0]
            x = layer.finish(x, F.scaled_dot_product_attention(q, keys[None, :, : at + 1], values[None, :, : at + 1]))
        self.length += 1
        return model.logits(model.norm(x)[0, 0])


ORDINARY_LOGITS = 2**30
"""Logits up to which the dense decoder computes an ordinary cross-entropy; beyond, several times that in float32 would
not fit most machines and it computes it in chunks."""


def _dense(shape: Shape) -> Trained:
    model = DenseModel(shape)

    def loss(tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        hidden = model(tokens_BT)
        if tokens_BT.numel() * shape.vocabulary > ORDINARY_LOGITS:
            from korformer.model.losses import linear_cross_entropy

            weight = model.token_embedding.weight
            return linear_cross_entropy(hidden.flatten(0, 1), weight, None, targets_BT.flatten())[0]
        return _cross_entropy(model.logits(hidden), targets_BT)

    return Trained(model, loss)


def _half_million_peer(shape: Shape) -> Trained:
    """Transformers' Reformer as its notebook on half a million tokens sets it up; see `half_million.py`."""
    from transformers import ReformerConfig, ReformerModelWithLMHead
    from transformers.utils import logging

    logging.set_verbosity_error()
    more = shape.more
    config = ReformerConfig(
        attention_head_size=more["dim_head"],
        attn_layers=["local", "lsh"] * (shape.depth // 2),
        axial_pos_shape=more["axial_position_shape"],
        axial_pos_embds_dim=(shape.dim // 4, shape.dim - shape.dim // 4),
        feed_forward_size=more["ff_mult"] * shape.dim,
        hidden_dropout_prob=0.0,
        local_attention_probs_dropout_prob=0.0,
        hidden_size=shape.dim,
        is_decoder=True,
        lsh_attn_chunk_length=shape.bucket_size,
        local_attn_chunk_length=more["local_window"],
        max_position_embeddings=shape.length,
        num_attention_heads=shape.heads,
        num_buckets=more["bucket_factors"],
        num_hashes=shape.n_hashes,
        vocab_size=shape.vocabulary,
    )
    model = ReformerModelWithLMHead(config)
    return Trained(model, lambda tokens, targets: _cross_entropy(model(tokens).logits, targets))


SYSTEMS: dict[str, Callable[[Shape], Trained]] = {
    "korformer fast": lambda shape: _korformer(shape, reversible=False),
    "korformer small-memory": lambda shape: _korformer(shape, reversible=True),
    "reformer-pytorch": lambda shape: _reformer_pytorch(shape, tuned=False),
    "reformer-pytorch tuned": lambda shape: _reformer_pytorch(shape, tuned=True),
    "transformers": _transformers,
    "dense": _dense,
}
"""Every system that trains."""

NOTEBOOK = "transformers' notebook"

_TUNED = {"fast_products": True, "keep_memory": True}

SETUPS = {
    "korformer fast": Setup(system="korformer fast", **_TUNED),
    "korformer fast, presets' mix": Setup(system="korformer fast", presets_mix=True, **_TUNED),
    "korformer small-memory": Setup(system="korformer small-memory", fast_products=True),
    "korformer fast, bf16": Setup(system="korformer fast", bf16=True, **_TUNED),
    "reformer-pytorch": Setup(system="reformer-pytorch"),
    "reformer-pytorch, tuned": Setup(system="reformer-pytorch tuned", **_TUNED),
    "transformers": Setup(system="transformers"),
    "transformers, tuned": Setup(system="transformers", **_TUNED),
    "dense": Setup(system="dense"),
    "dense, tuned": Setup(system="dense", **_TUNED),
    "dense, tuned, bf16": Setup(system="dense", bf16=True, **_TUNED),
}
"""Every row of the tables of training on a CPU. A peer is measured as its library comes, and tuned: with the library's
own fastest documented setting, torch's fastest fp32 products, and freed memory kept, as `korformer pretrain` does where
layers are not reversible."""

NOTEBOOK_SETUPS = {
    NOTEBOOK: Setup(system=NOTEBOOK),
    f"{NOTEBOOK}, tuned": Setup(system=NOTEBOOK, fast_products=True),  # reversible: kept memory would only add to it
}
