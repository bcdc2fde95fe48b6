"""The arithmetic of training: float32, bfloat16, or float16 with loss scaling.

Weights, their gradients, the optimizer's moments and the residual streams are float32 in all three; bf16 and fp16 are
what autocast runs the matrix products and attention in. float16 has few exponents, so its loss is multiplied by a
factor that is found while training (Micikevicius et al. 2018): gradients that overflow halve it and change nothing,
2,000 steps without overflow double it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor

from korformer.errors import UsageError

Precision = Literal["fp32", "bf16", "fp16"]

BF16_SINCE = (8, 0)
"""Compute capability from which a GPU has bfloat16 arithmetic."""

_BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def has_bf16_products() -> bool:
    """Whether the processor has instructions for products of bfloat16 numbers; False where torch does not tell."""
    tell = getattr(torch.cpu, "get_capabilities", None)
    capabilities: Mapping[str, Any] = tell() if tell is not None else {}
    return any(capabilities.get(name, False) for name in _BF16_INSTRUCTIONS)


def precision_for(capability: tuple[int, int] | None) -> Precision:
    """The fastest arithmetic that a GPU of this compute capability trains well in, or the CPU for None.

    A processor without instructions for bfloat16 imitates it, more slowly than it computes in float32; with them it
    trains about half as fast again (docs/benchmarks.md).
    """
    if capability is None:
        return "bf16" if has_bf16_products() else "fp32"
    # Not torch.cuda.is_bf16_supported(): it says yes where bf16 is emulated.
    return "bf16" if capability >= BF16_SINCE else "fp16"


def choose_precision(wanted: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device) -> Precision:
    """The arithmetic to train in on a device.

    Raises:
        UsageError: fp16 without a GPU, or bf16 on a GPU that has none.
    """
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if wanted == "auto":
        return precision_for(capability)
    if wanted == "fp16" and capability is None:
        raise UsageError("fp16 needs a GPU", where="training.precision", hint="On a CPU choose auto, fp32 or bf16.")
    if wanted == "bf16" and capability is not None and capability < BF16_SINCE:
        raise UsageError(
            f"this GPU (compute capability {capability[0]}.{capability[1]}) has no bf16",
            where="training.precision",
            hint="Choose auto, fp16 or fp32.",
        )
    return wanted


class MixedPrecision:
    """Autocast and loss scaling for one run.

    Args:
        precision: the arithmetic.
        device: where the model is.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self.precision = precision
        self._device_type = device.type
        self._scaler = torch.amp.GradScaler(device.type) if precision == "fp16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        """What a forward pass runs under; backward runs outside."""
        return torch.autocast(self._device_type, _DTYPES[self.precision], enabled=self.precision != "fp32")

    def scaled(self, loss: Tensor) -> Tensor:
        """What to call backward on."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gradients to their true size, before they are looked at or clipped."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    def overflowed(self, gradient_norm: float) -> bool:
        """Whether the norm is not finite because the loss was scaled too far, which a smaller scale mends."""
        return self._scaler is not None and not math.isfinite(gradient_norm) and self._scaler.get_scale() > 1.0

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights; where a gradient overflowed change nothing but the scale."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()

    @property
    def loss_scale(self) -> float:
        """The factor in force."""
        return 1.0 if self._scaler is None else self._scaler.get_scale()

    def state(self) -> dict[str, float]:
        """What an exact resumption needs; empty without loss scaling."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from `state`; a run that had none (it was in another precision) begins a new scale."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(dict(state))
