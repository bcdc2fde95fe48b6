"""Incremental decoding: one token after another at a cost that does not grow with the context.

The state holds, per layer, the keys and values of the tokens so far, and for hashed heads the newest positions of every
bucket. It is a function of the token sequence alone, so it can be rewound to any earlier length.

Legend: T tokens so far, n new tokens, H heads, d head width, R rounds, W window, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from korformer.model.attention.banded import SELF_BIAS
from korformer.model.attention.causal_lsh import causal_lsh, local
from korformer.model.attention.full import full
from korformer.model.attention.hashing import hash_buckets
from korformer.model.blocks import (
    apply_feed_forward,
    finish_attention,
    inner_attention,
    norm_input,
    project,
    queries_and_keys,
)
from korformer.model.buckets import BucketTable
from korformer.model.positions import position_table

if TYPE_CHECKING:
    from korformer.model.backbone import ReformerModel

FIRST_TOKENS = 256
"""Tokens that a new state has room for; it doubles when they are used up."""

STEP_AT_MOST = 16
"""New tokens up to which an existing state takes them one by one rather than starting again in parallel."""

ONE_THREAD_PARAMETERS = 30_000_000
"""Models below this size step on one thread: their products are too small to be worth waking others for, and on a busy
machine waiting for those costs a hundred times the work."""

Progress = Callable[[int, int], None]


@dataclass
class _LayerState:
    """Keys and values of one layer, (H, capacity, d), and the buckets of its hashed heads."""

    k_HTd: Tensor
    v_HTd: Tensor
    table: BucketTable | None

    def grow(self, capacity: int) -> None:
        room = (0, 0, 0, capacity - self.k_HTd.shape[1])
        self.k_HTd, self.v_HTd = F.pad(self.k_HTd, room), F.pad(self.v_HTd, room)
        if self.table is not None:
            history = self.table.history_HRT
            self.table.history_HRT = F.pad(history, (0, capacity - history.shape[2]))

    def copy(self) -> _LayerState:
        return _LayerState(self.k_HTd.clone(), self.v_HTd.clone(), self.table.copy() if self.table else None)


class DecodeState:
    """The context of one text being read or written.

    Args:
        model: the model; its weights must not change while the state lives.
    """

    def __init__(self, model: ReformerModel) -> None:
        self._model = model
        self._config = model.config
        self._device = model.device
        self.length = 0
        self.max_tokens = model.config.max_seq_len
        self._tokens: list[int] = []
        few = sum(parameter.numel() for parameter in model.lm.parameters()) < ONE_THREAD_PARAMETERS
        self._step_threads = 1 if few else torch.get_num_threads()
        self._capacity = min(FIRST_TOKENS, self.max_tokens)
        with torch.no_grad():
            self._head_weight = model.head_weight
            self._positions = position_table(model.lm.pos_emb, self.max_tokens)
            self._angles = position_table(model.lm.layer_pos_emb, self.max_tokens)
        self._layers = [self._empty_layer(layer) for layer in range(self._config.depth)]

    @property
    def tokens(self) -> tuple[int, ...]:
        """The token ids so far."""
        return tuple(self._tokens)

    def _near_heads(self, layer: int) -> int:
        """How many of a layer's heads are local; they come first."""
        kind = self._config.layer_kinds[layer]
        return self._config.heads if kind == "local" else self._config.n_local_attn_heads * (kind == "causal_lsh")

    def _empty_layer(self, layer: int) -> _LayerState:
        config = self._config
        shape = (config.heads, self._capacity, config.head_width)
        hashed = config.heads - self._near_heads(layer) if config.layer_kinds[layer] == "causal_lsh" else 0
        table = (
            BucketTable(hashed, config.n_hashes, config.buckets, config.bucket_window, self._capacity, self._device)
            if hashed
            else None
        )
        k, v = (torch.zeros(shape, device=self._device) for _ in range(2))
        return _LayerState(k, v, table)

    @torch.inference_mode()
    def append(self, token_ids: Sequence[int], *, progress: Progress | None = None) -> Tensor:
        """Read tokens; give the scores of the token that follows the last of them, (V,) float32.

        Args:
            token_ids: at least one; with those before at most `max_tokens`.
            progress: called with (tokens read, tokens to read).

        Raises:
            ValueError: no token, or more than the window holds.
        """
        if not token_ids:
            raise ValueError("append needs at least one token")
        if self.length + len(token_ids) > self.max_tokens:
            raise ValueError(f"{self.length + len(token_ids)} tokens do not fit the window of {self.max_tokens}")
        self._reserve(self.length + len(token_ids))
        if self.length and len(token_ids) > STEP_AT_MOST:
            # Reading everything again in parallel is faster than many single steps; the state comes out the same.
            token_ids = [*self._tokens, *token_ids]
            self.rewind(0)
        try:
            hidden = self._read(list(token_ids), progress)
        except BaseException:
            self.rewind(self.length)  # a reading that was stopped half-way leaves nothing of its last token
            raise
        narrow = self._model.lm.out[0](self._model.lm.norm(hidden))
        return F.linear(narrow, self._head_weight, self._model.head_bias).float()

    def _read(self, tokens: list[int], progress: Progress | None) -> Tensor:
        """The hidden state of the last token before the final norm, (D,)."""
        if self.length == 0 and len(tokens) > 1:
            return self._read_all(tokens, progress)
        with _threads(self._step_threads):
            for done, token in enumerate(tokens, start=1):
                hidden = self._step(token)
                if progress is not None:
                    progress(done, len(tokens))
        return hidden

    @torch.inference_mode()
    def rewind(self, length: int) -> None:
        """Go back to the first `length` tokens without reading them again.

        Raises:
            ValueError: there are fewer tokens than that.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind {self.length} tokens to {length}")
        del self._tokens[length:]
        self.length = length
        for layer in self._layers:
            if layer.table is not None:
                layer.table.rebuild(length)

    @torch.inference_mode()
    def fork(self) -> DecodeState:
        """An independent state with the same tokens, for another continuation."""
        twin = object.__new__(DecodeState)
        twin.__dict__.update(self.__dict__)
        twin._tokens = list(self._tokens)
        twin._layers = [layer.copy() for layer in self._layers]
        return twin

    def _reserve(self, tokens: int) -> None:
        if tokens <= self._capacity:
            return
        self._capacity = min(self.max_tokens, max(tokens, 2 * self._capacity))
        for layer in self._layers:
            layer.grow(self._capacity)

    def _embed(self, tokens: list[int], start: int) -> Tensor:
        x = self._model.lm.token_emb(torch.tensor([tokens], device=self._device))
        if self._positions is not None:
            x = x + self._positions[start : start + len(tokens)]
        embedded: Tensor = self._model.lm.to_model_dim(x)
        return embedded

    def _angles_at(self, start: int, count: int) -> Tensor | None:
        return None if self._angles is None else self._angles[None, start : start + count]

    def _read_all(self, tokens: list[int], progress: Progress | None) -> Tensor:
        """Parallel reading into an empty state; the hidden state of the last token, (D,)."""
        count = len(tokens)
        padding = -count % self._model.padded_to
        x = F.pad(self._embed(tokens, 0), (0, 0, 0, padding))
        angles = self._angles_at(0, count)
        angles = None if angles is None else F.pad(angles, (0, 0, 0, padding))
        documents = torch.ones(1, count + padding, dtype=torch.long, device=self._device)
        documents[:, :count] = 0
        x1, x2 = x, x
        for layer, (attention, feed_forward) in enumerate(self._model.layers):
            x1 = x1 + self._read_layer(layer, attention, x2, angles, documents, count)
            x2 = x2 + apply_feed_forward(feed_forward, x1)
            if progress is not None:
                progress(count * (layer + 1) // self._config.depth, count)
        self._tokens = tokens
        self.length = count
        return (x1[0, count - 1] + x2[0, count - 1]) / 2

    def _read_layer(
        self, layer: int, wrapper: nn.Module, x: Tensor, angles: Tensor | None, documents: Tensor, count: int
    ) -> Tensor:
        config, state, near = self._config, self._layers[layer], self._near_heads(layer)
        qk, v = project(inner_attention(wrapper), norm_input(wrapper, x))
        q, k = queries_and_keys(qk, angles)
        state.k_HTd[:, :count], state.v_HTd[:, :count] = k[0, :, :count], v[0, :, :count]
        parts = []
        if near:
            parts.append(local(q[:, :near], k[:, :near], v[:, :near], documents, window=config.near_window))
        if state.table is not None:
            buckets = self._model.hash(layer, qk[:, near:])
            state.table.history_HRT[:, :, :count] = buckets[0, :, :, :count].to(state.table.history_HRT.dtype)
            state.table.rebuild(count)
            parts.append(
                causal_lsh(
                    q[:, near:],
                    k[:, near:],
                    v[:, near:],
                    buckets,
                    documents,
                    n_buckets=config.buckets,
                    chunk=config.bucket_size,
                    window=config.bucket_window,
                )
            )
        elif near < config.heads:
            parts.append(full(q[:, near:], k[:, near:], v[:, near:], documents))
        return finish_attention(wrapper, torch.cat(parts, dim=1))

    def _step(self, token: int) -> Tensor:
        """Read one token; its hidden state before the final norm, (D,)."""
        position = self.length
        x = self._embed([token], position)
        angles = self._angles_at(position, 1)
        x1, x2 = x, x
        for layer, (attention, feed_forward) in enumerate(self._model.layers):
            x1 = x1 + self._step_layer(layer, attention, x2, angles, position)
            x2 = x2 + apply_feed_forward(feed_forward, x1)
        self._tokens.append(token)
        self.length += 1
        return (x1[0, 0] + x2[0, 0]) / 2

    def _step_layer(self, layer: int, wrapper: nn.Module, x: Tensor, angles: Tensor | None, position: int) -> Tensor:
        config, state, near = self._config, self._layers[layer], self._near_heads(layer)
        qk, v = project(inner_attention(wrapper), norm_input(wrapper, x))
        q, k = queries_and_keys(qk, angles)
        state.k_HTd[:, position], state.v_HTd[:, position] = k[0, :, 0], v[0, :, 0]
        q_Hd = q[0, :, 0]
        parts = []
        if near:
            begin = max(0, position - config.near_window)
            parts.append(_attend_range(q_Hd[:near], state, slice(0, near), begin, position))
        if state.table is not None:
            buckets = self._model.hash(layer, qk[:, near:])[0, :, :, 0].long()
            at_HRW, held_HRW = state.table.read(buckets)
            parts.append(_attend_positions(q_Hd[near:], state, near, at_HRW, held_HRW, position))
            state.table.append(position, buckets)
        elif near < config.heads:
            parts.append(_attend_range(q_Hd[near:], state, slice(near, None), 0, position))
        return finish_attention(wrapper, torch.cat(parts)[None, :, None])


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run with `count` torch threads."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _attend_range(q_Hd: Tensor, state: _LayerState, heads: slice, begin: int, position: int) -> Tensor:
    """Attention of one query to the positions from `begin` up to before its own, (H, d)."""
    if begin == position:
        return state.v_HTd[heads, position]
    keys, values = state.k_HTd[heads, begin:position], state.v_HTd[heads, begin:position]
    scores = torch.bmm(keys, q_Hd[:, :, None]) * q_Hd.shape[-1] ** -0.5
    return torch.bmm(torch.softmax(scores, dim=1).transpose(1, 2), values)[:, 0]


def _attend_positions(
    q_Hd: Tensor, state: _LayerState, first_head: int, at_HRW: Tensor, held_HRW: Tensor, position: int
) -> Tensor:
    """Attention of one query to the given positions of every round as one multiset, (H, d)."""
    H, d = q_Hd.shape
    capacity = state.k_HTd.shape[1]
    rows = (torch.arange(first_head, first_head + H, device=q_Hd.device) * capacity)[:, None]
    at = torch.cat([at_HRW.view(H, -1), torch.full((H, 1), position, device=q_Hd.device)], dim=1) + rows
    keys = state.k_HTd.view(-1, d)[at]
    values = state.v_HTd.view(-1, d)[at]
    scores = torch.bmm(keys, q_Hd[:, :, None])[..., 0] * d**-0.5
    scores[:, :-1].masked_fill_(~held_HRW.view(H, -1), float("-inf"))
    scores[:, -1] += SELF_BIAS
    return torch.bmm(torch.softmax(scores, dim=1)[:, None], values)[:, 0]
