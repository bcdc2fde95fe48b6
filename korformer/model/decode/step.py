"""One token: a few operations a layer, whatever the length of the context.

Legend: H heads, d head width, D model width, R rounds, S entries that a head may see, T tokens so far.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from korformer.model.attention.banded import SELF_BIAS
from korformer.model.config import ModelConfig
from korformer.model.decode.context import Context, LayerPlan
from korformer.model.decode.frozen import frozen_entries
from korformer.model.decode.weights import DecodeWeights, LayerWeights, activate, bucket_of, embed, normalise, turn


@dataclass(kw_only=True, eq=False)
class Stepper:
    """Reads single tokens.

    Attributes:
        config: the model's shape.
        weights: what to compute with.
        plans: of the layers.
        seen: weights that the last token gave to positions by layer, (H, T) each, where somebody watches, else None.
    """

    config: ModelConfig
    weights: DecodeWeights
    plans: tuple[LayerPlan, ...]
    seen: list[Tensor] | None = None
    _constants: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)
    _self_bias: Tensor = field(init=False)
    _no_bias: Tensor = field(init=False)

    def __post_init__(self) -> None:
        like = self.weights.embedding
        self._self_bias, self._no_bias = like.new_tensor(SELF_BIAS), like.new_tensor(0.0)

    def step(self, context: Context, token: int) -> Tensor:
        """Read the next token; the mean of the residual streams, (1, D)."""
        weights, position = self.weights, context.key_values.length
        own_row = context.key_values.take(1).start
        turn_k = None if weights.turns is None else weights.turns[position]
        buckets: dict[str, list[Tensor]] = {far: [] for far in context.pages}
        if self.seen is not None:
            self.seen.clear()
        x1 = x2 = embed(weights, token, position)
        for plan, layer in zip(self.plans, weights.layers, strict=True):
            attended = self._attend(context, plan, layer, x2, position, own_row, turn_k, buckets)
            x1 = x1 + layer.merge_heads(attended)
            x2 = x2 + layer.narrow(activate(layer, layer.widen(layer.norm_feed_forward(x1))))
        for far, pages in context.pages.items():
            pages.add(torch.cat(buckets[far]))
        return (x1 + x2) / 2

    def _attend(
        self,
        context: Context,
        plan: LayerPlan,
        layer: LayerWeights,
        x_1D: Tensor,
        position: int,
        own_row: int,
        turn_k: Tensor | None,
        buckets: dict[str, list[Tensor]],
    ) -> Tensor:
        """Output of all heads side by side, (1, H x d)."""
        H, d, near = self.config.heads, self.config.head_width, plan.near
        both_rd = layer.queries_values(layer.norm_attention(x_1D)).view(-1, d)
        q_Hd = qk_Hd = both_rd[:H]
        if turn_k is not None and plan.turned < H:
            q_Hd = turn(qk_Hd, turn_k, plan.turned)
        rows = context.key_values.layer(plan.number)
        own_k, own_v = rows[own_row].view(H, 2, d).unbind(1)
        normalise(q_Hd, out=own_k)
        own_v.copy_(both_rd[H:])
        parts: list[Tensor] = []
        seen: list[Tensor] = []
        if near:
            begin = plan.near_begin(position, self.config.near_window)
            parts.append(self._span(context, plan, q_Hd[:near], slice(0, near), begin, position, seen))
        if plan.far == "full":
            parts.append(self._span(context, plan, q_Hd[near:], slice(near, H), 0, position, seen))
        elif plan.far != "none":
            assert layer.rotations is not None
            q_hd, qk_hd = (q_Hd[near:], qk_Hd[near:]) if near else (q_Hd, qk_Hd)
            bucket_R = bucket_of(qk_hd, layer.rotations, self.config.n_hashes, self.config.factors)
            buckets[plan.far].append(bucket_R)
            pages = context.pages[plan.far]
            if plan.far == "causal_lsh":
                entries = pages.newest(plan.pages, bucket_R, self.config.bucket_window)
            else:
                entries = frozen_entries(pages, plan.pages, bucket_R, position, self.config.bucket_size)
            entries_HS = entries.view(H - near, -1)
            parts.append(self._scattered(context, rows, q_hd, near, entries_HS, position, own_row, seen))
        if self.seen is not None:
            self.seen.append(torch.cat(seen))
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(1, H * d)

    def _span(
        self,
        context: Context,
        plan: LayerPlan,
        q_Hd: Tensor,
        heads: slice,
        begin: int,
        position: int,
        seen: list[Tensor],
    ) -> Tensor:
        """Attention to the positions from `begin` up to before the token's own, (H, d)."""
        d = q_Hd.shape[1]
        alone = begin == position
        kv_HSd = context.key_values.span(plan.number, begin, position + alone)[:, heads].transpose(0, 1)
        if self.seen is not None:
            dense = q_Hd.new_zeros(q_Hd.shape[0], position + 1)
            scores = (kv_HSd[..., :d] @ q_Hd[..., None])[..., 0] * d**-0.5
            dense[:, begin : position + alone] = torch.softmax(scores, dim=1)
            seen.append(dense)
        return kv_HSd[:, 0, d:] if alone else _weigh(q_Hd, kv_HSd, None)

    def _scattered(
        self,
        context: Context,
        rows: Tensor,
        q_Hd: Tensor,
        first_head: int,
        entries_HS: Tensor,
        position: int,
        own_row: int,
        seen: list[Tensor],
    ) -> Tensor:
        """Attention to the given entries as one multiset, or to itself where there is none, (H, d)."""
        H, d = q_Hd.shape
        all_heads, S = rows.shape[1], entries_HS.shape[1]
        head_H1, each = self._constant(S, first_head, H, all_heads, rows.device)
        missing = entries_HS == 0
        places = context.key_values.entries_of(entries_HS)  # rows counted from 1, as entries are positions from 1
        at = torch.add(head_H1, torch.where(missing, own_row + 1, places), alpha=all_heads).view(-1)
        table = rows.view(-1, 2 * d)
        if table.device.type == "cpu" and table.dtype == torch.float32:
            # Sums of one row each: a gather that fetches ahead, up to twice as fast as index_select.
            kv = torch.embedding_bag(table, at, each)[0]
        else:
            kv = table.index_select(0, at)
        kv_HSd = kv.view(H, S, 2 * d)
        bias_HS = torch.where(missing, self._self_bias, self._no_bias)
        if self.seen is not None:
            scores = (kv_HSd[..., :d] @ q_Hd[..., None])[..., 0] * d**-0.5 + bias_HS
            at_position = torch.where(missing, position, entries_HS - 1).long()
            shown = q_Hd.new_zeros(H, position + 1)
            seen.append(shown.scatter_add_(1, at_position, torch.softmax(scores, dim=1)))
        return _weigh(q_Hd, kv_HSd, bias_HS)

    def _constant(
        self, entries: int, first_head: int, heads: int, all_heads: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        key = (entries, first_head)
        if key not in self._constants:
            # An entry of 1 is row 0, whose heads begin at 0.
            head_H1 = torch.arange(first_head, first_head + heads, device=device)[:, None] - all_heads
            self._constants[key] = (head_H1, torch.arange(heads * entries, device=device))
        return self._constants[key]


def _weigh(q_Hd: Tensor, kv_HSd: Tensor, bias_HS: Tensor | None) -> Tensor:
    """Softmax attention of one query a head, (H, d)."""
    H, S, both = kv_HSd.shape
    k, v = kv_HSd.view(1, H, S, 2, both // 2).unbind(3)
    mask = None if bias_HS is None else bias_HS.view(1, H, 1, S)
    out = F.scaled_dot_product_attention(q_Hd.view(1, H, 1, -1), k, v, mask, scale=(both // 2) ** -0.5)
    return out.view(H, -1)
