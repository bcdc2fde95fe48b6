"""A matrix times one vector, in the precision of the weights: the fastest product that the installed torch has.

Only the matrix is stored in the precision; what goes in and comes out is float32. Candidates were timed with
`benchmarks/decode.py`; where one is missing (another processor, another device, another torch) a plainer one does the
same.

Legend: M outputs, N inputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from korformer.model.decode.layouts import SHARED_BYTES, Layout, product

Precision = Literal["fp32", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Product = Callable[[Tensor], Tensor]
"""From one row, (1, N), to another, (1, M)."""


class Threads:
    """How many threads a step may use: one, but for the products of large matrices."""

    def __init__(self) -> None:
        self.all = 1

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """One thread inside; `all` is what was allowed outside."""
        before = torch.get_num_threads()
        self.all = before
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def shared(self, product: Product) -> Product:
        """The product on all threads."""

        def on_all(x: Tensor) -> Tensor:
            before = torch.get_num_threads()
            if self.all <= before:
                return product(x)
            torch.set_num_threads(self.all)
            try:
                return product(x)
            finally:
                torch.set_num_threads(before)

        return on_all


def matrix(
    weight_MN: Tensor, bias_M: Tensor | None, precision: Precision, threads: Threads, layout: Layout | None = None
) -> Product:
    """The function from (1, N) to weight @ x + bias, (1, M).

    Args:
        weight_MN: float32 (or float64, kept as it is, for tests); copied where the precision needs it.
        bias_M: stays in float32.
        precision: fp32 keeps the weight; bf16 rounds it; int8 rounds it to 255 steps, symmetric, per row, and every
            input vector to 256 steps of its own range.
        threads: of the step.
        layout: of an fp32 matrix whose products are to have the bits of the parallel ones.
    """
    weight_MN = weight_MN.detach()
    bias_M = None if bias_M is None else bias_M.detach()
    if layout is not None and precision == "fp32":
        in_order = product(weight_MN, bias_M, layout)
        return threads.shared(in_order) if layout.shared else in_order
    make = {"fp32": _full, "bf16": _half, "int8": _byte}[precision]
    made, stored_bytes = make(weight_MN, bias_M)
    return made if stored_bytes < SHARED_BYTES or weight_MN.device.type != "cpu" else threads.shared(made)


def quantise(weight_MN: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as int8 and the factor of each, (M, N) and (M,): weight = int8 x factor, the largest of a row being 127."""
    scale_M = weight_MN.abs().amax(dim=1) / 127
    scale_M = torch.where(scale_M > 0, scale_M, 1.0)
    return (weight_MN / scale_M[:, None]).round_().clamp_(-127, 127).to(torch.int8), scale_M


def _full(weight_MN: Tensor, bias_M: Tensor | None) -> tuple[Product, int]:
    stored = weight_MN.numel() * weight_MN.element_size()
    if weight_MN.device.type == "cpu" and weight_MN.dtype == torch.float32 and _has("mkldnn", "_linear_pointwise"):
        # F.linear gives one row to a product that runs on a single thread at half the memory's speed.
        pointwise = torch.ops.mkldnn._linear_pointwise
        weight_MN = weight_MN.contiguous()

        def by_mkldnn(x: Tensor) -> Tensor:
            return cast("Tensor", pointwise(x, weight_MN, bias_M, "none", [], ""))

        if _works(by_mkldnn, weight_MN.shape[1]):
            return by_mkldnn, stored
    return lambda x: F.linear(x, weight_MN, bias_M), stored


def _half(weight_MN: Tensor, bias_M: Tensor | None) -> tuple[Product, int]:
    half_MN = weight_MN.to(torch.bfloat16)
    stored = half_MN.numel() * 2
    if weight_MN.device.type == "cpu" and _has("mkldnn", "_linear_pointwise", "_reorder_linear_weight"):
        pointwise = torch.ops.mkldnn._linear_pointwise

        def pack() -> Product:
            packed = torch.ops.mkldnn._reorder_linear_weight(half_MN, 1)

            def by_mkldnn(x: Tensor) -> Tensor:
                y = pointwise(x.to(torch.bfloat16), packed, None, "none", [], "").float()
                return cast("Tensor", y if bias_M is None else y.add_(bias_M))

            return by_mkldnn

        packed = _first(pack, weight_MN.shape[1])
        if packed is not None:
            return packed, stored

    def plain(x: Tensor) -> Tensor:
        y = F.linear(x.to(torch.bfloat16), half_MN).float()
        return y if bias_M is None else y.add_(bias_M)

    return plain, stored


def _byte(weight_MN: Tensor, bias_M: Tensor | None) -> tuple[Product, int]:
    byte_MN, scale_M = quantise(weight_MN)
    stored = byte_MN.numel()
    if weight_MN.device.type == "cpu":
        for pack in (_packed_by_fbgemm, _packed_for_bf16):
            packed = _first(lambda pack=pack: pack(byte_MN, scale_M, bias_M), weight_MN.shape[1])  # type: ignore[misc]
            if packed is not None:
                return packed, stored
    rounded_MN = byte_MN.to(weight_MN.dtype) * scale_M[:, None]
    return lambda x: F.linear(x, rounded_MN, bias_M), stored


def _packed_by_fbgemm(byte_MN: Tensor, scale_M: Tensor, bias_M: Tensor | None) -> Product:
    engine = torch.backends.quantized.engine
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        raise RuntimeError("no fbgemm")
    torch.backends.quantized.engine = "fbgemm"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # quantised tensors are to leave torch one day; the pack is none
            rows = torch._make_per_channel_quantized_tensor(
                byte_MN, scale_M.double(), torch.zeros(len(scale_M), dtype=torch.long), 0
            )
            packed = torch.ops.quantized.linear_prepack(rows, bias_M)
    finally:
        torch.backends.quantized.engine = engine
    # Without VNNI instructions pairs of products are summed in 16 bits, where 8 bits of input would overflow.
    reduce_range = not _has_vnni()
    multiply = torch.ops.quantized.linear_dynamic
    return lambda x: multiply(x, packed, reduce_range)


def _packed_for_bf16(byte_MN: Tensor, scale_M: Tensor, bias_M: Tensor | None) -> Product:
    scales = scale_M.to(torch.bfloat16)
    multiply = torch.ops.aten._weight_int8pack_mm

    def by_rows(x: Tensor) -> Tensor:
        y = multiply(x.to(torch.bfloat16), byte_MN, scales).float()
        return cast("Tensor", y if bias_M is None else y.add_(bias_M))

    return by_rows


def _has(namespace: str, *names: str) -> bool:
    operators = getattr(torch.ops, namespace)
    return torch.backends.mkldnn.is_available() and all(hasattr(operators, name) for name in names)


def _has_vnni() -> bool:
    asked = getattr(torch.cpu, "_is_vnni_supported", None)
    return bool(asked()) if asked is not None else False


def _first(pack: Callable[[], Product], inputs: int) -> Product | None:
    try:
        packed = pack()
    except (AttributeError, NotImplementedError, RuntimeError):
        return None
    return packed if _works(packed, inputs) else None


def _works(multiply: Product, inputs: int) -> bool:
    try:
        multiply(torch.zeros(1, inputs))
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return True
