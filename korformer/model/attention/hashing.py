"""Angular locality-sensitive hashing (Andoni et al. 2015, as in the Reformer paper) with keyed rotations.

Legend: B samples, H heads, R rounds, T tokens, d head width, K buckets (with factorised hashing their factors' sum).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from korformer.model.draws import TrainingDraw
from korformer.randomness import normal

HASHED_AT_A_TIME = 2**23
"""Rotated numbers that exist at a time; 32 MB in fp32."""


@lru_cache(maxsize=4096)
def _stored_round(hash_seed: int, layer: int, head: int, hash_round: int, d: int, half: int) -> Tensor:
    key = (hash_seed, layer, hash_round, *((head,) if head else ()))
    return torch.from_numpy(normal("rotation", *key, shape=(d, half)))


def stored_rotations(hash_seed: int, layer: int, heads: int, rounds: int, d: int, buckets: int) -> Tensor:
    """Rotations of evaluation and generation, (1, H, R, d, K/2) float32; R rounds are the first R of any more.

    Args:
        hash_seed, layer: what they are a function of, with head and round.
        heads: heads with rotations of their own; 1 for rotations that all share.
        rounds: rounds of hashing.
        d: head width.
        buckets: number of buckets, or the sum of its factors.
    """
    each = [_stored_round(hash_seed, layer, h, r, d, buckets // 2) for h in range(heads) for r in range(rounds)]
    return torch.stack(each).view(1, heads, rounds, d, buckets // 2)


def drawn_rotations(draw: TrainingDraw, layer: int, heads: int, rounds: int, d: int, buckets: int) -> Tensor:
    """Rotations of training, (B, H, R, d, K/2) float32: functions of (seed, step, sample, layer, head, round) only."""
    each = [
        torch.from_numpy(
            normal("rotation", draw.seed, draw.step, sample, layer, r, *((h,) if h else ()), shape=(d, buckets // 2))
        )
        for sample in draw.samples
        for h in range(heads)
        for r in range(rounds)
    ]
    return torch.stack(each).view(len(draw.samples), heads, rounds, d, buckets // 2)


@torch.no_grad()
def hash_buckets(qk_BHTd: Tensor, rotations: Tensor, factors: tuple[int, ...]) -> Tensor:
    """Bucket of every vector in every round, (B, H, R, T) int16, or int32 where that is too small.

    With one factor K it is the argmax of [xR, -xR], the first of equals. With several, each factor has rotations of
    its own and the bucket is the tuple of their argmaxes, counted in mixed radix. Only the direction of a vector
    counts.

    Args:
        qk_BHTd: shared query-key vectors.
        rotations: (1 or B, 1 or H, R, d, sum(factors) / 2).
        factors: even numbers whose product is the number of buckets.
    """
    B, H, T, _ = qk_BHTd.shape
    R, half = rotations.shape[2], rotations.shape[4]
    small = torch.int16 if math.prod(factors) < 2**15 else torch.int32
    buckets_BHRT = torch.empty(B, H, R, T, dtype=small, device=qk_BHTd.device)
    rotations = rotations.to(qk_BHTd).expand(B, H, *rotations.shape[2:])
    tokens = max(1, HASHED_AT_A_TIME // (R * half * (1 if qk_BHTd.device.type == "cpu" else B * H)))
    if qk_BHTd.device.type != "cpu":
        for first in range(0, T, tokens):
            rotated = torch.einsum("bhtd,bhrdk->bhrtk", qk_BHTd[:, :, first : first + tokens], rotations)
            buckets_BHRT[..., first : first + tokens] = _argmax(rotated, factors)
        return buckets_BHRT
    for b in range(B):
        for h in range(H):
            together_dk = rotations[b, h].transpose(0, 1).reshape(-1, R * half)
            for first in range(0, T, tokens):
                rotated = (qk_BHTd[b, h, first : first + tokens] @ together_dk).view(-1, R, half)
                buckets_BHRT[b, h, :, first : first + tokens] = _argmax(rotated, factors).T
    return buckets_BHRT


def _argmax(rotated: Tensor, factors: tuple[int, ...]) -> Tensor:
    """Bucket by the last axis, which holds the rotations of every factor one after another."""
    bucket: Tensor | int = 0
    for part, factor in zip(rotated.split([factor // 2 for factor in factors], dim=-1), factors, strict=True):
        highest, highest_at = part.max(dim=-1)
        lowest, lowest_at = part.min(dim=-1)
        bucket = bucket * factor + torch.where(highest >= -lowest, highest_at, lowest_at + factor // 2)
    assert isinstance(bucket, Tensor)
    return bucket
