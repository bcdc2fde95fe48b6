"""Attention by its definition: slow, plain, and differentiable."""

from collections.abc import Callable

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


def lsh(
    q_Td: Tensor, k_Td: Tensor, v_Td: Tensor, buckets_RT: Tensor, documents_T: Tensor, chunk: int, causal: bool
) -> Tensor:
    """One head of reformer-pytorch's chunks: own and previous chunk of the circle that all sorted rounds make."""
    T = len(q_Td)
    circle = [
        t
        for buckets_T in buckets_RT.tolist()
        for t in sorted(range(T), key=lambda t: (int(documents_T[t]), buckets_T[t], t))
    ]
    chunks = [circle[first : first + chunk] for first in range(0, len(circle), chunk)]
    keys: list[list[int]] = [[] for _ in range(T)]
    for number, own in enumerate(chunks):
        for t in own:
            keys[t] += [s for s in own + chunks[number - 1] if documents_T[s] == documents_T[t]]
    rows = []
    for t, seen in enumerate(keys):
        others = [s for s in seen if (s < t if causal else s != t)]
        rows.append(attend(q_Td[t], k_Td[others], v_Td[others]) if others else v_Td[t])
    return torch.stack(rows)


def near(q_Td: Tensor, k_Td: Tensor, v_Td: Tensor, sees: Callable[[int, int], bool], documents_T: Tensor) -> Tensor:
    """One head; a token sees the others of its document for which `sees(query, key)` holds."""
    rows = []
    for t in range(len(q_Td)):
        seen = [s for s in range(len(q_Td)) if s != t and documents_T[s] == documents_T[t] and sees(t, s)]
        rows.append(attend(q_Td[t], k_Td[seen], v_Td[seen]) if seen else v_Td[t])
    return torch.stack(rows)
