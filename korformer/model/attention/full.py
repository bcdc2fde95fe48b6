"""Exact attention over everything before, with shared queries and keys.

A token never attends to itself unless nothing else is there, so strict causal attention is ordinary causal attention
shifted by one: out[1:] = attention(q[1:], k[:-1], v[:-1]) and out[0] = v[0]. Any flash kernel serves, without a mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def full(q_BHTd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor, documents_BT: Tensor) -> Tensor:
    """Attention to all earlier tokens of the same document, (B, H, T, d). A document's tokens stand side by side."""
    rows = []
    for q_HTd, k_HTd, v_HTd, documents_T in zip(q_BHTd, k_BHTd, v_BHTd, documents_BT, strict=True):
        lengths = torch.unique_consecutive(documents_T, return_counts=True)[1].tolist()
        parts = zip(*(x.split(lengths, dim=1) for x in (q_HTd, k_HTd, v_HTd)), strict=True)
        rows.append(torch.cat([_one_document(*part) for part in parts], dim=1))
    return torch.stack(rows)


def _one_document(q_HTd: Tensor, k_HTd: Tensor, v_HTd: Tensor) -> Tensor:
    if q_HTd.shape[1] == 1:
        return v_HTd
    later = F.scaled_dot_product_attention(
        q_HTd[None, :, 1:], k_HTd[None, :, :-1], v_HTd[None, :, :-1], is_causal=True, scale=q_HTd.shape[-1] ** -0.5
    )
    return torch.cat([v_HTd[:, :1], later[0]], dim=1)
