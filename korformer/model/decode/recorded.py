"""One token as a single launch: the step in operations whose shapes and places never change.

The ordinary step (`step`) takes views that hang on the position. Here the position is a tensor, every head looks at as
many entries as it can ever see and weighs those that are not there with zero, so the same kernels on the same memory do
for every token, and a CUDA graph can hold them. Heads that see everything read the whole store, which is at most twice
as long as the text.

Legend: H heads, h heads of a part of them, d head width, D model width, R rounds, S entries of a head, M rows of the
store.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from korformer.model.attention.banded import SELF_BIAS
from korformer.model.attention.ordered import NEVER
from korformer.model.config import ModelConfig
from korformer.model.decode.context import Context, LayerPlan
from korformer.model.decode.frozen import frozen_entries
from korformer.model.decode.pages import BucketPages
from korformer.model.decode.weights import DecodeWeights, LayerWeights, activate, bucket_of, normalise, turn
from korformer.model.graphs import RecordedStep


@dataclass(frozen=True, kw_only=True)
class FixedStep:
    """The computation of one token on one context, a function of two tensors.

    Attributes:
        config: the model's shape.
        weights: what to compute with.
        plans: of the layers.
        context: what has been read; its rows are its positions.
    """

    config: ModelConfig
    weights: DecodeWeights
    plans: tuple[LayerPlan, ...]
    context: Context

    def __call__(self, token: Tensor, position: Tensor) -> Tensor:
        """Read a token for which the context has made room; the mean of the residual streams, (1, D).

        Args:
            token: (1,) int64.
            position: (1,) int64, its own.
        """
        weights = self.weights
        x_1E = weights.embedding.index_select(0, token)
        if weights.positions is not None:
            x_1E = x_1E + weights.positions.index_select(0, position)
        turn_2d = None if weights.turns is None else weights.turns.index_select(0, position)[0]
        buckets: dict[str, list[Tensor]] = {far: [] for far in self.context.pages}
        x1 = x2 = weights.to_width(x_1E)
        for plan, layer in zip(self.plans, weights.layers, strict=True):
            x1 = x1 + layer.merge_heads(self._attend(plan, layer, x2, position, turn_2d, buckets))
            x2 = x2 + layer.narrow(activate(layer, layer.widen(layer.norm_feed_forward(x1))))
        for far, pages in self.context.pages.items():
            pages.write(torch.cat(buckets[far]), position)
        return (x1 + x2) / 2

    def _attend(
        self,
        plan: LayerPlan,
        layer: LayerWeights,
        x_1D: Tensor,
        position: Tensor,
        turn_2d: Tensor | None,
        buckets: dict[str, list[Tensor]],
    ) -> Tensor:
        """Output of all heads side by side, (1, H x d)."""
        H, d, near = self.config.heads, self.config.head_width, plan.near
        both_rd = layer.queries_values(layer.norm_attention(x_1D)).view(-1, d)
        q_Hd = qk_Hd = both_rd[:H]
        if turn_2d is not None and plan.turned < H:
            q_Hd = turn(qk_Hd, turn_2d, plan.turned)
        rows_MH2d = self.context.key_values.layer(plan.number)
        own_Hd = normalise(q_Hd, out=torch.empty_like(q_Hd))
        rows_MH2d.index_copy_(0, position, torch.cat([own_Hd, both_rd[H:].expand(H, d)], dim=1)[None])
        parts: list[Tensor] = []
        if near:
            entries_S = self._near_entries(plan, position)
            parts.append(_given(rows_MH2d, q_Hd[:near], 0, entries_S.expand(near, -1), position))
        if plan.far == "full":
            parts.append(_everything(rows_MH2d, q_Hd[near:], near, position))
        elif plan.far != "none":
            assert layer.rotations is not None
            bucket_R = bucket_of(qk_Hd[near:], layer.rotations, self.config.n_hashes, self.config.factors)
            buckets[plan.far].append(bucket_R)
            entries = self._far_entries(plan, self.context.pages[plan.far], bucket_R, position)
            parts.append(_given(rows_MH2d, q_Hd[near:], near, entries.view(H - near, -1), position))
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(1, H * d)

    def _near_entries(self, plan: LayerPlan, position: Tensor) -> Tensor:
        """What a head that attends by distance sees, as many as it can ever see, (S,) counted from 1; 0 for none."""
        window = self.config.near_window
        if plan.blocks:
            first = (torch.div(position, window, rounding_mode="floor") - 1) * window
            entries_S = first + torch.arange(1, 2 * window + 1, device=position.device)
        else:
            entries_S = position + torch.arange(1 - window, 1, device=position.device)
        return torch.where((entries_S >= 1) & (entries_S <= position), entries_S, 0)

    def _far_entries(self, plan: LayerPlan, pages: BucketPages, bucket_R: Tensor, position: Tensor) -> Tensor:
        """What the hashed heads see, (h x R, S)."""
        if plan.far == "causal_lsh":
            return pages.newest(plan.pages, bucket_R, self.config.bucket_window)
        return frozen_entries(pages, plan.pages, bucket_R, position, self.config.bucket_size)


def _given(rows_MH2d: Tensor, q_hd: Tensor, first_head: int, entries_hS: Tensor, position: Tensor) -> Tensor:
    """Attention to entries as one multiset, or to the token itself where there is none, (h, d)."""
    h, d = q_hd.shape
    heads = rows_MH2d.shape[1]
    entries_hS = F.pad(entries_hS, (0, 1))  # itself
    missing_hS = entries_hS == 0
    places_hS = torch.where(missing_hS, position, entries_hS - 1)
    bias_hS = torch.zeros(missing_hS.shape, dtype=q_hd.dtype, device=q_hd.device).masked_fill_(missing_hS, NEVER)
    bias_hS[:, -1] = SELF_BIAS
    head_h1 = torch.arange(first_head, first_head + h, device=q_hd.device)[:, None]
    kv = rows_MH2d.view(-1, 2 * d).index_select(0, (places_hS * heads + head_h1).view(-1)).view(h, -1, 2 * d)
    k, v = kv[None, :, :, :d], kv[None, :, :, d:]
    return F.scaled_dot_product_attention(
        q_hd[None, :, None], k, v, attn_mask=bias_hS[None, :, None], scale=d**-0.5
    ).view(h, d)


def _everything(rows_MH2d: Tensor, q_hd: Tensor, first_head: int, position: Tensor) -> Tensor:
    """Attention to all positions before the token's own, or at the first to itself, (h, d)."""
    d = q_hd.shape[1]
    kv_hM2d = rows_MH2d[:, first_head:].transpose(0, 1)[None]
    seen_M = torch.arange(rows_MH2d.shape[0], device=q_hd.device) < position.clamp_min(1)
    return F.scaled_dot_product_attention(
        q_hd[None, :, None], kv_hM2d[..., :d], kv_hM2d[..., d:], attn_mask=seen_M[None, None, None], scale=d**-0.5
    ).view(q_hd.shape)


class RecordedStepper:
    """Reads single tokens into one context by replaying one recording, on CUDA; elsewhere by calling the step.

    Args:
        step: the computation, on the context.
    """

    def __init__(self, step: FixedStep) -> None:
        self._step = step
        self._capacities: tuple[int, ...] = ()
        self._recorded: RecordedStep | None = None

    def step(self, context: Context, token: int) -> Tensor:
        """Read the next token; the mean of the residual streams, (1, D).

        Args:
            context: that of the step; its rows must be its positions (`KeyValues.alone`).
            token: its id.
        """
        assert context is self._step.context
        position = context.key_values.take(1).start
        if self._recorded is None or self._capacities != context.capacities:  # memory has been replaced since
            self._recorded, self._capacities = self._new_recording(), context.capacities
        mean_1D = self._recorded(token=token, position=position)
        for pages in context.pages.values():
            pages.lengths = [position + 1] * pages.layers
        return mean_1D.clone()  # the next replay writes over it

    def _new_recording(self) -> RecordedStep:
        context = self._step.context
        device = context.key_values.layer(0).device
        inputs = {name: torch.zeros(1, dtype=torch.int64, device=device) for name in ("token", "position")}
        kept = [(pages, pages.bookkeeping()) for pages in context.pages.values()]

        def reset() -> None:
            for pages, before in kept:
                pages.put_back(before)

        return RecordedStep(self._step, inputs, reset=reset)
