"""Many tokens at once: a chunk goes through the model in parallel, in fp32, on top of what the state holds.

Legend: H heads, d head width, D model width, R rounds, n tokens of the chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from korformer.model.attention.causal_lsh import causal_lsh
from korformer.model.attention.hashing import hash_buckets
from korformer.model.blocks import (
    FEED_FORWARD_TOKENS,
    apply_feed_forward,
    finish_attention,
    inner_attention,
    norm_input,
    project,
)
from korformer.model.decode import blockwise
from korformer.model.decode.context import Context, LayerPlan
from korformer.model.decode.frozen import frozen_entries_of_block
from korformer.model.positions import rotate

if TYPE_CHECKING:
    from korformer.model.backbone import ReformerModel

FROZEN_NUMBERS = 2**22
"""Counts of buckets at single tokens that exist at a time while a frozen prefix is read."""


class ChunkReader:
    """Reads chunks of tokens with a model's own weights.

    Args:
        model: the model.
        plans: of its layers.
        positions: what is added to the embedding, (T, E), or None.
        angles: sines and cosines of rotary positions, (T, d), or None.
    """

    def __init__(
        self, model: ReformerModel, plans: tuple[LayerPlan, ...], positions: Tensor | None, angles: Tensor | None
    ) -> None:
        self._model = model
        self._config = model.config
        self._plans = plans
        self._positions = positions
        self._angles = angles

    def read(self, context: Context, tokens: list[int], progress: Callable[[int], None]) -> Tensor:
        """Read a chunk; the mean of the residual streams at its last token, (1, D).

        Args:
            context: what is known so far; holds the chunk afterwards.
            tokens: the chunk.
            progress: called with the number of layers that are done.
        """
        model, n, first = self._model, len(tokens), context.key_values.length
        rows = context.key_values.take(n)
        x = model.lm.token_emb(torch.tensor([tokens], device=model.device))
        if self._positions is not None:
            x = x + self._positions[first : first + n]
        x1 = x2 = model.lm.to_model_dim(x)
        angles = None if self._angles is None else self._angles[None, first : first + n]
        for plan, (attention, feed_forward) in zip(self._plans, model.layers, strict=True):
            x1 = x1 + self._attend(context, plan, attention, x2, angles, rows, first)
            parts = x1.split(FEED_FORWARD_TOKENS, dim=1)
            x2 = x2 + torch.cat([apply_feed_forward(feed_forward, part) for part in parts], dim=1)
            progress(plan.number + 1)
        mean_1D: Tensor = (x1[0, -1:] + x2[0, -1:]) / 2
        return mean_1D

    def _attend(
        self,
        context: Context,
        plan: LayerPlan,
        wrapper: nn.Module,
        x_1nD: Tensor,
        angles: Tensor | None,
        rows: slice,
        first: int,
    ) -> Tensor:
        config, near, n = self._config, plan.near, x_1nD.shape[1]
        H, d = config.heads, config.head_width
        qk, v = project(inner_attention(wrapper), norm_input(wrapper, x_1nD))
        q = qk
        if angles is not None and plan.turned < H:
            q = torch.cat([qk[:, : plan.turned], rotate(qk[:, plan.turned :], angles)], dim=1)
        held = context.key_values.layer(plan.number)[rows]
        held[..., :d] = F.normalize(q, dim=-1)[0].transpose(0, 1)
        held[..., d:] = v[0].transpose(0, 1)
        q_nHd = q[0].transpose(0, 1)
        parts = []
        if near:
            positions = torch.arange(first, first + n, device=q.device)
            window = config.near_window
            begins = ((positions // window - 1) * window if plan.blocks else positions - window).clamp_min(0)
            low = plan.near_begin(first, window)
            kv = context.key_values.span(plan.number, low, first + n)[:, :near]
            parts.append(blockwise.near(q_nHd[:, :near], kv, begins, first, low, (2 if plan.blocks else 1) * window))
        if plan.far == "full":
            kv = context.key_values.span(plan.number, 0, first + n)[:, near:]
            parts.append(blockwise.everything(q_nHd[:, near:], kv, first))
        elif plan.far != "none":
            parts.append(self._hashed(context, plan, qk[:, near:], q_nHd[:, near:], held[:, near:], first))
        out_nHd = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return finish_attention(wrapper, out_nHd.transpose(0, 1)[None])

    def _hashed(
        self, context: Context, plan: LayerPlan, qk_1Hnd: Tensor, q_nHd: Tensor, kv_nH2d: Tensor, first: int
    ) -> Tensor:
        config, n, H = self._config, q_nHd.shape[0], q_nHd.shape[1]
        rotations = self._model.rotations(plan.number, config.n_hashes)
        buckets_HRn = hash_buckets(qk_1Hnd, rotations, config.factors)[0]
        pages = context.pages[plan.far]
        gathers = [partial(_gather, context, plan.number, plan.near + head) for head in range(H)]
        flat = buckets_HRn.flatten(0, 1)
        if plan.far == "causal_lsh" and not first:
            pages.extend(plan.pages, flat)
            return self._from_the_start(q_nHd, kv_nH2d, buckets_HRn)
        if plan.far == "causal_lsh":
            out_nHd = blockwise.same_bucket(q_nHd, gathers, pages, plan.pages, buckets_HRn, first, config.bucket_window)
            pages.extend(plan.pages, flat)
            return out_nHd
        before = pages.counts(plan.pages).clone()
        pages.extend(plan.pages, flat)
        out_nHd = torch.empty_like(q_nHd)
        at_once = max(1, FROZEN_NUMBERS // before.numel())
        for start in range(0, n, at_once):
            block = slice(start, min(start + at_once, n))
            buckets = flat[:, block].long()
            entries = frozen_entries_of_block(
                pages, plan.pages, before, buckets, first + start, config.bucket_size
            ).view(buckets.shape[1], H, -1)
            out_nHd[block] = blockwise.given(q_nHd[block], gathers, entries, first + start)
            before.scatter_add_(1, buckets, torch.ones_like(buckets))
        return out_nHd

    def _from_the_start(self, q_nHd: Tensor, kv_nH2d: Tensor, buckets_HRn: Tensor) -> Tensor:
        """causal_lsh of the first tokens, (n, H, d), as in training: nothing stands before them to be fetched."""
        n, _, d = q_nHd.shape
        padding = -n % self._config.bucket_size
        q, k, v = (F.pad(x, (0, 0, 0, 0, 0, padding)).transpose(0, 1)[None] for x in (q_nHd, *kv_nH2d.split(d, -1)))
        documents_1n = F.pad(torch.zeros(1, n, dtype=torch.int64, device=q.device), (0, padding), value=1)
        out_1Hnd = causal_lsh(
            q,
            k,
            v,
            F.pad(buckets_HRn, (0, padding))[None],
            documents_1n,
            n_buckets=self._config.buckets,
            chunk=self._config.bucket_size,
            window=self._config.bucket_window,
        )
        return out_1Hnd[0, :, :n].transpose(0, 1)


def _gather(context: Context, layer: int, head: int, entries: Tensor) -> Tensor:
    rows = context.key_values.layer(layer)
    _, heads, both = rows.shape
    places = context.key_values.rows_of((entries - 1).clamp_min(0))
    return rows.view(-1, both).index_select(0, (places * heads + head).view(-1)).view(*entries.shape, both)
