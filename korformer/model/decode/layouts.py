"""The product of an fp32 matrix and one row, in the bits that the row has among others when a text is read in parallel.

oneDNN adds up a row's products in the same order whatever else a product computes (see `attention.ordered`), and
whether the matrix lies in memory as the model has it, transposed, or in blocks of its own. The fastest of them, and
whether a second thread is worth waking, depends on shape and processor, so it is timed once for each shape of a model.

Legend: M outputs, N inputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from korformer.model.attention.ordered import TERMS
from korformer.model.products import fast_products

ROUNDS = 3
"""Passes over the matrices that every candidate is timed in; the fastest counts."""

PAUSE_SECONDS = 1e-4
"""Between two products that are timed, about what a step does between two of its own."""

SHARED_BYTES = 4 * 2**20
"""A matrix of this size or more may be worth waking the other threads for; that costs some 40 microseconds."""

PACKED_FOR_ROWS = 16
"""Rows that oneDNN is told to expect when it chooses its blocks: for a single one it would choose none."""

Stored = Literal["rows", "columns", "blocks"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a matrix is stored and multiplied.

    Attributes:
        stored: as it is, transposed, or in oneDNN's blocks.
        shared: whether all threads take part.
    """

    stored: Stored = "rows"
    shared: bool = False


LAYOUTS = tuple(Layout(stored=stored, shared=shared) for stored in get_args(Stored) for shared in (False, True))

_Multiply = Callable[[Tensor], Tensor]


def product(weight_MN: Tensor, bias_M: Tensor | None, layout: Layout) -> _Multiply:
    """The function from (1, N) to weight @ x + bias, (1, M), on the threads that torch has when it is called.

    Raises:
        AttributeError, RuntimeError: this build of torch has no such layout.
    """
    cuts = [*range(0, weight_MN.shape[1], TERMS), weight_MN.shape[1]]
    blocks = [slice(*ends) for ends in pairwise(cuts)]
    parts = [_stored(weight_MN[:, block], layout.stored) for block in blocks]
    if len(parts) == 1:
        whole = parts[0]
        if bias_M is None:
            return whole
        return lambda x: whole(x).add_(bias_M)

    def in_parts(x: Tensor) -> Tensor:
        y = parts[0](x[:, blocks[0]])
        for block, part in zip(blocks[1:], parts[1:], strict=True):
            y += part(x[:, block])
        return y if bias_M is None else y.add_(bias_M)

    return in_parts


def _stored(weight_MN: Tensor, stored: Stored) -> _Multiply:
    if stored == "columns":
        columns_NM = weight_MN.T.contiguous()
        return lambda x: torch.mm(x, columns_NM)
    rows_MN = weight_MN.contiguous()
    if stored == "rows":
        return lambda x: F.linear(x, rows_MN)
    with fast_products():  # the blocks are those of the product that it will be
        packed = torch.ops.mkldnn._reorder_linear_weight(rows_MN, PACKED_FOR_ROWS)
    multiply = torch.ops.mkldnn._linear_pointwise
    return lambda x: multiply(x, packed, None, "none", [], "")


def fastest(weights: Sequence[Tensor]) -> Layout:
    """The fastest layout that gives the right bits, for matrices of one shape, (M, N) each, one after another as a step
    has them. To be called within `fast_products`.
    """
    x = torch.randn(1, weights[0].shape[1], dtype=weights[0].dtype)
    before, seconds = torch.get_num_threads(), {}
    sharing = before > 1 and weights[0].numel() * weights[0].element_size() >= SHARED_BYTES
    try:
        for layout in LAYOUTS if sharing else [layout for layout in LAYOUTS if not layout.shared]:
            torch.set_num_threads(before if layout.shared else 1)
            if not _right(weights[0], layout):
                continue
            products = [product(weight, None, layout) for weight in weights]
            seconds[layout] = min(_seconds(products, x) for _ in range(ROUNDS))
    finally:
        torch.set_num_threads(before)
    return min(seconds, key=lambda layout: seconds[layout], default=Layout())


def _right(weight_MN: Tensor, layout: Layout) -> bool:
    """Whether rows have the same bits one by one, in this layout, and together. As it is, a small matrix has not: torch
    gives it to oneDNN for several rows only.
    """
    x_BN = torch.randn(8, weight_MN.shape[1], generator=torch.Generator().manual_seed(0), dtype=weight_MN.dtype)
    together = torch.zeros(8, weight_MN.shape[0], dtype=weight_MN.dtype)
    for at in range(0, x_BN.shape[1], TERMS):
        together += F.linear(x_BN[:, at : at + TERMS], weight_MN[:, at : at + TERMS])
    try:
        multiply = product(weight_MN, None, layout)
        alone = torch.cat([multiply(row) for row in x_BN.split(1)])
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return torch.equal(alone, together)


def _seconds(products: Sequence[_Multiply], x: Tensor) -> float:
    """What the products take together. Between two of them a step does other things, while threads fall asleep."""
    total = 0.0
    for multiply in products:
        begun = time.perf_counter()
        while time.perf_counter() < begun + PAUSE_SECONDS:
            pass
        begun = time.perf_counter()
        multiply(x)
        total += time.perf_counter() - begun
    return total
