"""Attention to what is near: reformer-pytorch's blocks, and a window on both sides of each token.

The row is cut into blocks of W tokens; a block's queries see the keys of the block before, of their own and, looking on
both sides, of the block after. A mask by distance makes of this either of two kinds:

- `windowed`: all of those blocks (in a decoder the earlier tokens only), as the local heads of reformer-pytorch do;
- `two_sided`: the W nearest tokens on each side.

Neither crosses a document, and a token sees itself only when nothing else is there.

Legend: B samples, H heads, T tokens, d head width, W tokens in a block, C blocks, K keys that a block sees (2W or 3W),
E = T + K - W: the row with an empty block at each end that is looked over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from korformer.model.attention import banded
from korformer.model.attention.ordered import attend

BIAS_BYTES = 2**22
"""Additive mask that exists at a time."""

Reach = Literal["earlier blocks", "blocks", "band"]


def windowed(
    q_BHTd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor, documents_BT: Tensor, *, window: int, causal: bool
) -> Tensor:
    """Attention inside blocks and to their neighbours, (B, H, T, d); gradients flow to queries, keys and values.

    Args:
        q_BHTd, k_BHTd, v_BHTd: queries, unit-length keys and values; floating point, T a multiple of `window`.
        documents_BT: integer document of each token, not falling along a row.
        window: tokens in a block.
        causal: only earlier tokens of the own block and the one before; else all of the own and both neighbours.
    """
    reach: Reach = "earlier blocks" if causal else "blocks"
    out: Tensor = _Blocks.apply(q_BHTd, k_BHTd, v_BHTd, documents_BT, window, reach)  # type: ignore[no-untyped-call]
    return out


def two_sided(q_BHTd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor, documents_BT: Tensor, *, window: int) -> Tensor:
    """Attention to the `window` tokens on each side in the same document, (B, H, T, d). Arguments as in `windowed`."""
    out: Tensor = _Blocks.apply(q_BHTd, k_BHTd, v_BHTd, documents_BT, window, "band")  # type: ignore[no-untyped-call]
    return out


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q_BHTd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor, documents_BT: Tensor, window: int, reach: Reach
    ) -> Tensor:
        B, H, T, d = q_BHTd.shape
        W = window
        out_BTHd = q_BHTd.new_empty(B, T, H, d)
        lse_BTH = q_BHTd.new_empty(B, T, H, dtype=torch.promote_types(q_BHTd.dtype, torch.float32))
        base_WK = _base(W, reach, q_BHTd)
        for sample in range(B):
            keys, values = (_with_ends(x[sample], base_WK) for x in (k_BHTd, v_BHTd))
            for blocks, bias in _slices(documents_BT[sample], base_WK):
                tokens = slice(blocks.start * W, blocks.stop * W)
                out, lse = attend(
                    _own(q_BHTd[sample], W, blocks),
                    _around(keys, base_WK, blocks),
                    _around(values, base_WK, blocks),
                    bias,
                )
                out_BTHd[sample, tokens] = out.transpose(1, 2).flatten(0, 1)
                lse_BTH[sample, tokens] = lse.transpose(1, 2).flatten(0, 1)
        ctx.save_for_backward(q_BHTd, k_BHTd, v_BHTd, out_BTHd, lse_BTH, documents_BT)
        ctx.window, ctx.reach = window, reach
        return out_BTHd.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BHTd: Tensor) -> tuple[Tensor | None, ...]:
        q_BHTd, k_BHTd, v_BHTd, out_BTHd, lse_BTH, documents_BT = ctx.saved_tensors
        B, H, T, d = q_BHTd.shape
        W = ctx.window
        base_WK = _base(W, ctx.reach, q_BHTd)
        gradients = q_BHTd.new_empty(3, B, T, H, d)
        for sample in range(B):
            keys, values = (_with_ends(x[sample], base_WK) for x in (k_BHTd, v_BHTd))
            extended = q_BHTd.new_zeros(2, keys.shape[1] // W, W, H, d)
            for blocks, bias in _slices(documents_BT[sample], base_WK):
                tokens = slice(blocks.start * W, blocks.stop * W)
                dq, *others = banded.chunk_backward(
                    _own(grad_BHTd[sample], W, blocks),
                    _own(q_BHTd[sample], W, blocks),
                    _around(keys, base_WK, blocks),
                    _around(values, base_WK, blocks),
                    _own(out_BTHd[sample].transpose(0, 1), W, blocks),
                    _own(lse_BTH[sample].transpose(0, 1)[..., None], W, blocks).squeeze(-1),
                    bias,
                )
                gradients[0, sample, tokens] = dq.transpose(1, 2).flatten(0, 1)
                for total, part in zip(extended, others, strict=True):
                    for number, keys_of_block in enumerate(part.transpose(1, 2).split(W, dim=1)):
                        total[blocks.start + number : blocks.stop + number] += keys_of_block
            gradients[1:, sample] = extended[:, 1 : 1 + T // W].flatten(1, 2)
        dq, dk, dv = gradients.transpose(2, 3)
        return dq, dk, dv, None, None, None


def _base(window: int, reach: Reach, like: Tensor) -> Tensor:
    """Additive mask of a block by distance alone, (W, K)."""
    keys = torch.arange((2 if reach == "earlier blocks" else 3) * window, device=like.device)
    behind = torch.arange(window, 2 * window, device=like.device)[:, None] - keys
    base = torch.zeros(behind.shape, dtype=like.dtype, device=like.device)
    if reach == "earlier blocks":
        base.masked_fill_(behind < 0, float("-inf"))
    elif reach == "band":
        base.masked_fill_(behind.abs() > window, float("-inf"))
    return base.masked_fill_(behind == 0, banded.SELF_BIAS)


def _slices(documents_T: Tensor, base_WK: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Runs of blocks with their additive mask, (blocks, 1, W, K) or, where all have one document, (W, K)."""
    W, K = base_WK.shape
    blocks = documents_T.shape[0] // W
    nowhere = torch.iinfo(torch.int32).min
    around_CK = F.pad(documents_T.int(), (W, K - 2 * W), value=nowhere).unfold(0, K, W)
    own_CW = documents_T.int().view(blocks, W)
    one_C = (around_CK == around_CK[:, :1]).all(dim=1).tolist()
    at_once = max(1, BIAS_BYTES // (base_WK.numel() * base_WK.element_size()))
    first = 0
    while first < blocks:
        last = first + 1
        while last < blocks and one_C[last] == one_C[first] and (one_C[first] or last - first < at_once):
            last += 1
        chosen = slice(first, last)
        if one_C[first]:
            yield chosen, base_WK
        else:
            apart = own_CW[chosen, :, None] != around_CK[chosen, None, :]
            yield chosen, base_WK.masked_fill(apart, float("-inf"))[:, None]
        first = last


def _with_ends(x_HTd: Tensor, base_WK: Tensor) -> Tensor:
    """The row with an empty block before it and, where blocks look ahead, one behind it, (H, E, d)."""
    W, K = base_WK.shape
    return F.pad(x_HTd, (0, 0, W, K - 2 * W)).contiguous()


def _own(x_HTd: Tensor, window: int, blocks: slice) -> Tensor:
    """A view of some blocks, (blocks, H, W, d)."""
    H, T, d = x_HTd.shape
    return x_HTd.view(H, T // window, window, d)[:, blocks].transpose(0, 1)


def _around(x_HEd: Tensor, base_WK: Tensor, blocks: slice) -> Tensor:
    """A view of the keys or values that some blocks see, (blocks, H, K, d)."""
    W, K = base_WK.shape
    H, E, d = x_HEd.shape
    return x_HEd.as_strided((blocks.stop - blocks.start, H, K, d), (W * d, E * d, d, 1), blocks.start * W * d)
