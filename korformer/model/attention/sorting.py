"""Sorting tokens by document, bucket and time, which both kinds of hashed attention begin with.

Legend: B samples, H heads, R rounds, T tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def sort_groups(buckets_BHRT: Tensor, documents_BT: Tensor, n_buckets: int) -> tuple[Tensor, Tensor]:
    """Stable order by (document, bucket); inside a group that is the order of time.

    Args:
        buckets_BHRT: integer bucket of each token in each round.
        documents_BT: integer document of each token, the same along a stretch of the row.
        n_buckets: buckets are in [0, n_buckets).

    Returns:
        order (B, H, R, T) int32, the token at each rank, and the number of its group (B, H, R, T), an integer as small
        as holds them all.
    """
    changes_BT = torch.zeros_like(documents_BT, dtype=torch.int64)
    changes_BT[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    number_BT = changes_BT.cumsum(dim=-1)
    groups = (int(number_BT[:, -1].max()) + 1) * n_buckets
    small = torch.int16 if groups < 2**15 else torch.int32 if groups < 2**31 else torch.int64
    group = (number_BT[:, None, None, :] * n_buckets + buckets_BHRT).to(small)
    if group.device.type == "cpu" and small == torch.int16:  # numpy sorts 16 bits by radix
        order = torch.from_numpy(np.argsort(group.numpy(), axis=-1, kind="stable"))
        return order.int(), group.gather(-1, order)
    group, order = torch.sort(group, dim=-1, stable=True)
    return order.int(), group
