"""A shuffled order that needs no memory: position → document, computed where it is asked for.

A Feistel network is a permutation of the numbers of an even count of bits, whatever its round function. Applied again
to what falls outside [0, count) ("cycle walking", Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA
2002), it is a permutation of [0, count). The domain is less than four times as large, so a few walks suffice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from korformer.randomness import seed_of

_ROUNDS = 8
_MULTIPLIER = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(29)


class Order:
    """A permutation of `count` numbers, drawn by seed and epoch.

    Args:
        count: how many there are, at least 1.
        seed, epoch: the key.
        shuffle: False gives the identity.
    """

    def __init__(self, count: int, *, seed: int, epoch: int, shuffle: bool = True) -> None:
        self._count = np.uint64(count)
        self._shuffle = shuffle
        half_bits = max(1, ((count - 1).bit_length() + 1) // 2)
        self._half_bits = np.uint64(half_bits)
        self._mask = np.uint64((1 << half_bits) - 1)
        self._keys = [np.uint64(seed_of("order", seed, epoch, number)) for number in range(_ROUNDS)]

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers at `positions` of the order: (n,) int64 in [0, count) -> (n,) int64."""
        if not self._shuffle:
            return positions
        values = self._permute(positions.astype(np.uint64))
        while (outside := np.flatnonzero(values >= self._count)).size:
            values[outside] = self._permute(values[outside])
        return values.astype(np.int64)

    def _permute(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = values >> self._half_bits, values & self._mask
        for key in self._keys:
            mixed = (right ^ key) * _MULTIPLIER  # wraps at 64 bits
            mixed = (mixed ^ (mixed >> _SHIFT)) * _MULTIPLIER
            left, right = right, left ^ ((mixed >> _SHIFT) & self._mask)
        return (left << self._half_bits) | right
