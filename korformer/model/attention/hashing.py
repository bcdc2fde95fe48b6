"""Angular locality-sensitive hashing (Andoni et al. 2015, as in the Reformer paper) with keyed rotations.

Legend: B samples, H heads, R rounds, T tokens, d head width, K buckets.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from korformer.randomness import normal


@lru_cache(maxsize=4096)
def _stored_round(hash_seed: int, layer: int, hash_round: int, d: int, half: int) -> Tensor:
    return torch.from_numpy(normal("rotation", hash_seed, layer, hash_round, shape=(d, half)))


def stored_rotations(hash_seed: int, layer: int, rounds: int, d: int, buckets: int) -> Tensor:
    """Rotations of evaluation and generation, (1, R, d, K/2) float32; R rounds are the first R of any more."""
    return torch.stack([_stored_round(hash_seed, layer, r, d, buckets // 2) for r in range(rounds)])[None]


def drawn_rotations(seed: int, step: int, samples: range, layer: int, rounds: int, d: int, buckets: int) -> Tensor:
    """Rotations of training, (B, R, d, K/2) float32: a function of (seed, step, sample, layer, round) only."""
    drawn = [
        torch.from_numpy(normal("rotation", seed, step, sample, layer, r, shape=(d, buckets // 2)))
        for sample in samples
        for r in range(rounds)
    ]
    return torch.stack(drawn).view(len(samples), rounds, d, buckets // 2)


def hash_buckets(qk_BHTd: Tensor, rotations_BRdk: Tensor) -> Tensor:
    """Bucket of every vector in every round, (B, H, R, T) int32: argmax of [xR, -xR], the first of equals.

    Only the direction of a vector counts.
    """
    half = rotations_BRdk.shape[-1]
    rotated = torch.einsum("bhtd,brdk->bhrtk", qk_BHTd.detach(), rotations_BRdk.to(qk_BHTd))
    highest, highest_at = rotated.max(dim=-1)
    lowest, lowest_at = rotated.min(dim=-1)
    return torch.where(highest >= -lowest, highest_at, lowest_at + half).int()
