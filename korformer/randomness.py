"""Randomness by key: every draw is a pure function of what it is for, never of what was drawn before.

A key is a sequence of integers and strings such as ("rotation", seed, layer, round). Two processes, another
micro-batch or a resumed run that ask for the same key get the same numbers. The bits come from Philox4x64-10
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11) through numpy's raw output, whose stream is
fixed by the algorithm and does not change between numpy or torch versions.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

Key = int | str


def _bits(key: tuple[Key, ...], count: int) -> NDArray[np.uint64]:
    """`count` uniformly distributed 64-bit words for `key`, (count,) uint64."""
    digest = hashlib.blake2b(repr(key).encode("utf-8"), digest_size=16).digest()
    raw: NDArray[np.uint64] = np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(count)
    return raw


def seed_of(*key: Key) -> int:
    """A 63-bit seed for `key`, for generators of other libraries."""
    digest = hashlib.blake2b(repr(key).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def uniform(*key: Key, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) for `key`, float64 of `shape`."""
    bits = _bits(key, math.prod(shape))
    return ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def normal(*key: Key, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normal numbers for `key` (Box–Muller in float64), float32 of `shape`."""
    count = math.prod(shape)
    half = (count + 1) // 2
    bits = _bits(key, 2 * half)
    unit = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(unit[:half]))
    angle = 2.0 * math.pi * unit[half:]
    pair = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    return pair[:count].astype(np.float32).reshape(shape)
