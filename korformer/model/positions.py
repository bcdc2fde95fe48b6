"""Positions: added to the embedding (axial, absolute, fixed), or as rotations of queries and keys (rotary).

Legend: B samples, T tokens, H heads, D model width, d head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from axial_positional_embedding import AxialPositionalEmbedding
from reformer_pytorch.reformer_pytorch import AbsolutePositionalEmbedding, FixedPositionalEmbedding
from torch import Tensor, nn


def position_table(module: nn.Module, length: int) -> Tensor | None:
    """What `module` (ReformerLM's `pos_emb` or `layer_pos_emb`) gives to positions 0 to `length` - 1, (length, D).

    None for a module that adds nothing.
    """
    if isinstance(module, AxialPositionalEmbedding):
        rows, columns = module.weights
        table: Tensor = (rows + columns).reshape(-1, module.dim)
        return table[:length]
    if isinstance(module, AbsolutePositionalEmbedding):
        weight: Tensor = module.emb.weight
        return weight[:length]
    if isinstance(module, FixedPositionalEmbedding):
        angles = torch.outer(torch.arange(length, device=module.inv_freq.device).float(), module.inv_freq)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)
    return None


def look_up(table_PD: Tensor, positions_BT: Tensor) -> Tensor:
    """Rows of the table, (B, T, D); the gradient is summed deterministically."""
    return F.embedding(positions_BT, table_PD)


def rotate(x_BHTd: Tensor, angles_BTd: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021) as reformer-pytorch applies them: neighbouring pairs of a head's width turn.

    Args:
        x_BHTd: queries or keys.
        angles_BTd: sines in the first half of the width, cosines in the second.
    """
    sin, cos = (half.repeat_interleave(2, dim=-1)[:, None].to(x_BHTd.dtype) for half in angles_BTd.chunk(2, dim=-1))
    even, odd = x_BHTd[..., ::2], x_BHTd[..., 1::2]
    turned = torch.stack((-odd, even), dim=-1).flatten(-2)
    return x_BHTd * cos + turned * sin
