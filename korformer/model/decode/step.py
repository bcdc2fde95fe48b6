"""One token: a few operations a layer, whatever the length of the context.

Legend: H heads, d head width, D model width, R rounds, S entries that a head may see in a round, T tokens so far.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from korformer.model.attention.banded import SELF_BIAS
from korformer.model.attention.ordered import NEVER
from korformer.model.config import ModelConfig
from korformer.model.decode.context import Context, LayerPlan
from korformer.model.decode.frozen import frozen_entries
from korformer.model.decode.gathering import AtOnce, Gatherer, InOrder
from korformer.model.decode.weights import DecodeWeights, LayerWeights, activate, bucket_of, embed, normalise, turn
from korformer.model.products import usual_products


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
    _gatherer: Gatherer = field(init=False)
    _self_bias: dict[int, Tensor] = field(default_factory=dict)
    _near_places: tuple[int, Tensor] | None = None  # where near heads look from this token on, and which rows that is

    def __post_init__(self) -> None:
        self._gatherer = InOrder() if self.weights.ordered else AtOnce()

    def step(self, context: Context, token: int) -> Tensor:
        """Read the next token; the mean of the residual streams, (1, D)."""
        weights, position = self.weights, context.key_values.length
        own_row = context.key_values.take(1).start
        turn_2d = None if weights.turns is None else weights.turns[position]
        buckets: dict[str, list[Tensor]] = {far: [] for far in context.pages}
        if self.seen is not None:
            self.seen.clear()
        self._near_places = None
        x1 = x2 = embed(weights, token, position)
        for plan, layer in zip(self.plans, weights.layers, strict=True):
            attended = self._attend(context, plan, layer, x2, position, own_row, turn_2d, buckets)
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
        turn_2d: Tensor | None,
        buckets: dict[str, list[Tensor]],
    ) -> Tensor:
        """Output of all heads side by side, (1, H x d)."""
        H, d, near = self.config.heads, self.config.head_width, plan.near
        both_rd = layer.queries_values(layer.norm_attention(x_1D)).view(-1, d)
        q_Hd = qk_Hd = both_rd[:H]
        if turn_2d is not None and plan.turned < H:
            q_Hd = turn(qk_Hd, turn_2d, plan.turned)
        rows = context.key_values.layer(plan.number)
        own_k, own_v = rows[own_row].view(H, 2, d).unbind(1)
        normalise(q_Hd, out=own_k)
        own_v.copy_(both_rd[H:])
        parts: list[Tensor] = []
        seen: list[Tensor] = []
        if near:
            begin = plan.near_begin(position, self.config.near_window)
            parts.append(self._near(context, rows, q_Hd[:near], begin, position, seen))
        if plan.far == "full":
            parts.append(self._span(context, plan, q_Hd[near:], slice(near, H), position, seen))
        elif plan.far != "none":
            assert layer.rotations is not None
            q_hd, qk_hd = (q_Hd[near:], qk_Hd[near:]) if near else (q_Hd, qk_Hd)
            bucket_R = bucket_of(qk_hd, layer.rotations, self.config.n_hashes, self.config.factors)
            buckets[plan.far].append(bucket_R)
            pages = context.pages[plan.far]
            if plan.far == "causal_lsh":
                entries = pages.newest(plan.pages, bucket_R, self.config.bucket_window)
                entries_HRS = entries.view(H - near, self.config.n_hashes, -1)
            else:
                entries = frozen_entries(pages, plan.pages, bucket_R, position, self.config.bucket_size)
                entries_HRS = entries.view(H - near, 1, -1)
            parts.append(self._scattered(context, rows, q_hd, near, entries_HRS, position, own_row, seen))
        if self.seen is not None:
            self.seen.append(torch.cat(seen))
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(1, H * d)

    def _span(
        self, context: Context, plan: LayerPlan, q_Hd: Tensor, heads: slice, position: int, seen: list[Tensor]
    ) -> Tensor:
        """Attention to all positions before the token's own, (H, d)."""
        d = q_Hd.shape[1]
        alone = position == 0
        kv_HSd = context.key_values.span(plan.number, 0, position + alone)[:, heads].transpose(0, 1)
        if self.seen is not None:
            scores_HS = (kv_HSd[..., :d] @ q_Hd[..., None])[..., 0] * d**-0.5
            seen.append(F.pad(torch.softmax(scores_HS, dim=1), (0, 1 - alone)))
        k, v = (kv_HSd[None, ..., half] for half in (slice(d), slice(d, None)))
        with usual_products():
            return F.scaled_dot_product_attention(q_Hd[None, :, None], k, v, scale=d**-0.5).view(q_Hd.shape)

    def _near(
        self,
        context: Context,
        rows: Tensor,
        q_Hd: Tensor,
        begin: int,
        position: int,
        seen: list[Tensor],
    ) -> Tensor:
        """Attention of the first heads to the positions from `begin` up to before the token's own, (H, d)."""
        end = max(position, begin + 1)
        if self._near_places is None or self._near_places[0] != begin:
            entries_S = torch.arange(begin + 1, end + 1, dtype=torch.int32, device=rows.device)
            self._near_places = begin, context.key_values.entries_of(entries_S)
        entries_HRS = self._near_places[1].expand(len(q_Hd), 1, -1)
        out_Hd, weights_HRS = self._gatherer.attend(rows, q_Hd, 0, entries_HRS, None)
        if self.seen is not None:
            seen.append(F.pad(weights_HRS[:, 0], (begin, position + 1 - end)))
        return out_Hd

    def _scattered(
        self,
        context: Context,
        rows: Tensor,
        q_Hd: Tensor,
        first_head: int,
        entries_HRS: Tensor,
        position: int,
        own_row: int,
        seen: list[Tensor],
    ) -> Tensor:
        """Attention to R sets of entries as one multiset, or to itself where there is none, (H, d)."""
        entries_HRS = F.pad(entries_HRS, (0, 1), value=position + 1)  # itself
        missing = entries_HRS == 0
        places = context.key_values.entries_of(entries_HRS)  # rows counted from 1, as entries are positions from 1
        places = torch.add(places, missing, alpha=own_row + 1)
        S = entries_HRS.shape[2]
        if S not in self._self_bias:
            self._self_bias[S] = F.pad(rows.new_zeros(S - 1), (0, 1), value=SELF_BIAS)
        bias_HRS = torch.add(self._self_bias[S], missing, alpha=NEVER)
        out_Hd, weights_HRS = self._gatherer.attend(rows, q_Hd, first_head, places, bias_HRS)
        if self.seen is not None:
            at_position = torch.where(missing, position, entries_HRS - 1).long()
            shown = q_Hd.new_zeros(len(q_Hd), position + 1)
            seen.append(shown.scatter_add_(1, at_position.flatten(1), weights_HRS.flatten(1)))
        return out_Hd
