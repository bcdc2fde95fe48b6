"""fp32 matrix products at the processor's speed.

On a CPU torch gives fp32 products to the BLAS that it was built with, which on some processors stays well below what
oneDNN, also part of torch, does. torch has a switch that prefers oneDNN and lets it round to bfloat16 where the
processor has units for that. Without such units (AMX) the arithmetic stays fp32, and then the switch only chooses the
faster library. Whether that is so here is tried, not assumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

_SIZE = 256
_FP32_ROUNDING = 2.0**-18
"""Largest relative error that an fp32 product of this size may have; bfloat16's would be about 2^-9."""


def _switch() -> Any | None:
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    return matmul if torch.backends.mkldnn.is_available() and hasattr(matmul, "fp32_precision") else None


@lru_cache(maxsize=1)
def stays_fp32() -> bool:
    """Whether products under the switch are still exact to fp32's rounding on this processor."""
    matmul = _switch()
    if matmul is None:
        return False
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(_SIZE, _SIZE, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        errors = [(product.double() - exact).abs().max() for product in (a @ b, torch.bmm(a[None], b[None])[0])]
    finally:
        matmul.fp32_precision = before
    return bool(max(errors) < _FP32_ROUNDING * exact.abs().max())


@contextmanager
def fast_products() -> Iterator[None]:
    """Within it, fp32 products on the CPU run where they are fastest, forward and backward; elsewhere no change."""
    with _preferring("bf16"):
        yield


@contextmanager
def usual_products() -> Iterator[None]:
    """Within it, as torch comes: for the attention of one query, which is slower among `fast_products`."""
    with _preferring("none"):
        yield


@contextmanager
def _preferring(precision: str) -> Iterator[None]:
    matmul = _switch()
    if matmul is None or not stays_fp32():
        yield
        return
    before = matmul.fp32_precision
    matmul.fp32_precision = precision
    try:
        yield
    finally:
        matmul.fp32_precision = before
