"""Exact attention with the log-sum-exp of its scores, which is what merging several sets of keys needs.

torch's public attention does not give the log-sum-exp. Its flash kernel for CPUs does; on other devices these are
plain products.

Legend: B samples, H heads, Q queries, K keys, d head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

KERNEL_ON = ("cpu",)
"""Devices whose flash kernel gives the log-sum-exp."""


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Output (B, H, Q, d) and log-sum-exp (B, H, Q), without a graph.

    Args:
        q: (B, H, Q, d) queries.
        k, v: (B, H, K, d) keys and values.
        bias: what broadcasts to (B, H, Q, K), added to the scores; no row may be -inf throughout.
    """
    if q.device.type in KERNEL_ON:
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, attn_mask=bias, scale=q.shape[-1] ** -0.5
        )
        return out, lse
    scores = (q @ k.mT).mul_(q.shape[-1] ** -0.5)
    if bias is not None:
        scores += bias
    lse = torch.logsumexp(scores, dim=-1)
    return scores.sub_(lse[..., None]).exp_() @ v, lse


def attend_causally(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Each query to the keys up to its own number, Q = K: output (B, H, Q, d) and log-sum-exp (B, H, Q)."""
    if q.device.type in KERNEL_ON:
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, is_causal=True, scale=q.shape[-1] ** -0.5
        )
        return out, lse
    future = torch.full((q.shape[2], q.shape[2]), float("-inf"), dtype=q.dtype, device=q.device).triu_(1)
    return attend(q, k, v, future)


def attend_causally_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values on a CPU.

    `out` and `lse` may be those of a softmax over more keys than these: the gradients are then these keys' share.
    """
    dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad, q, k, v, out, lse, 0.0, True, scale=q.shape[-1] ** -0.5
    )
    return dq, dk, dv
