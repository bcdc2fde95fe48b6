"""lsh: the chunked hashed attention of reformer-pytorch, with documents.

In each round the tokens are sorted by (document, bucket, position) and cut into chunks; a chunk's queries attend to
their own chunk and to the one before it. All rounds form a circle: before a round's first chunk stands the last of the
round before it, and before the first round the last one. A query attends to keys of its document only, of earlier
positions only where attention is causal, and to itself only when nothing else is there. The rounds' key sets are joined
as a multiset under one softmax. With one document a row this is `reformer_pytorch.LSHAttention` (after trax, after
Kitaev et al. 2020) with the same buckets.

On a CPU one head is worked on at a time, a slice of its chunks after the other, so that masks and scores stay in the
processor's cache.

Legend: B samples, H heads, R rounds, T tokens, d head width, W tokens in a chunk, C chunks of a round, G heads of a
group, S = R x T ranks of a head, E = W + S: all ranks behind the last chunk, which closes the circle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from korformer.model.attention import banded
from korformer.model.attention.ordered import attend
from korformer.model.attention.sorting import sort_groups

SLICE_BIAS_BYTES = {"cpu": 3 * 2**20}
"""Additive mask of a slice of chunks; about a core's second-level cache on a CPU."""

OTHER_BIAS_BYTES = 2**28
"""The same where starting a kernel costs more than memory traffic."""

FEW_CHUNKS = {"cpu": 32}
"""Several heads are taken together where they have fewer chunks than that on a CPU; elsewhere as many as fit."""

_FAR = 2.0**100
"""A position's distance in scores: any forbidden key falls below every real score by more than softmax can tell."""


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
    order_BHRT = sort_groups(buckets_BHRT, documents_BT, n_buckets)[0]
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
        total_BHT = q_BHTd.new_empty(B, H, T, dtype=torch.promote_types(q_BHTd.dtype, torch.float32))
        q, k, v = _Rows.of(q_BHTd), _Rows.of(k_BHTd), _Rows.of(v_BHTd)
        for group in _groups(order_BHRT, documents_BT, chunk, causal, q_BHTd.dtype):
            outs, lses = [], []
            for chunks in group.slices():
                own, around = group.own(chunks), group.around(chunks)
                out, lse = attend(
                    group.cut(q.gather(group, own)),
                    group.cut_overlapping(k.gather(group, around)),
                    group.cut_overlapping(v.gather(group, around)),
                    group.bias(chunks),
                )
                outs.append(out.flatten(1, 2))
                lses.append(lse.flatten(1, 2))
            merged, total = _merge(group.in_time(_joined(outs)), group.in_time(_joined(lses)[..., None]).squeeze(-1))
            out_BTHd[group.sample, :, group.heads] = merged.transpose(0, 1)
            total_BHT[group.sample, group.heads] = total
        ctx.save_for_backward(q_BHTd, k_BHTd, v_BHTd, out_BTHd, total_BHT, order_BHRT, documents_BT)
        ctx.chunk, ctx.causal = chunk, causal
        return out_BTHd.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BHTd: Tensor) -> tuple[Tensor | None, ...]:
        """`out` and `total` are those of all keys: a key's probability is exp(score - total) and the row's correction
        grad . out, so each chunk gives its own share of the gradient (as in ring attention, Liu et al. 2023).
        """
        q_BHTd, k_BHTd, v_BHTd, out_BTHd, total_BHT, order_BHRT, documents_BT = ctx.saved_tensors
        B, H, T, d = q_BHTd.shape
        W = ctx.chunk
        q, k, v, grad = _Rows.of(q_BHTd), _Rows.of(k_BHTd), _Rows.of(v_BHTd), _Rows.of(grad_BHTd)
        out, total = _Rows.of(out_BTHd.transpose(1, 2)), _Rows.of(total_BHT[..., None])
        gradients = q_BHTd.new_empty(3, B, T, H, d)
        for group in _groups(order_BHRT, documents_BT, W, ctx.causal, q_BHTd.dtype):
            dq = []
            blocks = group.order_GE.shape[1] // W
            dk, dv = (q_BHTd.new_empty(len(group.order_GE), blocks, W, d) for _ in range(2))
            dk[:, 0], dv[:, 0] = 0, 0
            for chunks in group.slices():
                own, around = group.own(chunks), group.around(chunks)
                part_q, *parts = banded.chunk_backward(
                    group.cut(grad.gather(group, own)),
                    group.cut(q.gather(group, own)),
                    group.cut_overlapping(k.gather(group, around)),
                    group.cut_overlapping(v.gather(group, around)),
                    group.cut(out.gather(group, own)),
                    group.cut(total.gather(group, own)).squeeze(-1),
                    group.bias(chunks),
                )
                dq.append(part_q.flatten(1, 2))
                for whole, part in zip((dk, dv), parts, strict=True):
                    whole[:, chunks.start + 1 : chunks.stop + 1] = part[:, :, W:]
                    whole[:, chunks] += part[:, :, :W]
            for whole in (dk, dv):
                whole[:, -1] += whole[:, 0]  # what stands before the first chunk is the last one
            for slot, in_rank in enumerate((_joined(dq), dk[:, 1:].flatten(1, 2), dv[:, 1:].flatten(1, 2))):
                gradients[slot, group.sample, :, group.heads] = group.in_time(in_rank).sum(dim=1).transpose(0, 1)
        dq_BHTd, dk_BHTd, dv_BHTd = gradients.transpose(2, 3)
        return dq_BHTd, dk_BHTd, dv_BHTd, None, None, None, None


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _merge(out_GRTd: Tensor, lse_GRT: Tensor) -> tuple[Tensor, Tensor]:
    """One softmax over all rounds: output (G, T, d) and log-sum-exp (G, T)."""
    if lse_GRT.shape[1] == 1:
        return out_GRTd[:, 0], lse_GRT[:, 0]
    share = torch.softmax(lse_GRT, dim=1)[..., None].to(out_GRTd.dtype)
    merged = out_GRTd[:, 0] * share[:, 0]
    for r in range(1, lse_GRT.shape[1]):
        merged.addcmul_(out_GRTd[:, r], share[:, r])
    return merged, torch.logsumexp(lse_GRT, dim=1)


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
        order_GE: int32, position of the token at each rank.
        rank_GS: int32, row of the token of each round and position among the rows of the group's ranks.
        rounds: R.
        masks: what may not see what, for all heads alike.
        chunks_at_once: chunks of a slice.
    """

    sample: int
    heads: slice
    number_G1: Tensor
    order_GE: Tensor
    rank_GS: Tensor
    rounds: int
    masks: _Masks
    chunks_at_once: int

    def slices(self) -> Iterator[slice]:
        """All chunks of the circle, a slice at a time."""
        chunks = self.order_GE.shape[1] // self.masks.chunk - 1
        for first in range(0, chunks, self.chunks_at_once):
            yield slice(first, min(first + self.chunks_at_once, chunks))

    def own(self, chunks: slice) -> Tensor:
        """Position at each rank of some chunks, (G, L)."""
        return self.order_GE[:, (chunks.start + 1) * self.masks.chunk : (chunks.stop + 1) * self.masks.chunk]

    def around(self, chunks: slice) -> Tensor:
        """The same with the chunk before them."""
        return self.order_GE[:, chunks.start * self.masks.chunk : (chunks.stop + 1) * self.masks.chunk]

    def cut(self, x_GLd: Tensor) -> Tensor:
        """A view by chunks, (G, chunks, W, d)."""
        G, L, d = x_GLd.shape
        return x_GLd.view(G, L // self.masks.chunk, self.masks.chunk, d)

    def cut_overlapping(self, x_GLd: Tensor) -> Tensor:
        """A view by chunks, each behind the one before it, (G, chunks, 2W, d)."""
        G, L, d = x_GLd.shape
        W = self.masks.chunk
        return x_GLd.as_strided((G, L // W - 1, 2 * W, d), (L * d, W * d, d, 1))

    def bias(self, chunks: slice) -> Tensor:
        """Additive mask of some chunks, (G, chunks, W, 2W) or what broadcasts to it."""
        return self.masks.of(chunks, self.around(chunks))

    def in_time(self, x_GSd: Tensor) -> Tensor:
        """Rows by rank as rows by round and position, (G, R, T, d)."""
        G, S, d = x_GSd.shape
        rows = x_GSd.reshape(G * S, d).index_select(0, self.rank_GS.view(-1))
        return rows.view(G, self.rounds, S // self.rounds, d)


@dataclass(frozen=True, slots=True)
class _Masks:
    """What is added to the scores of one sample.

    Attributes:
        chunk, causal: as in `lsh`.
        firsts: numbers of the chunks before which another round stands.
        mixed: numbers of the chunks that hold, with their look-back, tokens of several documents.
        apart: what keeps the documents of those chunks apart, (mixed, W, 2W): -inf or 0.
        base: what is added to a chunk's scores by rank alone, (W, 2W).
        dtype: of the scores.
    """

    chunk: int
    causal: bool
    firsts: Tensor
    mixed: Tensor
    apart: Tensor
    base: Tensor
    dtype: torch.dtype

    def of(self, chunks: slice, order_GL: Tensor) -> Tensor:
        """Additive mask of some chunks, of which `order_GL` has the positions with those of the chunk before them."""
        W = self.chunk
        shape = (order_GL.shape[0], chunks.stop - chunks.start, W, 2 * W)
        mixed = _inside(self.mixed, chunks)
        firsts = self.firsts[_inside(self.firsts, chunks)]
        if self.causal:
            bias = self._earlier(order_GL, shape)
        elif mixed.start == mixed.stop and not len(firsts):
            return self.base.to(self.dtype)
        else:
            bias = self.base.expand(shape).clone()
            for number in (firsts - chunks.start).tolist():  # the round before may hold the query itself
                before, own = (order_GL[:, first : first + W] for first in (number * W, number * W + W))
                bias[:, number, :, :W].masked_fill_(own[:, :, None] == before[:, None, :], float("-inf"))
        if mixed.start < mixed.stop:
            bias[:, self.mixed[mixed] - chunks.start] += self.apart[
                torch.arange(mixed.start, mixed.stop) % len(self.apart)
            ]
        return bias.to(self.dtype)

    def _earlier(self, order_GL: Tensor, shape: tuple[int, ...]) -> Tensor:
        W, L = self.chunk, order_GL.shape[1]
        position = order_GL.to(self.base.dtype) * _FAR
        keys = position.as_strided((*shape[:2], 1, 2 * W), (L, W, 1, 1))
        queries = (position - _FAR / 2).as_strided((*shape[:3], 1), (L, W, 1, 1), W)
        bias = torch.sub(queries, keys).clamp_(max=0.0)
        bias.diagonal(offset=W, dim1=-2, dim2=-1).fill_(banded.SELF_BIAS)
        return bias


def _inverse(order_GRT: Tensor) -> Tensor:
    """Row of each token among rows in the order of ranks, (G, S) int32."""
    G, R, T = order_GRT.shape
    row_GRT = torch.arange(G * R * T, dtype=torch.int32, device=order_GRT.device).view(G, R, T)
    return torch.empty_like(row_GRT).scatter_(2, order_GRT.long(), row_GRT).view(G, R * T)


def _inside(numbers: Tensor, chunks: slice) -> slice:
    """Where the sorted numbers lie that belong to a slice of chunks."""
    first, last = torch.searchsorted(numbers, torch.tensor([chunks.start, chunks.stop])).tolist()
    return slice(first, last)


def _masks(documents_T: Tensor, chunk: int, causal: bool, rounds: int, dtype: torch.dtype) -> _Masks:
    """The masks of a sample. Documents lie in the sorted order as they lie in the row, in every head and round."""
    high = torch.promote_types(dtype, torch.float32)
    base = torch.zeros(chunk, 2 * chunk, dtype=high, device=documents_T.device)
    base.diagonal(offset=chunk).fill_(banded.SELF_BIAS)
    blocks = torch.cat([documents_T[-chunk:], documents_T]).view(-1, chunk)
    both = torch.cat([blocks[:-1], blocks[1:]], dim=1)
    mixed = (both != both[:, :1]).any(dim=1).nonzero().squeeze(-1)
    differ = both[mixed, chunk:, None] != both[mixed, None, :]
    first_of_round = torch.arange(rounds)[:, None] * len(both)
    return _Masks(
        chunk=chunk,
        causal=causal,
        firsts=first_of_round.view(-1) if rounds > 1 else first_of_round.new_empty(0),
        mixed=(first_of_round + mixed.cpu()).view(-1),
        apart=torch.zeros_like(differ, dtype=high).masked_fill_(differ, float("-inf")),
        base=base,
        dtype=dtype,
    )


def _groups(order_BHRT: Tensor, documents_BT: Tensor, chunk: int, causal: bool, dtype: torch.dtype) -> Iterator[_Group]:
    """All heads of all samples."""
    B, H, R, T = order_BHRT.shape
    device = order_BHRT.device
    chunks = R * T // chunk
    bytes_of_chunk = 2 * chunk * chunk * torch.promote_types(dtype, torch.float32).itemsize
    fit = max(1, SLICE_BIAS_BYTES.get(device.type, OTHER_BIAS_BYTES) // bytes_of_chunk)
    at_once = max(1, min(fit, FEW_CHUNKS.get(device.type, fit)) // chunks)
    for sample in range(B):
        masks = _masks(documents_BT[sample], chunk, causal, R, dtype)
        for first in range(0, H, at_once):
            heads = slice(first, min(first + at_once, H))
            order_GS = order_BHRT[sample, heads].flatten(1)
            yield _Group(
                sample=sample,
                heads=heads,
                number_G1=torch.arange(heads.start, heads.stop, dtype=torch.int32, device=device)[:, None],
                order_GE=torch.cat([order_GS[:, -chunk:], order_GS], dim=1),
                rank_GS=_inverse(order_BHRT[sample, heads]),
                rounds=R,
                masks=masks,
                chunks_at_once=max(1, fit // len(order_GS)),
            )
