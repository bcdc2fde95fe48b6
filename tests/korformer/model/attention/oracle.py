"""Attention by its definition: slow, plain, and differentiable."""

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_lsh(
    q_Td: Tensor, k_Td: Tensor, v_Td: Tensor, buckets_RT: Tensor, documents_T: Tensor, window: int
) -> Tensor:
    """One head: the last `window` earlier tokens of the same bucket and document, of all rounds, under one softmax."""
    rows = []
    for t in range(len(q_Td)):
        seen: list[int] = []
        for buckets_T in buckets_RT.tolist():
            same = [s for s in range(t) if buckets_T[s] == buckets_T[t] and documents_T[s] == documents_T[t]]
            seen += same[-window:]
        rows.append(attend(q_Td[t], k_Td[seen], v_Td[seen]) if seen else v_Td[t])
    return torch.stack(rows)


def attend(q_d: Tensor, k_Sd: Tensor, v_Sd: Tensor) -> Tensor:
    return F.softmax(k_Sd @ q_d * q_d.shape[-1] ** -0.5, dim=0) @ v_Sd
