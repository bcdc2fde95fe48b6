"""What one step computes with: the model's weights in the shape and precision in which a single token is fastest.

Prepared once for a model and a precision and shared by all states.

Legend: H heads, d head width, D model width, E embedding width, F feed-forward width, R rounds, V vocabulary, T window,
K sum of the bucket factors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

import torch
from reformer_pytorch.reformer_pytorch import LSHSelfAttention, ReZero
from torch import Tensor, nn

from korformer.model.blocks import inner_attention, inner_feed_forward
from korformer.model.decode.layouts import Layout, fastest
from korformer.model.decode.matrices import Precision, Product, Threads, matrix
from korformer.model.positions import position_table
from korformer.model.products import fast_products, stays_fp32

if TYPE_CHECKING:
    from korformer.model.backbone import ReformerModel


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """One layer.

    Attributes:
        norm_attention, norm_feed_forward: what comes before the matrices, (1, D) to (1, D).
        queries_values: (1, D) to (1, H x d + values); the values are d wide where all heads share them.
        merge_heads: (1, H x d) to (1, D), bias and ReZero factor included.
        widen, narrow: the feed-forward matrices, (1, D) to (1, F or 2F) and (1, F) to (1, D).
        activation: between them.
        gated: whether `widen` gives a gate too.
        rotations: of the hashed heads, (d, R x K/2), or with a first axis of heads; None where nothing is hashed.
    """

    norm_attention: Product
    norm_feed_forward: Product
    queries_values: Product
    merge_heads: Product
    widen: Product
    narrow: Product
    activation: Callable[[Tensor], Tensor]
    gated: bool
    rotations: Tensor | None


@dataclass(frozen=True, kw_only=True)
class DecodeWeights:
    """The whole model.

    Attributes:
        precision: of the matrices.
        ordered: whether single steps are to have the bits of parallel reading.
        threads: what the products share.
        layers: from the first to the last.
        embedding: (V, E).
        positions: added to the embedding, (T, E), or None.
        to_width: (1, E) to (1, D).
        turns: cosines and signed sines of rotary positions, (T, 2, d), or None.
        norm: before the output layer, (1, D) to (1, D).
        to_embedding: (1, D) to (1, E).
        head: (1, E) to (1, V).
    """

    precision: Precision
    ordered: bool
    threads: Threads
    layers: tuple[LayerWeights, ...]
    embedding: Tensor
    positions: Tensor | None
    to_width: Product
    turns: Tensor | None
    norm: Product
    to_embedding: Product
    head: Product

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """Within it the products are those that a single step is to have: one thread, and in order where they are."""
        with fast_products() if self.ordered else nullcontext(), self.threads.stepping():
            yield

    def logits(self, hidden_1D: Tensor) -> Tensor:
        """Scores of every token from the mean of the residual streams, (V,) float32."""
        with self.stepping():
            return self.head(self.to_embedding(self.norm(hidden_1D)))[0].float()


_PREPARED: WeakKeyDictionary[nn.Module, dict[Precision, tuple[object, DecodeWeights]]] = WeakKeyDictionary()


def decode_weights(model: ReformerModel, precision: Precision) -> DecodeWeights:
    """The prepared weights, made anew when the model's have changed since."""
    stamp = (model.config, [(p.data_ptr(), p._version, p.dtype, p.device) for p in model.lm.parameters()])
    kept = _PREPARED.setdefault(model, {})
    if precision not in kept or kept[precision][0] != stamp:
        with torch.no_grad():
            kept[precision] = (stamp, _prepare(model, precision))
    return kept[precision][1]


def _prepare(model: ReformerModel, precision: Precision) -> DecodeWeights:
    threads = Threads()
    lm = model.lm
    known: dict[int, Product] = {}  # layers may share their weights
    layouts = _layouts(model) if precision == "fp32" else {}

    def stored(weight_MN: Tensor, bias_M: Tensor | None) -> Product:
        return matrix(weight_MN, bias_M, precision, threads, layouts.get(weight_MN.shape))

    def linear(layer: nn.Linear) -> Product:
        if id(layer) not in known:
            known[id(layer)] = stored(layer.weight, layer.bias)
        return known[id(layer)]

    layers = []
    for number, (attending, feeding) in enumerate(model.layers):
        attention, feed_forward = inner_attention(attending), inner_feed_forward(feeding)
        if id(attention) not in known:
            known[id(attention)] = stored(_queries_values(attention), None)
        layers.append(
            LayerWeights(
                norm_attention=_norm_before(attending),
                norm_feed_forward=_norm_before(feeding),
                queries_values=known[id(attention)],
                merge_heads=_scaled(linear(attention.to_out), attending),
                widen=linear(feed_forward.w1),
                narrow=_scaled(linear(feed_forward.w2), feeding),
                activation=feed_forward.act,
                gated=feed_forward.glu,
                rotations=_rotations(model, number, like=lm.token_emb.weight),
            )
        )
    angles = position_table(lm.layer_pos_emb, model.config.max_seq_len)
    positions = position_table(lm.pos_emb, model.config.max_seq_len)
    return DecodeWeights(
        precision=precision,
        ordered=bool(layouts),
        threads=threads,
        layers=tuple(layers),
        embedding=lm.token_emb.weight.detach(),
        positions=None if positions is None else positions.detach().contiguous(),
        to_width=lm.to_model_dim if not isinstance(lm.to_model_dim, nn.Linear) else linear(lm.to_model_dim),
        turns=None if angles is None else _turns(angles),
        norm=_norm(lm.norm),
        to_embedding=lm.out[0] if not isinstance(lm.out[0], nn.Linear) else linear(lm.out[0]),
        head=stored(model.head_weight, model.head_bias),
    )


def _queries_values(attention: LSHSelfAttention) -> Tensor:
    return torch.cat([attention.toqk.weight, attention.tov.weight])


def _layouts(model: ReformerModel) -> dict[torch.Size, Layout]:
    """The layout of every shape of matrix, where hashes want products to have an order and they have; else none."""
    head = model.head_weight
    if not {"causal_lsh", "lsh"} & set(model.config.layer_kinds):
        return {}
    if head.device.type != "cpu" or head.dtype != torch.float32 or not stays_fp32():
        return {}
    weights: dict[torch.Size, dict[int, Tensor]] = {head.shape: {id(head): head}}
    for attending, feeding in model.layers:
        attention, feed_forward = inner_attention(attending), inner_feed_forward(feeding)
        matrices = {id(attention): _queries_values(attention)}
        matrices |= {id(layer): layer.weight for layer in (attention.to_out, feed_forward.w1, feed_forward.w2)}
        for key, weight in matrices.items():
            weights.setdefault(weight.shape, {})[key] = weight
    with fast_products():
        return {shape: fastest(list(same.values())) for shape, same in weights.items()}


def _scaled(product: Product, wrapper: nn.Module) -> Product:
    if not isinstance(wrapper, ReZero):
        return product
    factor = cast("Tensor", wrapper.g).detach()
    return lambda x: product(x) * factor


def _norm_before(wrapper: nn.Module) -> Product:
    return _unchanged if isinstance(wrapper, ReZero) else _norm(cast("nn.Module", wrapper.norm))


def _unchanged(x: Tensor) -> Tensor:
    return x


def _norm(module: nn.Module) -> Product:
    if isinstance(module, nn.Identity):
        return _unchanged
    if isinstance(module, nn.LayerNorm):
        shape, weight, bias, eps = module.normalized_shape, module.weight.detach(), module.bias.detach(), module.eps
        return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
    return cast("Product", module)


def _rotations(model: ReformerModel, layer: int, *, like: Tensor) -> Tensor | None:
    if model.config.layer_kinds[layer] not in {"causal_lsh", "lsh"}:
        return None
    rotations_HRdk = model.rotations(layer, model.config.n_hashes)[0].to(like)
    heads_HdK = rotations_HRdk.transpose(1, 2).flatten(2).contiguous()
    return heads_HdK[0] if heads_HdK.shape[0] == 1 else heads_HdK


def _turns(angles_Td: Tensor) -> Tensor:
    sin, cos = (half.repeat_interleave(2, dim=-1) for half in angles_Td.chunk(2, dim=-1))
    sin[:, ::2].neg_()
    return torch.stack([cos, sin], dim=1)


def embed(weights: DecodeWeights, token: int, position: int) -> Tensor:
    """What the residual streams begin with at one token, (1, D)."""
    x = weights.embedding[token : token + 1]
    if weights.positions is not None:
        x = x + weights.positions[position : position + 1]
    return weights.to_width(x)


def bucket_of(qk_Hd: Tensor, rotations: Tensor, rounds: int, factors: tuple[int, ...]) -> Tensor:
    """Bucket of one token in every round of every hashed head, (H x R,) int64, as `hashing.hash_buckets` defines it."""
    heads = qk_Hd.shape[0]
    turned = qk_Hd @ rotations if rotations.dim() == 2 else torch.bmm(qk_Hd[:, None], rotations)
    turned = turned.view(heads * rounds, -1)
    if len(factors) == 1:
        return torch.cat([turned, -turned], dim=1).argmax(dim=1)
    bucket = torch.zeros(heads * rounds, dtype=torch.int64, device=qk_Hd.device)
    for part, factor in zip(turned.split([factor // 2 for factor in factors], dim=1), factors, strict=True):
        bucket = bucket * factor + torch.cat([part, -part], dim=1).argmax(dim=1)
    return bucket


def activate(layer: LayerWeights, hidden_1F: Tensor) -> Tensor:
    """The feed-forward block between its matrices."""
    if not layer.gated:
        return layer.activation(hidden_1F)
    hidden, gate = hidden_1F.chunk(2, dim=-1)
    return layer.activation(hidden) * gate


def normalise(q_Hd: Tensor, *, out: Tensor) -> Tensor:
    """Unit-length keys, as torch.nn.functional.normalize makes them."""
    return torch.div(q_Hd, torch.linalg.vector_norm(q_Hd, dim=-1, keepdim=True).clamp_min_(1e-12), out=out)


def turn(q_Hd: Tensor, turn_2d: Tensor, first: int) -> Tensor:
    """Rotary position of the heads from `first` on, in the operations of `positions.rotate`."""
    if first:
        return torch.cat([q_Hd[:first], turn(q_Hd[first:], turn_2d, 0)])
    cos_d, sin_d = turn_2d
    swapped_Hd = q_Hd.view(len(q_Hd), -1, 2).flip(-1).view(q_Hd.shape)
    turned: Tensor = (q_Hd * cos_d).add_(swapped_Hd.mul_(sin_d))
    return turned
