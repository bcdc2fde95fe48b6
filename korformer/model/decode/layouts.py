"""The product of an fp32 matrix and one row, in the bits that the row has among others when a text is read in parallel.

oneDNN adds up a row's products in the same order whatever else a product computes (see `attention.ordered`), and
whether the matrix lies in memory as the model has it or transposed. The faster of the two, and whether a second thread
is worth waking, depends on shape and processor, so it is timed once for each shape of a model.

Legend: M outputs, N inputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from korformer.model.attention.ordered import TERMS

ROUNDS = 3
"""Passes over the matrices that every candidate is timed in; the fastest counts."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a matrix is stored and multiplied.

    Attributes:
        columns: whether it is stored transposed.
        shared: whether all threads take part.
    """

    columns: bool = False
    shared: bool = False


LAYOUTS = tuple(Layout(columns=columns, shared=shared) for columns in (False, True) for shared in (False, True))


def product(weight_MN: Tensor, bias_M: Tensor | None, layout: Layout) -> Callable[[Tensor], Tensor]:
    """The function from (1, N) to weight @ x + bias, (1, M), on the threads that torch has when it is called."""
    multiply: Callable[[Tensor, Tensor], Tensor] = torch.mm if layout.columns else F.linear
    cuts = [*range(0, weight_MN.shape[1], TERMS), weight_MN.shape[1]]
    blocks = [slice(*ends) for ends in pairwise(cuts)]
    parts = [(weight_MN[:, block].T if layout.columns else weight_MN[:, block]).contiguous() for block in blocks]
    if len(parts) == 1:
        whole = parts[0]
        if bias_M is None:
            return lambda x: multiply(x, whole)
        return lambda x: multiply(x, whole).add_(bias_M)

    def in_parts(x: Tensor) -> Tensor:
        y = multiply(x[:, blocks[0]], parts[0])
        for block, part in zip(blocks[1:], parts[1:], strict=True):
            y += multiply(x[:, block], part)
        return y if bias_M is None else y.add_(bias_M)

    return in_parts


def fastest(weights: Sequence[Tensor]) -> Layout:
    """The fastest layout for matrices of one shape, (M, N) each, one after another as a step has them."""
    x = torch.randn(1, weights[0].shape[1], dtype=weights[0].dtype)
    before, seconds = torch.get_num_threads(), {}
    try:
        for layout in LAYOUTS if before > 1 else [layout for layout in LAYOUTS if not layout.shared]:
            torch.set_num_threads(before if layout.shared else 1)
            products = [product(weight, None, layout) for weight in weights]
            seconds[layout] = min(_seconds(partial(_pass, products, x)) for _ in range(ROUNDS))
    finally:
        torch.set_num_threads(before)
    return min(seconds, key=lambda layout: seconds[layout])


def _pass(products: Sequence[Callable[[Tensor], Tensor]], x: Tensor) -> None:
    for multiply in products:
        multiply(x)


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
