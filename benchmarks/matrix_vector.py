"""How fast can weights be read? Matrix-vector products of the stock library in float32, bfloat16 and int8.

The fastest product over the output layer's matrix gives the bandwidth that the floor of a generated token is made of. A
model's weights are read once a token and do not stay in the processor's cache from one to the next, so the product goes
over copies of the matrix that are larger than the cache together.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle

import torch
import torch.nn.functional as F
from torch import Tensor

from korformer.model.products import fast_products

Product = Callable[[], object]

COPIES_BYTES = 384 * 2**20
"""Bytes of all copies of one matrix together: several times any cache but that of the largest servers."""

BYTES = {"fp32": 4, "bf16": 2, "int8": 1}


def _float_products(matrix: Tensor, vector: Tensor) -> dict[str, Callable[[], Product]]:
    row, column = vector[None], vector[:, None]

    def packed() -> Product:
        weights = torch.ops.mkldnn._reorder_linear_weight(matrix, 1)
        return lambda: torch.ops.mkldnn._linear_pointwise(row, weights, None, "none", [], "")

    def transposed() -> Product:
        columns = matrix.t().contiguous()

        def multiply() -> Tensor:
            with fast_products():
                return torch.mm(row, columns)

        return multiply

    return {
        "torch.mv": lambda: lambda: torch.mv(matrix, vector),
        "mm, the matrix transposed": transposed,
        "F.linear": lambda: lambda: F.linear(row, matrix),
        "matmul of a column": lambda: lambda: matrix @ column,
        "oneDNN, weights packed": packed,
    }


def _int8_products(matrix: Tensor, vector: Tensor) -> dict[str, Callable[[], Product]]:
    scales = matrix.abs().amax(dim=1) / 127
    rounded = (matrix / scales[:, None]).round().to(torch.int8)
    row = vector[None]
    narrow, narrow_scales = row.bfloat16(), scales.bfloat16()
    rounded_row = (row * 127 / row.abs().max()).round().to(torch.int8)

    def dynamic() -> Product:
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # quantised tensors are to leave torch
            quantised = torch.quantize_per_channel(matrix, scales, zeros, 0, torch.qint8)
            packed = torch.ops.quantized.linear_prepack(quantised, None)
        return lambda: torch.ops.quantized.linear_dynamic(row, packed)

    return {
        "_weight_int8pack_mm": lambda: lambda: torch._weight_int8pack_mm(narrow, rounded, narrow_scales),
        "quantized.linear_dynamic": dynamic,
        "_int_mm": lambda: lambda: torch._int_mm(rounded_row, rounded.t()),
    }


def _products(weights: str, matrix: Tensor, vector: Tensor) -> dict[str, Callable[[], Product]]:
    if weights == "int8":
        return _int8_products(matrix, vector)
    dtype = torch.float32 if weights == "fp32" else torch.bfloat16
    return _float_products(matrix.to(dtype), vector.to(dtype))


def _seconds(products: list[Product], repeats: int) -> float:
    """Median time of one product, the copies taking turns."""
    turns = cycle(products)
    for _ in products:
        next(turns)()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in products:
            next(turns)()
        times.append((time.perf_counter() - began) / len(products))
    return statistics.median(times)


@torch.inference_mode()
def bandwidths(weights: str, rows: int, columns: int, repeats: int = 5) -> dict[str, float]:
    """Bytes of weights a second of every product that this library has, the fastest first.

    Args:
        weights: fp32, bf16 or int8.
        rows, columns: of the matrix.
        repeats: how often to go over all copies.
    """
    generator = torch.Generator().manual_seed(0)
    size = rows * columns * BYTES[weights]
    copies = max(1, -(-COPIES_BYTES // size))
    vector = torch.randn(columns, generator=generator)
    alike = [_products(weights, torch.randn(rows, columns, generator=generator), vector) for _ in range(copies)]
    result = {}
    for name in alike[0]:
        with suppress(RuntimeError, NotImplementedError, AttributeError):  # not every build has every product
            result[name] = size / _seconds([products[name]() for products in alike], repeats)
    return dict(sorted(result.items(), key=lambda item: -item[1]))
