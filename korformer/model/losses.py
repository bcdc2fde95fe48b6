"""Cross-entropy over a large vocabulary without the table of all logits.

Legend: N tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

IGNORED = -100
"""A target that does not count."""

CHUNK_LOGITS = 8 * 2**20
"""Logits that exist at a time; 32 MB in fp32."""


def _chunk_tokens(vocabulary: int) -> int:
    return max(16, CHUNK_LOGITS // vocabulary)


class _LinearCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of hidden @ weight.T + bias, gradients made chunk by chunk during the forward pass.

    The loss is a scalar, so its gradient is known up to a factor before backward begins: three matrix products a chunk
    and no logits kept, instead of four with recomputation. Under autocast the products are in its dtype.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        device_type = hidden_ND.device.type
        narrow = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else hidden_ND.dtype
        wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        wanted = targets_N != IGNORED
        count = int(wanted.sum().clamp_min(1))
        losses_N = hidden_ND.new_zeros(targets_N.shape, dtype=torch.float32)
        d_hidden = torch.zeros_like(hidden_ND)
        d_weight = torch.zeros_like(weight_VD)
        d_bias = torch.zeros_like(bias_V) if bias_V is not None else None
        weight = weight_VD.to(narrow)
        index = wanted.nonzero().squeeze(-1)
        # The large tensors have one size at every step, however many tokens are predicted: what is freed fits again.
        rows, V = min(_chunk_tokens(len(weight)), len(targets_N)), len(weight)
        narrow_RV = hidden_ND.new_empty(rows, V, dtype=narrow)
        logits_RV = narrow_RV if narrow == wide else hidden_ND.new_empty(rows, V, dtype=wide)
        share_RV = hidden_ND.new_empty(rows, V, dtype=wide)
        # Products in the precision of autocast; softmax, losses and sums over the chunks in float32 at least.
        with torch.autocast(device_type, enabled=False):
            for part in index.split(max(1, rows)):
                hidden, target = hidden_ND[part].to(narrow), targets_N[part]
                scores, logits, share = (x[: len(part)] for x in (narrow_RV, logits_RV, share_RV))
                torch.mm(hidden, weight.T, out=scores)
                if narrow != wide:
                    logits.copy_(scores)
                if bias_V is not None:
                    logits += bias_V
                torch.softmax(logits, dim=-1, out=share)
                # The largest logit z has the share exp(z - lse).
                lse = logits.amax(dim=-1) - share.amax(dim=-1).log()
                losses_N[part] = (lse - logits.gather(1, target[:, None]).squeeze(1)).float()
                share[torch.arange(len(part), device=part.device), target] -= 1.0
                if d_bias is not None:
                    d_bias += share.sum(dim=0).div_(count)
                if share.dtype != narrow:
                    share = scores.copy_(share)
                d_hidden[part] = (share @ weight).to(d_hidden.dtype).div_(count)
                if narrow == d_weight.dtype:
                    d_weight.addmm_(share.T, hidden, alpha=1 / count)
                else:
                    d_weight.add_(share.T @ hidden, alpha=1 / count)
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        ctx.mark_non_differentiable(losses_N)
        return losses_N.sum() / count, losses_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        factor = grads[0]
        return d_hidden * factor, d_weight * factor, d_bias * factor if d_bias is not None else None, None


def linear_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean loss (scalar, with gradient) and loss of each token (N,) float32 without one; 0 where ignored.

    Args:
        hidden_ND: float; the output layer's input.
        weight_VD: float; its weight.
        bias_V: its bias, or None.
        targets_N: int64 token ids, `IGNORED` where nothing is to be predicted.
    """
    mean, losses = _LinearCrossEntropy.apply(hidden_ND, weight_VD, bias_V, targets_N)  # type: ignore[no-untyped-call]
    return mean, losses


@torch.no_grad()
def token_losses(hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor) -> Tensor:
    """Loss of each token in nats, (N,) float32; 0 where the target is `IGNORED`. Keeps no gradient."""
    losses_N = torch.zeros(targets_N.shape, dtype=torch.float32, device=targets_N.device)
    for part in (targets_N != IGNORED).nonzero().squeeze(-1).split(_chunk_tokens(weight_VD.shape[0])):
        logits = torch.nn.functional.linear(hidden_ND[part], weight_VD, bias_V).float()
        losses_N[part] = torch.nn.functional.cross_entropy(logits, targets_N[part], reduction="none")
    return losses_N
