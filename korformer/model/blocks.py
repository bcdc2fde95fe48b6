"""What a layer does beside attending: norms, projections and the feed-forward block of reformer-pytorch's modules.

Legend: B samples, T tokens, D model width, H heads, d head width, F feed-forward width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch.nn.functional as F
from reformer_pytorch.reformer_pytorch import FeedForward, LSHSelfAttention, ReZero
from torch import Tensor, nn

from korformer.model.attention.ordered import linear
from korformer.model.positions import rotate

FEED_FORWARD_TOKENS = 1024
"""Tokens whose feed-forward block is computed at a time where memory counts; large enough for full speed."""

Drop = Callable[[Tensor], Tensor]


def inner_attention(wrapper: nn.Module) -> LSHSelfAttention:
    """The projections inside a norm or ReZero wrapper."""
    attention: LSHSelfAttention = cast("LSHSelfAttention", wrapper.fn)
    return attention


def inner_feed_forward(wrapper: nn.Module) -> FeedForward:
    """The feed-forward block inside a norm or ReZero wrapper."""
    feed_forward: FeedForward = cast("FeedForward", cast("nn.Module", wrapper.fn).fn)
    return feed_forward


def norm_input(wrapper: nn.Module, x: Tensor) -> Tensor:
    """What a wrapped module sees of its input."""
    return x if isinstance(wrapper, ReZero) else cast("nn.Module", wrapper.norm)(x)


def scale_output(wrapper: nn.Module, y: Tensor) -> Tensor:
    """What a wrapped module's output becomes."""
    return y * wrapper.g if isinstance(wrapper, ReZero) else y


def project(attention: LSHSelfAttention, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
    """Shared query-key and value vectors, each (B, H, T, d)."""
    B, T, _ = x_BTD.shape
    qk = linear(attention.toqk, x_BTD)
    v = linear(attention.tov, x_BTD).repeat(1, 1, attention.v_head_repeats)
    qk_BHTd, v_BHTd = (y.view(B, T, attention.heads, -1).transpose(1, 2) for y in (qk, v))
    return qk_BHTd, v_BHTd


def queries_and_keys(qk_BHTd: Tensor, angles_BTd: Tensor | None) -> tuple[Tensor, Tensor]:
    """Queries and unit-length keys, turned by their position where positions are rotations."""
    q = qk_BHTd if angles_BTd is None else rotate(qk_BHTd, angles_BTd)
    return q, F.normalize(q, dim=-1).to(q.dtype)  # a GPU's autocast takes norms, and what they divide, in float32


def finish_attention(wrapper: nn.Module, out_BHTd: Tensor) -> Tensor:
    """Merge the heads and project back, (B, T, D)."""
    merged: Tensor = linear(inner_attention(wrapper).to_out, out_BHTd.transpose(1, 2).flatten(2))
    return scale_output(wrapper, merged)


def apply_feed_forward(wrapper: nn.Module, x_BTD: Tensor, drop: Drop | None = None) -> Tensor:
    """A wrapped feed-forward block, (B, T, D); `drop` is applied to its hidden units (B, T, F)."""
    block = inner_feed_forward(wrapper)
    hidden = linear(block.w1, norm_input(wrapper, x_BTD))
    if block.glu:
        hidden, gate = hidden.chunk(2, dim=-1)
        hidden = block.act(hidden.contiguous()) * gate  # a step's row is contiguous, and GELU's last bits hang on that
    else:
        hidden = block.act(hidden)
    return scale_output(wrapper, linear(block.w2, hidden if drop is None else drop(hidden)))
