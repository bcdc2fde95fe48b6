"""The shape of a model, with reformer-pytorch's own names, and which values are legal together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from korformer.config import Settings
from korformer.model.options import REFUSED_OPTIONS

AttentionKind = Literal["causal_lsh", "lsh", "local", "full"]
Activation = Literal["gelu", "relu", "silu"]

Positive = Annotated[int, Field(ge=1, le=2**16)]
Length = Annotated[int, Field(ge=1, le=2**24)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


MOST_ROUNDS = 256
"""Rounds of hashing that a model may have."""


class ModelConfig(Settings):
    """Everything that decides a model's parameters and their meaning."""

    refused: ClassVar[Mapping[str, str]] = REFUSED_OPTIONS

    dim: Positive = 256
    """Width of the residual streams."""
    depth: Annotated[int, Field(ge=1, le=512)] = 6
    """Number of layers; each is one attention and one feed-forward block."""
    heads: Positive = 4
    """Attention heads of a layer."""
    dim_head: Positive | None = None
    """Width of a head; dim / heads where it is not given."""
    max_seq_len: Length = 5120
    """Window in tokens: the longest sequence that the positions reach."""
    bucket_size: Annotated[int, Field(ge=2, le=2**16)] = 64
    """Tokens in a chunk of hashed attention; max_seq_len / bucket_size is the number of hash buckets."""
    n_hashes: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] = 4
    """Rounds of hashing."""
    causal: bool = True
    """A decoder: a token sees those before it only. False makes an encoder, which sees both sides."""
    attention: AttentionKind = "causal_lsh"
    """Kind of attention of the layers: causal_lsh (decoders only), lsh (reformer-pytorch's own), local or full."""
    attention_layers: tuple[AttentionKind, ...] | None = None
    """Kind of attention of each layer where they differ; as many as depth."""
    n_local_attn_heads: Annotated[int, Field(ge=0)] = 0
    """Heads of each hashed layer (causal_lsh, lsh) that attend to the nearest tokens instead."""
    window: Positive | None = None
    """causal_lsh: earlier tokens of its own bucket that a query sees in a round; at most bucket_size, its default."""
    local_window: Positive | None = None
    """Tokens before itself (in an encoder on each side) that a local head sees; twice bucket_size where it is not
    given. Local heads of an lsh layer then have reformer-pytorch's windows: blocks of that size, each seeing itself
    and its neighbours."""
    bucket_factors: tuple[Positive, Positive] | None = None
    """Factorised hashing for long windows: a bucket is a pair, one hash for each factor; both even, their product the
    number of buckets."""
    random_rotations_per_head: bool = False
    """Each head hashes with rotations of its own instead of one set for all heads of a layer."""
    hash_seed: int = 0
    """Seed of the rotations used in evaluation and generation."""
    rehash: bool = True
    """Training draws new rotations for every sample and step; False trains on those of evaluation."""
    axial_position_emb: bool = True
    """Positions as a sum of two small tables, one per axis of axial_position_shape."""
    axial_position_shape: tuple[Positive, Positive] | None = None
    """Rows and columns of the axial tables, by default max_seq_len / bucket_size and bucket_size; their product is
    max_seq_len."""
    absolute_position_emb: bool = False
    """Positions as one learnt table."""
    fixed_position_emb: bool = False
    """Positions as sinusoids added to the embedding. With none of the three, queries and keys are rotated (rotary)."""
    rotary_everywhere: bool = True
    """Rotary positions reach local and full attention too; False gives them to hashed heads only, as reformer-pytorch
    does."""
    emb_dim: Positive | None = None
    """Width of the embedding where it is factorised; dim by default."""
    segments: Annotated[int, Field(ge=0, le=2**8)] = 0
    """Kinds of segments that an encoder tells apart by an embedding each (BERT's A and B are 2); 0 has none."""
    weight_tie: bool = False
    """All layers share one set of weights."""
    weight_tie_embedding: bool = True
    """The output layer is the normalised embedding."""
    ff_mult: Positive = 4
    """Width of the feed-forward block as a multiple of dim."""
    ff_glu: bool = False
    """Gated feed-forward."""
    ff_activation: Activation = "gelu"
    """Nonlinearity of the feed-forward block: gelu, relu or silu."""
    ff_dropout: Rate = 0.0
    """Share of the feed-forward block's hidden units that training drops."""
    post_attn_dropout: Rate = 0.0
    """Share of the attention block's outputs that training drops."""
    layer_dropout: Rate = 0.0
    """Probability with which training skips a layer for a whole step."""
    use_scale_norm: bool = False
    """Scale norm instead of layer norm inside the layers."""
    use_rezero: bool = False
    """A learnt factor that starts at zero instead of a norm inside the layers."""
    one_value_head: bool = False
    """All heads share one value projection."""
    final_norm: bool = True
    """Layer norm before the output layer; models from before reformer-pytorch 1.2 have none."""

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.dim_head if self.dim_head is not None else self.dim // self.heads

    @property
    def buckets(self) -> int:
        """Number of hash buckets; even."""
        return self.max_seq_len // self.bucket_size

    @property
    def factors(self) -> tuple[int, ...]:
        """Even numbers whose product is the number of buckets; one hash each."""
        return self.bucket_factors or (self.buckets,)

    @property
    def layer_kinds(self) -> tuple[AttentionKind, ...]:
        """Kind of attention of each of the `depth` layers."""
        return self.attention_layers if self.attention_layers is not None else (self.attention,) * self.depth

    @property
    def bucket_window(self) -> int:
        """Earlier tokens of its bucket that a causal_lsh query sees in a round."""
        return self.window if self.window is not None else self.bucket_size

    @property
    def near_window(self) -> int:
        """Earlier tokens that a local head sees."""
        return self.local_window if self.local_window is not None else 2 * self.bucket_size

    @property
    def padded_to(self) -> int:
        """Sequences are padded inside to a multiple of this many tokens."""
        return math.lcm(2 * self.bucket_size if "lsh" in self.layer_kinds else self.bucket_size, self.near_window)

    @property
    def axial_shape(self) -> tuple[int, int]:
        """Rows and columns of the axial position tables."""
        return self.axial_position_shape or (self.max_seq_len // self.bucket_size, self.bucket_size)

    @model_validator(mode="after")
    def _legal_together(self) -> Self:
        problems = [
            *self._width_problems(),
            *self._length_problems(),
            *self._attention_problems(),
            *self._position_problems(),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _width_problems(self) -> list[str]:
        problems = []
        if self.dim_head is None and self.dim % self.heads:
            below = self.dim - self.dim % self.heads
            nearest = max(below, self.heads)
            problems.append(
                f"dim = {self.dim} is not a multiple of heads = {self.heads}; the nearest legal dim is {nearest} "
                f"or {nearest + self.heads}, or give dim_head"
            )
        if self.rotary and self.head_width % 2:
            problems.append(f"rotary positions need an even head width, not {self.head_width}")
        return problems

    def _length_problems(self) -> list[str]:
        step = 2 * self.bucket_size
        if self.max_seq_len % step == 0:
            return []
        below = self.max_seq_len // step * step
        choices = " or ".join(str(length) for length in (below, below + step) if length)
        return [
            f"max_seq_len = {self.max_seq_len} is not a multiple of 2 x bucket_size = {step}; "
            f"the nearest legal length is {choices}"
        ]

    def _attention_problems(self) -> list[str]:
        problems = []
        if self.attention_layers is not None and len(self.attention_layers) != self.depth:
            problems.append(f"attention_layers names {len(self.attention_layers)} layers, depth is {self.depth}")
        if self.n_local_attn_heads >= self.heads:
            problems.append(
                f"n_local_attn_heads = {self.n_local_attn_heads} leaves no other head of {self.heads}; "
                f"at most {self.heads - 1}, or attention = 'local'"
            )
        if self.bucket_window > self.bucket_size:
            problems.append(f"window = {self.bucket_window} is larger than bucket_size = {self.bucket_size}")
        if self.padded_to > self.max_seq_len and self.max_seq_len % (2 * self.bucket_size) == 0:
            below = max(1, self.near_window // self.bucket_size) * self.bucket_size
            problems.append(
                f"local_window = {self.near_window} beside bucket_size = {self.bucket_size} would pad every text to a "
                f"multiple of {self.padded_to:,} tokens; near it are {below} and {below + self.bucket_size}"
            )
        if not self.causal and "causal_lsh" in self.layer_kinds:
            problems.append("attention = 'causal_lsh' looks back only; an encoder (causal = false) takes 'lsh'")
        if self.bucket_factors is not None:
            one, other = self.bucket_factors
            if one % 2 or other % 2 or one * other != self.buckets:
                problems.append(
                    f"bucket_factors = {one}x{other} must be even and make max_seq_len / bucket_size = "
                    f"{self.buckets} buckets"
                )
        if self.segments and self.causal:
            problems.append(
                f"segments = {self.segments} belong to an encoder: set causal = false and attention = 'lsh', 'local' "
                "or 'full'; a decoder has segments = 0"
            )
        return problems

    def _position_problems(self) -> list[str]:
        chosen = [name for name in ("axial", "absolute", "fixed") if getattr(self, f"{name}_position_emb")]
        if len(chosen) > 1:
            return [f"{' and '.join(f'{name}_position_emb' for name in chosen)} exclude each other; choose one"]
        if not self.axial_position_emb or self.axial_position_shape is None:
            return []
        rows, columns = self.axial_position_shape
        if rows * columns == self.max_seq_len:
            return []
        best = min(
            (divisor for divisor in range(1, self.max_seq_len + 1) if self.max_seq_len % divisor == 0),
            key=lambda divisor: abs(divisor - rows),
        )
        return [
            f"axial_position_shape = {rows}x{columns} makes {rows * columns} positions, max_seq_len is "
            f"{self.max_seq_len}; the nearest legal shape is {best}x{self.max_seq_len // best}"
        ]

    @property
    def rotary(self) -> bool:
        """Whether positions come as rotations of queries and keys."""
        return not (self.axial_position_emb or self.absolute_position_emb or self.fixed_position_emb)
