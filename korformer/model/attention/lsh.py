"""lsh: the chunked hashed attention of reformer-pytorch, with documents.

In each round the tokens are sorted by (document, bucket, position) and cut into chunks; a chunk's queries attend to
their own chunk and to the one before it. The axis is circular over all rounds: before a round's first chunk stands the
last of the round before it, and before the first round the last one. A query attends to keys of its document only, of
earlier positions only where attention is causal, and to itself only when nothing else is there. The rounds' key sets
are joined as a multiset under one softmax. With one document a row this is `reformer_pytorch.LSHAttention` (after trax,
after Kitaev et al. 2020) with the same buckets.

Rounds of a few heads are worked on at a time, so that their masks and scores stay in a processor's cache.

Legend: B samples, H heads, R rounds, T tokens, d head width, W tokens in a chunk, C chunks of a round, G heads of a
group, E = W + T: a round behind the last chunk of the round before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from korformer.model.attention import banded

GROUP_BIAS_BYTES = {"cpu": 3 * 2**20}
"""Additive mask of a group of heads that exists at a time; about a core's second-level cache on a CPU."""

OTHER_BIAS_BYTES = 2**28
"""The same where starting a kernel costs more than memory traffic."""

_FAR = 2.0**100
"""A position's distance in scores: any forbidden key falls below every real score by more than softmax can tell."""


def sorted_order(buckets_BHRT: Tensor, documents_BT: Tensor, n_buckets: int) -> Tensor:
    """Position of the token at each rank of (document, bucket, position), (B, H, R, T) int32."""
    changes = torch.zeros_like(documents_BT, dtype=torch.int32)
    changes[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    number_BT = changes.cumsum(dim=-1, dtype=torch.int32)
    key = number_BT[:, None, None] * n_buckets + buckets_BHRT
    if key.device.type == "cpu":
        if (int(number_BT.max()) + 1) * n_buckets < 2**15:  # numpy sorts 16 bits by radix, ten times as fast
            return torch.from_numpy(np.argsort(key.short().numpy(), axis=-1, kind="stable")).int()
        key = key.int()
    return torch.sort(key, dim=-1, stable=True).indices.int()


def lsh(
    q_BHTd: Tensor,
    k_BHTd: Tensor,
    v_BHTd: Tensor,
    buckets_BHRT: Tensor,
    documents_BT: Tensor,
    *,
    n_buckets: int,
    chunk: int,
    causal: bool,
) -> Tensor:
    """Attention output (B, H, T, d); gradients flow to queries, keys and values, the same at every run.

    Args:
        q_BHTd, k_BHTd, v_BHTd: queries, unit-length keys and values; floating point, T a multiple of `chunk`.
        buckets_BHRT: integer bucket of each token in each round.
        documents_BT: integer document of each token, not falling along a row; padding is a document after all others.
        n_buckets: buckets are in [0, n_buckets).
        chunk: tokens in a chunk, reformer-pytorch's bucket_size.
        causal: a query sees earlier positions only.
    """
    order_BHRT = sorted_order(buckets_BHRT, documents_BT, n_buckets)
    out: Tensor = _Lsh.apply(q_BHTd, k_BHTd, v_BHTd, order_BHRT, documents_BT, chunk, causal)  # type: ignore[no-untyped-call]
    return out


class _Lsh(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q_BHTd: Tensor,
        k_BHTd: Tensor,
        v_BHTd: Tensor,
        order_BHRT: Tensor,
        documents_BT: Tensor,
        chunk: int,
        causal: bool,
    ) -> Tensor:
        B, H, T, d = q_BHTd.shape
        out_BTHd = q_BHTd.new_empty(B, T, H, d)
        total_BTH = q_BHTd.new_empty(B, T, H, dtype=torch.promote_types(q_BHTd.dtype, torch.float32))
        q, k, v = _Rows.of(q_BHTd), _Rows.of(k_BHTd), _Rows.of(v_BHTd)
        for group in _groups(order_BHRT, documents_BT, chunk, causal, q_BHTd.dtype):
            outs, lses = [], []
            for r in range(group.rounds):
                order_GE = group.with_look_back(r)
                queries = q.gather(group, order_GE[:, chunk:])
                keys, values = k.gather(group, order_GE), v.gather(group, order_GE)
                out, lse = group.forward(order_GE, queries, keys, values)
                back = group.back(r)
                outs.append(out.index_select(0, back).view(T, -1, d))
                lses.append(lse.index_select(0, back).view(T, -1))
            merged, total = _merge(outs, lses)
            out_BTHd[group.sample, :, group.heads] = merged
            total_BTH[group.sample, :, group.heads] = total
        ctx.save_for_backward(q_BHTd, k_BHTd, v_BHTd, out_BTHd, total_BTH, order_BHRT, documents_BT)
        ctx.chunk, ctx.causal = chunk, causal
        return out_BTHd.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BHTd: Tensor) -> tuple[Tensor | None, ...]:
        q_BHTd, k_BHTd, v_BHTd, out_BTHd, total_BTH, order_BHRT, documents_BT = ctx.saved_tensors
        B, H, T, d = q_BHTd.shape
        W = ctx.chunk
        q, k, v, grad = _Rows.of(q_BHTd), _Rows.of(k_BHTd), _Rows.of(v_BHTd), _Rows.of(grad_BHTd)
        out, total = _Rows.of(out_BTHd.transpose(1, 2)), _Rows.of(total_BTH.transpose(1, 2)[..., None])
        gradients = q_BHTd.new_empty(3, B, T, H, d)
        for group in _groups(order_BHRT, documents_BT, W, ctx.causal, q_BHTd.dtype):
            d_queries, d_keys, d_values = [], [], []
            for r in range(group.rounds):
                order_GE = group.with_look_back(r)
                order_GT = order_GE[:, W:]
                dq, dk, dv = group.backward(
                    order_GE,
                    grad.gather(group, order_GT),
                    q.gather(group, order_GT),
                    k.gather(group, order_GE),
                    v.gather(group, order_GE),
                    out.gather(group, order_GT),
                    total.gather(group, order_GT).squeeze(-1),
                )
                d_queries.append(dq)
                d_keys.append(dk)
                d_values.append(dv)
            for extended in (d_keys, d_values):
                for r, gradient in enumerate(extended):  # what the look-back got belongs to the round before
                    extended[r - 1][-W:] += gradient[:W]
                extended[:] = [gradient[W:] for gradient in extended]
            for slot, per_round in enumerate((d_queries, d_keys, d_values)):
                total_gradient = gradients[slot, group.sample, :, group.heads]
                for r, gradient in enumerate(per_round):
                    in_time = gradient.reshape(-1, d).index_select(0, group.back(r)).view(total_gradient.shape)
                    if r == 0:
                        total_gradient.copy_(in_time)
                    else:
                        total_gradient.add_(in_time)
        dq, dk, dv = gradients.transpose(2, 3)
        return dq, dk, dv, None, None, None, None


def _merge(outs: list[Tensor], lses: list[Tensor]) -> tuple[Tensor, Tensor]:
    """One softmax over all rounds: output (T, G, d) and log-sum-exp (T, G)."""
    if len(outs) == 1:
        return outs[0], lses[0]
    stacked = torch.stack(lses)
    total = torch.logsumexp(stacked, dim=0)
    shares = torch.softmax(stacked, dim=0)[..., None].to(outs[0].dtype)
    merged = outs[0] * shares[0]
    for out, share in zip(outs[1:], shares[1:], strict=True):
        merged.addcmul_(out, share)
    return merged, total


@dataclass(frozen=True, slots=True)
class _Rows:
    """A (B, H, T, d) tensor as rows of d numbers, wherever they lie in memory."""

    rows_Nd: Tensor
    strides: tuple[int, int, int]

    @staticmethod
    def of(x_BHTd: Tensor) -> _Rows:
        d = x_BHTd.shape[-1]
        if x_BHTd.stride(-1) != 1 or any(stride % d for stride in x_BHTd.stride()[:-1]):
            x_BHTd = x_BHTd.contiguous()
        b, h, t = (stride // d for stride in x_BHTd.stride()[:-1])
        count = 1 + sum((size - 1) * stride for size, stride in zip(x_BHTd.shape[:-1], (b, h, t), strict=True))
        return _Rows(x_BHTd.as_strided((count, d), (d, 1)), (b, h, t))

    def gather(self, group: _Group, position_GL: Tensor) -> Tensor:
        """The rows of a group's heads at these positions, (G, L, d)."""
        b, h, t = self.strides
        index = torch.add(group.number_G1 * h + group.sample * b, position_GL, alpha=t)
        return self.rows_Nd.index_select(0, index.view(-1)).view(*position_GL.shape, -1)


@dataclass(frozen=True, slots=True)
class _Group:
    """A few heads of one sample.

    Attributes:
        sample, heads: which ones.
        number_G1: int32, the heads' numbers.
        order_GRT: int32, position of the token at each rank.
        mixed: chunks that hold, with their look-back, tokens of several documents.
        apart: what is added to their scores, (mixed, W, 2W): -inf between documents, else 0.
        base: what is added to a chunk's scores by rank alone, (W, 2W).
        chunk, causal: as in `lsh`.
        chunks_at_once: chunks whose mask exists at a time.
    """

    sample: int
    heads: slice
    number_G1: Tensor
    order_GRT: Tensor
    mixed: Tensor
    apart: Tensor
    base: Tensor
    chunk: int
    causal: bool
    chunks_at_once: int

    @property
    def rounds(self) -> int:
        return self.order_GRT.shape[1]

    def with_look_back(self, r: int) -> Tensor:
        """Position at each rank of a round behind the last chunk of the round before it, (G, E)."""
        return torch.cat([self.order_GRT[:, r - 1, -self.chunk :], self.order_GRT[:, r]], dim=1)

    def back(self, r: int) -> Tensor:
        """Row of each token, in the order (position, head), among rows in the order (rank, head); (T x G,) int32."""
        G, _, T = self.order_GRT.shape
        device = self.order_GRT.device
        rank = torch.arange(T, dtype=torch.int32, device=device).expand(G, T)
        inverse = torch.empty_like(rank, memory_format=torch.contiguous_format)
        inverse.scatter_(1, self.order_GRT[:, r].long(), rank)
        return torch.add(self.number_G1.T - self.heads.start, inverse.T, alpha=G).reshape(-1)

    def slices(self) -> Iterator[slice]:
        """The chunks of a round, a slice at a time; in an encoder the first chunk, whose mask is its own, alone."""
        chunks = self.order_GRT.shape[2] // self.chunk
        start = 0 if self.causal or self.rounds == 1 else 1
        if start:
            yield slice(0, 1)
        for first in range(start, chunks, self.chunks_at_once):
            yield slice(first, min(first + self.chunks_at_once, chunks))

    def bias(self, order_GE: Tensor, chunks: slice) -> Tensor:
        """Additive mask of some chunks, (chunks, G, W, 2W) or what broadcasts to it."""
        W = self.chunk
        if self.causal:
            bias = self._earlier(order_GE, chunks)
        elif chunks.start == 0 and self.rounds > 1:
            bias = self.base.expand(1, order_GE.shape[0], W, 2 * W).clone()
        else:
            bias = self.base
        if chunks.start == 0 and self.rounds > 1:  # the round before may hold the query itself
            itself = order_GE[:, W : 2 * W, None] == order_GE[:, None, :W]
            bias[0, :, :, :W].masked_fill_(itself, banded.SELF_BIAS)
        first, last = torch.searchsorted(self.mixed, torch.tensor([chunks.start, chunks.stop])).tolist()
        if first == last:
            return bias
        if bias.dim() == 2:
            bias = bias.expand(chunks.stop - chunks.start, 1, W, 2 * W).clone()
        bias[self.mixed[first:last] - chunks.start] += self.apart[first:last, None].to(bias.device)
        return bias

    def _earlier(self, order_GE: Tensor, chunks: slice) -> Tensor:
        W, count = self.chunk, chunks.stop - chunks.start
        position = order_GE[:, chunks.start * W : (chunks.stop + 1) * W].to(self.base.dtype) * _FAR
        G, length = position.shape
        keys = position.as_strided((count, G, 1, 2 * W), (W, length, 1, 1))
        queries = (position - _FAR / 2).as_strided((count, G, W, 1), (W, length, 1, 1), W)
        bias = torch.sub(queries, keys).clamp_(max=0.0)
        bias.diagonal(offset=W, dim1=-2, dim2=-1).fill_(banded.SELF_BIAS)
        return bias

    def forward(self, order_GE: Tensor, q_GTd: Tensor, k_GEd: Tensor, v_GEd: Tensor) -> tuple[Tensor, Tensor]:
        """Output (T x G, d) and log-sum-exp (T x G,) of a round, both in the order (rank, head)."""
        d = q_GTd.shape[-1]
        outs, lses = [], []
        for chunks in self.slices():
            out, lse = banded.chunk_forward(
                _own(q_GTd, self.chunk, chunks),
                _with_previous(k_GEd, self.chunk, chunks),
                _with_previous(v_GEd, self.chunk, chunks),
                self.bias(order_GE, chunks).to(q_GTd.dtype),
            )
            outs.append(out.transpose(1, 2).reshape(-1, d))
            lses.append(lse.transpose(1, 2).reshape(-1))
        return _joined(outs), _joined(lses)

    def backward(
        self,
        order_GE: Tensor,
        grad_GTd: Tensor,
        q_GTd: Tensor,
        k_GEd: Tensor,
        v_GEd: Tensor,
        out_GTd: Tensor,
        lse_GT: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of a round's queries (T, G, d), keys and values (E, G, d each).

        `out` and `lse` are those of the merged rounds: a key's probability is exp(score - lse) and the row's correction
        grad . out, so each round gives its own share (the identity of ring attention, Liu et al. 2023).
        """
        W = self.chunk
        G, E, d = k_GEd.shape
        dq, dk, dv = (q_GTd.new_empty(E // W, W, G, d) for _ in range(3))
        dk[0], dv[0] = 0, 0
        for chunks in self.slices():
            parts = banded.chunk_backward(
                _own(grad_GTd, W, chunks),
                _own(q_GTd, W, chunks),
                _with_previous(k_GEd, W, chunks),
                _with_previous(v_GEd, W, chunks),
                _own(out_GTd, W, chunks),
                _own(lse_GT[..., None], W, chunks).squeeze(-1),
                self.bias(order_GE, chunks).to(q_GTd.dtype),
            )
            own = slice(chunks.start + 1, chunks.stop + 1)
            part_q, part_k, part_v = (part.transpose(1, 2) for part in parts)
            dq[own] = part_q
            for total, part in ((dk, part_k), (dv, part_v)):
                total[own] = part[:, W:]
                total[chunks] += part[:, :W]
        return dq[1:].flatten(0, 1), dk.flatten(0, 1), dv.flatten(0, 1)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _own(x_GTd: Tensor, chunk: int, chunks: slice) -> Tensor:
    """A view of some chunks, (chunks, G, W, d)."""
    G, T, d = x_GTd.shape
    return x_GTd.view(G, T // chunk, chunk, d)[:, chunks].transpose(0, 1)


def _with_previous(x_GEd: Tensor, chunk: int, chunks: slice) -> Tensor:
    """A view of some chunks, each behind the one before it, (chunks, G, 2W, d)."""
    G, E, d = x_GEd.shape
    shape = (chunks.stop - chunks.start, G, 2 * chunk, d)
    return x_GEd.as_strided(shape, (chunk * d, E * d, d, 1), chunks.start * chunk * d)


def _groups(order_BHRT: Tensor, documents_BT: Tensor, chunk: int, causal: bool, dtype: torch.dtype) -> Iterator[_Group]:
    """All heads of all samples in groups whose masks fit `GROUP_BIAS_BYTES`."""
    B, H, _, T = order_BHRT.shape
    device = order_BHRT.device
    high = torch.promote_types(dtype, torch.float32)
    base = torch.zeros(chunk, 2 * chunk, dtype=high, device=device)
    base.diagonal(offset=chunk).fill_(banded.SELF_BIAS)
    budget = GROUP_BIAS_BYTES.get(device.type, OTHER_BIAS_BYTES)
    chunks_at_once = max(1, budget // (base.numel() * base.element_size()))
    at_once = max(1, chunks_at_once // (T // chunk))
    for sample in range(B):
        mixed, apart = _documents_apart(documents_BT[sample], chunk, high)
        for first in range(0, H, at_once):
            heads = slice(first, min(first + at_once, H))
            yield _Group(
                sample=sample,
                heads=heads,
                number_G1=torch.arange(heads.start, heads.stop, dtype=torch.int32, device=device)[:, None],
                order_GRT=order_BHRT[sample, heads],
                mixed=mixed,
                apart=apart,
                base=base,
                chunk=chunk,
                causal=causal,
                chunks_at_once=chunks_at_once,
            )


def _documents_apart(documents_T: Tensor, chunk: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Chunks with tokens of several documents, and what keeps these apart, (mixed, W, 2W).

    Documents lie in the sorted order as they lie in the row, whatever the head and the round.
    """
    documents_EW = torch.cat([documents_T[-chunk:], documents_T]).view(-1, chunk)
    both = torch.cat([documents_EW[:-1], documents_EW[1:]], dim=1)
    mixed = (both != both[:, :1]).any(dim=1).nonzero().squeeze(-1).cpu()
    differ = both[mixed, chunk:, None] != both[mixed, None, :]
    return mixed, torch.zeros_like(differ, dtype=dtype).masked_fill_(differ, float("-inf"))
