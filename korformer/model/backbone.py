"""The Reformer: reformer-pytorch's modules and parameter names, computed by korformer's attention.

Legend: B samples, T tokens, D model width, H heads, d head width, V vocabulary, R rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
import torch.nn.functional as F
from reformer_pytorch.reformer_pytorch import ReformerLM
from torch import Tensor, nn

from korformer.model.attention.hashing import drawn_rotations, hash_buckets, stored_rotations
from korformer.model.attention.paths import far_attention, near_attention
from korformer.model.blocks import (
    apply_feed_forward,
    finish_attention,
    inner_attention,
    norm_input,
    project,
    queries_and_keys,
)
from korformer.model.config import ModelConfig
from korformer.model.decode import DecodeState, Precision
from korformer.model.draws import Dropout, TrainingDraw, kept_layers
from korformer.model.heads import Head, HeadSpec, make_head
from korformer.model.losses import linear_cross_entropy, token_losses
from korformer.model.positions import look_up, position_table
from korformer.model.stack import layer_means, run_layers

__all__ = ["ReformerModel", "TrainingDraw"]


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where each token stands: its document, and its position as angles where positions are rotations."""

    documents_BT: Tensor
    angles_BTd: Tensor | None


ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}


def _reformer_lm(config: ModelConfig, vocabulary_size: int) -> ReformerLM:
    """reformer-pytorch's language model of this shape: the holder of every parameter."""
    return ReformerLM(
        num_tokens=vocabulary_size,
        dim=config.dim,
        depth=config.depth,
        max_seq_len=config.max_seq_len,
        heads=config.heads,
        dim_head=config.head_width,
        bucket_size=config.bucket_size,
        n_hashes=config.n_hashes,
        ff_chunks=1,
        causal=config.causal,
        weight_tie=config.weight_tie,
        ff_mult=config.ff_mult,
        ff_glu=config.ff_glu,
        ff_activation=ACTIVATIONS[config.ff_activation],
        random_rotations_per_head=config.random_rotations_per_head,
        use_scale_norm=config.use_scale_norm,
        use_rezero=config.use_rezero,
        one_value_head=config.one_value_head,
        emb_dim=config.emb_dim,
        weight_tie_embedding=config.weight_tie_embedding,
        fixed_position_emb=config.fixed_position_emb,
        absolute_position_emb=config.absolute_position_emb,
        axial_position_emb=config.axial_position_emb,
        axial_position_shape=config.axial_shape if config.axial_position_emb else None,
        n_local_attn_heads=config.n_local_attn_heads,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layer:
    """One layer of the stack over the tokens of one forward."""

    model: ReformerModel
    number: int
    place: _Place
    draw: TrainingDraw | None

    @property
    def _wrappers(self) -> tuple[nn.Module, nn.Module]:
        return self.model.layers[self.number]

    def attention_parameters(self) -> list[Tensor]:
        return list(self._wrappers[0].parameters())

    def feed_forward_parameters(self) -> list[Tensor]:
        return list(self._wrappers[1].parameters())

    def feed_forward(self, x_BTD: Tensor, first: int) -> Tensor:
        drop = Dropout(self.draw, self.model.config.ff_dropout, "feed-forward", self.number)
        return apply_feed_forward(self._wrappers[1], x_BTD, partial(drop, first=first) if drop else None)

    def attend(self, x_BTD: Tensor, buckets: Tensor | None) -> tuple[Tensor, Tensor | None]:
        model, config, wrapper = self.model, self.model.config, self._wrappers[0]
        qk_BHTd, v_BHTd = project(inner_attention(wrapper), norm_input(wrapper, x_BTD))
        near, kind = model.near_heads(self.number), config.layer_kinds[self.number]
        hashed = kind in {"causal_lsh", "lsh"}
        if hashed and buckets is None:
            buckets = model.hash(self.number, qk_BHTd[:, near:], self.draw)
        turned = queries_and_keys(qk_BHTd, self.place.angles_BTd)
        plain = turned if config.rotary_everywhere or not config.rotary else queries_and_keys(qk_BHTd, None)
        documents_BT = self.place.documents_BT
        parts = []
        if near:
            q, k = (x[:, :near] for x in plain)
            parts.append(near_attention(config, kind, q, k, v_BHTd[:, :near], documents_BT))
        if near < config.heads:
            q, k = (x[:, near:] for x in (turned if hashed else plain))
            parts.append(far_attention(config, kind, q, k, v_BHTd[:, near:], buckets, documents_BT))
        out_BTD = finish_attention(wrapper, torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])
        return Dropout(self.draw, config.post_attn_dropout, "attention", self.number)(out_BTD), buckets


class ReformerModel(nn.Module):
    """A Reformer. Of a strictly causal one the output at a token depends on that token and those before it in its
    document only.

    Args:
        config: the model's shape.
        vocabulary_size: tokens of the vocabulary.
        heads: what stands on the hidden states beside the output layer, by name.
    """

    def __init__(
        self, config: ModelConfig, vocabulary_size: int, heads: Mapping[str, HeadSpec] = MappingProxyType({})
    ) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.lm = _reformer_lm(config, vocabulary_size)
        if not config.final_norm:
            self.lm.norm = nn.Identity()
        # Last, and in here: so parameters are drawn as without them, and have the names that a model directory has.
        if config.segments:
            self.lm.segment_emb = nn.Embedding(config.segments, config.emb_dim or config.dim)
        if heads:
            self.lm.heads = nn.ModuleDict({name: make_head(spec, config.dim) for name, spec in heads.items()})

    @property
    def strictly_causal(self) -> bool:
        """Whether no output depends on what follows; hashing in chunks of a sorted sequence (lsh) breaks it."""
        return self.config.causal and "lsh" not in self.config.layer_kinds

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Set every parameter, as a function of `seed` alone.

        Embedding and matrices normal(0, 0.02), positions normal(0, 0.01), the matrices that write into the residual
        streams smaller by sqrt(2 x depth) as in GPT-2, norms one, biases zero; ReZero factors zero.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.lm.named_parameters():
            if name.startswith("pos_emb"):
                parameter.normal_(0.0, 0.01, generator=generator)
            elif name.endswith(".g"):
                parameter.fill_(1.0 if self.config.use_scale_norm and not self.config.use_rezero else 0.0)
            elif name.endswith("bias"):
                parameter.zero_()
            elif "norm" in name:
                parameter.fill_(1.0)
            else:
                writes = name.endswith(("to_out.weight", "w2.weight"))
                std = 0.02 / math.sqrt(2 * self.config.depth) if writes else 0.02
                parameter.normal_(0.0, std, generator=generator)

    @property
    def heads(self) -> Mapping[str, Head]:
        """The heads by name."""
        return dict(getattr(self.lm, "heads", {}).items())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.lm.token_emb.weight.device
        return device

    def new_state(self, weights: Precision = "fp32") -> DecodeState:
        """An empty context to read and write a text token by token.

        Args:
            weights: precision of the matrices in single steps.
        """
        return DecodeState(self, weights)

    @property
    def layers(self) -> list[tuple[nn.Module, nn.Module]]:
        """The wrapped attention and feed-forward module of each layer."""
        return [(block.f.net, block.g.net) for block in self.lm.reformer.layers.blocks]

    def forward(
        self,
        tokens_BT: Tensor,
        *,
        documents_BT: Tensor | None = None,
        positions_BT: Tensor | None = None,
        segments_BT: Tensor | None = None,
        draw: TrainingDraw | None = None,
        reversible: bool = False,
    ) -> Tensor:
        """Hidden states before the output layer, (B, T, D).

        Args:
            tokens_BT: int64 token ids; T at most max_seq_len.
            documents_BT: integer document of each token, not falling along a row, -1 on padding (only at the end);
                one document a row where it is not given.
            positions_BT: position of each token in its document; counted from the row's start where not given.
            segments_BT: int64 segment of each token, for a model that has `segments`; the first one where not given.
            draw: keys of what training draws; without it nothing is dropped and the rotations are those of evaluation.
            reversible: keep activations of no layer for backward; memory does not grow with depth, time by a third.
        """
        layers, x_BTD = self._begin(tokens_BT, documents_BT, positions_BT, segments_BT, draw)
        mean_BTD = run_layers(layers, x_BTD, reversible=reversible)
        hidden: Tensor = self.lm.norm(mean_BTD[:, : tokens_BT.shape[1]])
        return hidden

    @torch.no_grad()
    def layer_states(
        self,
        tokens_BT: Tensor,
        *,
        documents_BT: Tensor | None = None,
        positions_BT: Tensor | None = None,
        segments_BT: Tensor | None = None,
    ) -> list[Tensor]:
        """Mean of the residual streams before the first layer and after each, depth + 1 of (B, T, D), without gradients
        and without the last norm. Arguments as of `forward`.
        """
        layers, x_BTD = self._begin(tokens_BT, documents_BT, positions_BT, segments_BT, None)
        return [x_BTD[:, : tokens_BT.shape[1]] for x_BTD in layer_means(layers, x_BTD)]

    def _begin(
        self,
        tokens_BT: Tensor,
        documents_BT: Tensor | None,
        positions_BT: Tensor | None,
        segments_BT: Tensor | None,
        draw: TrainingDraw | None,
    ) -> tuple[list[_Layer], Tensor]:
        """The layers of this forward, and the embedded tokens (B, T padded, D) that they begin with."""
        B, T = tokens_BT.shape
        device = tokens_BT.device
        if documents_BT is None:
            documents_BT = torch.zeros_like(tokens_BT)
        if positions_BT is None:
            positions_BT = torch.arange(T, device=device).expand(B, T)
        padding = -T % self.config.padded_to
        documents_BT = torch.where(documents_BT < 0, T, documents_BT)  # padding sorts behind every document
        place = _Place(
            documents_BT=F.pad(documents_BT, (0, padding), value=T),
            angles_BTd=self._angles(F.pad(positions_BT, (0, padding))),
        )
        x_BTD = F.pad(self.embed(tokens_BT, positions_BT, segments_BT), (0, 0, 0, padding))
        layers = [
            _Layer(model=self, number=layer, place=place, draw=draw)
            for layer in kept_layers(draw, self.config.depth, self.config.layer_dropout)
        ]
        return layers, x_BTD

    def embed(self, tokens_BT: Tensor, positions_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """Token, position and segment embeddings, (B, T, D)."""
        x = self.lm.token_emb(tokens_BT)
        table = position_table(self.lm.pos_emb, self.config.max_seq_len)
        if table is not None:
            x = x + look_up(table, positions_BT)
        if self.config.segments:
            weight_SD = self.lm.segment_emb.weight
            x = x + (weight_SD[0] if segments_BT is None else F.embedding(segments_BT, weight_SD))
        embedded: Tensor = self.lm.to_model_dim(x)
        return embedded

    def _angles(self, positions_BT: Tensor) -> Tensor | None:
        table = position_table(self.lm.layer_pos_emb, self.config.max_seq_len)
        return look_up(table, positions_BT) if table is not None else None

    def rotations(self, layer: int, rounds: int, draw: TrainingDraw | None = None) -> Tensor:
        """Hash rotations of a layer, (1 or B, 1 or hashed heads, R, d, sum of the factors / 2)."""
        config = self.config
        heads = config.heads - config.n_local_attn_heads if config.random_rotations_per_head else 1
        if draw is not None and config.rehash:
            return drawn_rotations(draw, layer, heads, rounds, config.head_width, sum(config.factors))
        return stored_rotations(config.hash_seed, layer, heads, rounds, config.head_width, sum(config.factors))

    def hash(self, layer: int, qk_BHTd: Tensor, draw: TrainingDraw | None = None) -> Tensor:
        """Bucket of every token of a layer's hashed heads in every round, (B, H, R, T) int16 or int32."""
        rotations = self.rotations(layer, self.config.n_hashes, draw)
        return hash_buckets(qk_BHTd, rotations, self.config.factors)

    def near_heads(self, layer: int) -> int:
        """How many of a layer's heads attend by distance alone; they come first."""
        kind = self.config.layer_kinds[layer]
        if kind == "local":
            return self.config.heads
        return self.config.n_local_attn_heads if kind in {"causal_lsh", "lsh"} else 0

    @property
    def head_weight(self) -> Tensor:
        """Weight of the output layer, (V, E): the normalised embedding where the two are tied."""
        if self.config.weight_tie_embedding:
            return F.normalize(self.lm.token_emb.weight, dim=-1)
        weight: Tensor = self.lm.out[1].weight
        return weight

    @property
    def head_bias(self) -> Tensor | None:
        """Bias of the output layer, (V,), where it has one."""
        return None if self.config.weight_tie_embedding else self.lm.out[1].bias

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every token, (…, V) float32."""
        return F.linear(self.lm.out[0](hidden), self.head_weight, self.head_bias).float()

    def loss(self, hidden_BTD: Tensor, targets_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy in nats (with gradient) and each token's (B, T) without; 0 where the target is -100."""
        narrow = self.lm.out[0](hidden_BTD).flatten(0, 1)
        mean, losses = linear_cross_entropy(narrow, self.head_weight, self.head_bias, targets_BT.flatten())
        return mean, losses.view(targets_BT.shape)

    def token_losses(self, hidden_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        """Cross-entropy of each token in nats, (B, T) float32; 0 where the target is -100. No gradient."""
        narrow = self.lm.out[0](hidden_BTD).flatten(0, 1)
        return token_losses(narrow, self.head_weight, self.head_bias, targets_BT.flatten()).view(targets_BT.shape)
