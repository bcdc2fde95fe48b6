"""Exact attention with the log-sum-exp of its scores, which is what merging several sets of keys needs.

torch's public attention does not give the log-sum-exp. Its flash kernel for CPUs does; on other devices these are
plain products.

Legend: B samples, H heads, Q queries, K keys, d head width.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from korformer.model.products import usual_products

KERNEL_ON = ("cpu",)
"""Devices whose flash kernel gives the log-sum-exp."""

SHORT_TOKENS = 256
"""Documents below it are computed with torch's usual products, which take less time to begin."""

SCORES_AT_ONCE = 2**26
"""Scores that exist at a time where there is no kernel: with what becomes of them some hundred megabytes."""

_BLOCKS = ((768, 256), (256, 64), (0, 32))
"""Queries that the kernel takes at a time, from so many tokens on."""


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
    B, H, Q, K = *q.shape[:3], k.shape[2]
    blocks = range(0, Q, max(1, SCORES_AT_ONCE // (B * H * K)))
    whole = bias is None or bias.shape[-2] == 1
    parts = []
    for begin, end in pairwise([*blocks, Q]):
        part = slice(begin, end)
        parts.append(_plainly(q[:, :, part], k, v, bias if whole or bias is None else bias[..., part, :]))
    outs, lses = zip(*parts, strict=True)
    return torch.cat(outs, dim=2), torch.cat(lses, dim=2)


def _plainly(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    scores = (q @ k.mT).mul_(q.shape[-1] ** -0.5)
    if bias is not None:
        scores += bias
    lse = torch.logsumexp(scores, dim=-1)
    return scores.sub_(lse[..., None]).exp_() @ v, lse


def attend_causally(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Each query to the keys up to its own number, Q = K: output (B, H, Q, d) and log-sum-exp (B, H, Q)."""
    count = q.shape[2]
    if q.device.type in KERNEL_ON:
        if count < SHORT_TOKENS:
            with usual_products():
                return _kernel(q, k, v)
        more = missing_tokens(count)
        out, lse = _kernel(*(F.pad(x, (0, 0, 0, more)) for x in (q, k, v)) if more else (q, k, v))
        return out[:, :, :count], lse[:, :, :count]
    outs, lses = [], []
    rows = max(1, SCORES_AT_ONCE // (q.shape[0] * q.shape[1] * count))
    for begin in range(0, count, rows):
        end = min(begin + rows, count)
        future = torch.full((end - begin, end), float("-inf"), dtype=q.dtype, device=q.device).triu_(begin + 1)
        out, lse = _plainly(q[:, :, begin:end], k[:, :, :end], v[:, :, :end], future)
        outs.append(out)
        lses.append(lse)
    return torch.cat(outs, dim=2), torch.cat(lses, dim=2)


def attend_causally_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values on a CPU.

    `out` and `lse` may be those of a softmax over more keys than these: the gradients are then these keys' share.
    """
    count = q.shape[2]
    if count < SHORT_TOKENS:
        with usual_products():
            return _kernel_backward(grad, q, k, v, out, lse)
    more = missing_tokens(count)
    if not more:
        return _kernel_backward(grad, q, k, v, out, lse)
    grad, q, k, v, out = (F.pad(x, (0, 0, 0, more)) for x in (grad, q, k, v, out))
    lse = F.pad(lse, (0, more), value=float("inf"))  # what is added has no weights
    dq, dk, dv = _kernel_backward(grad, q, k, v, out, lse)
    return dq[:, :, :count], dk[:, :, :count], dv[:, :, :count]


def missing_tokens(count: int) -> int:
    """Tokens to a whole number of the kernel's blocks. oneDNN keeps what it makes of every new shape of product, some
    megabytes for each length of a document; this way there are a few of them.
    """
    block = next(size for least, size in _BLOCKS if count >= least)
    return -count % block


def _kernel(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, is_causal=True, scale=q.shape[-1] ** -0.5
    )
    return cast("tuple[Tensor, Tensor]", found)


def _kernel_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad, q, k, v, out, lse, 0.0, True, scale=q.shape[-1] ** -0.5
    )
    return cast("tuple[Tensor, Tensor, Tensor]", found)
