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
    _constants: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

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
        both = layer.queries_values(layer.norm_attention(x_1D))
        qk_Hd, v = both[0, : H * d].view(H, d), both[0, H * d :].view(-1, d)
        q_Hd = qk_Hd
        if turn_k is not None and plan.turned < H:
            q_Hd = (
                turn(qk_Hd, turn_k)
                if plan.turned == 0
                else torch.cat([qk_Hd[: plan.turned], turn(qk_Hd[plan.turned :], turn_k)])
            )
        rows = context.key_values.layer(plan.number)
        own_H2d = rows[own_row]
        own_H2d[:, :d] = normalise(q_Hd)
        own_H2d[:, d:] = v
        parts, seen = [], []
        if near:
            begin = plan.near_begin(position, self.config.near_window)
            parts.append(self._span(context, plan, q_Hd[:near], slice(0, near), begin, position, seen))
        if plan.far == "full":
            parts.append(self._span(context, plan, q_Hd[near:], slice(near, H), 0, position, seen))
        elif plan.far != "none":
            assert layer.rotations is not None
            bucket_R = bucket_of(qk_Hd[near:], layer.rotations, self.config.n_hashes, self.config.factors)
            buckets[plan.far].append(bucket_R)
            pages = context.pages[plan.far]
            if plan.far == "causal_lsh":
                entries = pages.newest(plan.pages, bucket_R, self.config.bucket_window)
            else:
                entries = frozen_entries(pages, plan.pages, bucket_R, position, self.config.bucket_size)
            entries_HS = entries.view(H - near, -1)
            parts.append(self._scattered(context, rows, q_Hd[near:], near, entries_HS, position, own_row, seen))
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
        all_heads = rows.shape[1]
        S = entries_HS.shape[1]
        head_H1, each = self._constant(S, first_head, H, rows.device)
        missing = entries_HS == 0
        places = torch.where(missing, own_row, context.key_values.rows_of(entries_HS - 1))
        at = torch.add(head_H1, places, alpha=all_heads).view(-1)
        table = rows.view(-1, 2 * d)
        if table.device.type == "cpu" and table.dtype == torch.float32:
            # Sums of one row each: a gather that fetches ahead, twice as fast as index_select.
            kv_HSd = torch.embedding_bag(table, at, each)[0].view(H, S, 2 * d)
        else:
            kv_HSd = table.index_select(0, at).view(H, S, 2 * d)
        bias_HS = missing * SELF_BIAS
        if self.seen is not None:
            scores = (kv_HSd[..., :d] @ q_Hd[..., None])[..., 0] * d**-0.5 + bias_HS
            at_position = torch.where(missing, position, entries_HS - 1).long()
            seen.append(q_Hd.new_zeros(H, position + 1).scatter_add_(1, at_position, torch.softmax(scores, dim=1)))
        return _weigh(q_Hd, kv_HSd, bias_HS.to(q_Hd.dtype))

    def _constant(self, entries: int, first_head: int, heads: int, device: torch.device) -> tuple[Tensor, Tensor]:
        key = (entries << 32) + (first_head << 16) + heads
        if key not in self._constants:
            head_H1 = torch.arange(first_head, first_head + heads, device=device)[:, None]
            self._constants[key] = (head_H1, torch.arange(heads * entries, device=device))
        return self._constants[key]


def _weigh(q_Hd: Tensor, kv_HSd: Tensor, bias_HS: Tensor | None) -> Tensor:
    """Softmax attention of one query a head, (H, d)."""
    d = q_Hd.shape[1]
    mask = None if bias_HS is None else bias_HS[None, :, None]
    return F.scaled_dot_product_attention(
        q_Hd[None, :, None], kv_HSd[None, ..., :d], kv_HSd[None, ..., d:], mask, scale=d**-0.5
    )[0, :, 0]
