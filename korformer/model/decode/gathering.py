"""Attention of one token to rows of the store that lie anywhere.

Legend: H heads, d head width, R sets of rows, S rows of a set, M rows of the store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from korformer.model.attention.ordered import merge_once, weigh_once


@dataclass(frozen=True)
class _Shape:
    """What hangs on nothing but the numbers of heads, sets and rows.

    Attributes:
        heads: (H, 1, 1) where each head's keys begin in the first row, counted as if that were row 1.
        each: (H x R x S,) 0, 1, 2, …
        sets: (H x R,) where each set begins in that.
    """

    heads: Tensor
    each: Tensor
    sets: Tensor


class Gatherer(ABC):
    """Gathers keys and values by row and attends to them."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[int, int, int, int], _Shape] = {}

    def attend(
        self, rows_MH2d: Tensor, q_Hd: Tensor, first_head: int, places_HRS: Tensor, bias_HRS: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The output of some heads, (H, d), and the weight of each row, (H, R, S).

        Args:
            rows_MH2d: the store of a layer: of every head a key, then its value.
            q_Hd: queries.
            first_head: which of the layer's heads the first of these is.
            places_HRS: rows, counted from 1.
            bias_HRS: added to the scores, or None.
        """
        (H, R, S), all_heads, d = places_HRS.shape, rows_MH2d.shape[1], q_Hd.shape[1]
        shape = self._shape(H, R, S, first_head, rows_MH2d)
        halves = rows_MH2d.view(-1, d)
        keys = torch.add(shape.heads, places_HRS, alpha=2 * all_heads).view(-1)
        # Sums of one row each: a gather that fetches ahead, up to twice as fast as index_select.
        k = torch.embedding_bag(halves, keys, shape.each)[0] if _fast(halves) else halves.index_select(0, keys)
        return self._weigh(halves, keys + 1, shape, q_Hd, k.view(H, R, S, d), bias_HRS)

    @abstractmethod
    def _weigh(
        self, halves: Tensor, values: Tensor, shape: _Shape, q_Hd: Tensor, k_HRSd: Tensor, bias_HRS: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """As `attend`; `values` are the places of the values in `halves`, (H x R x S,)."""

    def _shape(self, heads: int, rounds: int, entries: int, first_head: int, rows_MH2d: Tensor) -> _Shape:
        key = (heads, rounds, entries, first_head)
        if key not in self._shapes:
            head_H = torch.arange(first_head, first_head + heads, device=rows_MH2d.device) - rows_MH2d.shape[1]
            each = torch.arange(heads * rounds * entries, device=rows_MH2d.device)
            self._shapes[key] = _Shape(2 * head_H[:, None, None], each, each[::entries].contiguous())
        return self._shapes[key]


class InOrder(Gatherer):
    """A softmax over each set, and one over the sets: the operations of reading in parallel, for the same bits."""

    def _weigh(
        self, halves: Tensor, values: Tensor, shape: _Shape, q_Hd: Tensor, k_HRSd: Tensor, bias_HRS: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        weights_HRS, total_HR1, lse_HR1 = weigh_once(q_Hd, k_HRSd, bias_HRS)
        H, R, _, d = k_HRSd.shape
        out_HRd = _sums(halves, values, shape.sets, weights_HRS).view(H, R, d) / total_HR1
        if R == 1:
            return out_HRd[:, 0], weights_HRS.div_(total_HR1)
        merged_Hd, shares_HR1 = merge_once(out_HRd, lse_HR1)
        return merged_Hd, weights_HRS.mul_(shares_HR1.div_(total_HR1))


class AtOnce(Gatherer):
    """One softmax over all sets."""

    def _weigh(
        self, halves: Tensor, values: Tensor, shape: _Shape, q_Hd: Tensor, k_HRSd: Tensor, bias_HRS: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        H, R, S, d = k_HRSd.shape
        scores = torch.bmm((q_Hd * d**-0.5)[:, None], k_HRSd.view(H, R * S, d).mT)
        weights = torch.softmax(scores if bias_HRS is None else scores.add_(bias_HRS.view(H, 1, R * S)), dim=-1)
        return _sums(halves, values, shape.sets[::R], weights).view(H, d), weights.view(H, R, S)


def _fast(halves: Tensor) -> bool:
    return halves.device.type == "cpu" and halves.dtype == torch.float32


def _sums(halves: Tensor, values: Tensor, begins: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of stretches of values, (stretches, d); the stretches begin at `begins` and are equally long."""
    if _fast(halves):  # adds up key after key, as a product in order does
        return torch.embedding_bag(halves, values, begins, per_sample_weights=weights.reshape(-1))[0]
    each = weights.shape[-1]
    return torch.bmm(weights.reshape(-1, 1, each), halves.index_select(0, values).view(-1, each, halves.shape[1]))
