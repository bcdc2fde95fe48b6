"""N-gram models of token ids, as reference lines beside a neural model.

Interpolated Kneser-Ney after R. Kneser and H. Ney, "Improved backing-off for m-gram language modeling" (ICASSP 1995),
in the interpolated form of S. F. Chen and J. Goodman, "An empirical study of smoothing techniques for language
modeling" (1998), with one discount D = n1 / (n1 + 2 n2) an order, n1 and n2 being how many n-grams were seen once and
twice. The lowest order is interpolated with the uniform distribution, so every token has a probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FALLBACK_DISCOUNT = 0.75
"""Used where no n-gram was seen exactly once, or none exactly twice."""

_MERGE_AT = 1 << 24


class PairCounts:
    """How often each token followed each other one, in memory proportional to the distinct pairs.

    Args:
        vocabulary_size: ids are below it.
    """

    def __init__(self, vocabulary_size: int) -> None:
        self.vocabulary_size = vocabulary_size
        self._keys = np.empty(0, dtype=np.int64)
        self._counts = np.empty(0, dtype=np.int64)
        self._new: list[NDArray[np.int64]] = []
        self._waiting = 0

    def add(self, contexts: ArrayLike, targets: ArrayLike) -> None:
        """Count pairs: `targets[i]` followed `contexts[i]`. Negative targets are skipped (-100 stands for none).

        Raises:
            ValueError: an id is not below the vocabulary size, or the two differ in size.
        """
        before = np.asarray(contexts, dtype=np.int64).ravel()
        after = np.asarray(targets, dtype=np.int64).ravel()
        wanted = after >= 0
        before, after = before[wanted], after[wanted]
        if not len(after):
            return
        if before.min() < 0 or max(before.max(), after.max()) >= self.vocabulary_size:
            raise ValueError("token id outside the vocabulary")
        self._new.append(before * self.vocabulary_size + after)
        self._waiting += len(after)
        if self._waiting >= _MERGE_AT:
            self._merge()

    def totals(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Distinct pairs as context * V + target, ascending, and how often each was seen."""
        self._merge()
        return self._keys, self._counts

    def _merge(self) -> None:
        if self._new:
            fresh, times = np.unique(np.concatenate(self._new), return_counts=True)
            keys, inverse = np.unique(np.concatenate([self._keys, fresh]), return_inverse=True)
            both = np.concatenate([self._counts, times])
            # Sums of integers below 2^53 are exact in the floats of bincount.
            self._counts = np.bincount(inverse, weights=both, minlength=len(keys)).astype(np.int64)
            self._keys = keys
            self._new, self._waiting = [], 0


def discount(counts: NDArray[np.int64]) -> float:
    """The absolute discount that a table of positive counts suggests."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else FALLBACK_DISCOUNT


def discounted_distribution(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(V,) probabilities from (V,) counts: absolute discounting, interpolated with the uniform distribution."""
    total = counts.sum()
    if total == 0:
        return np.full(len(counts), 1.0 / len(counts))
    less = discount(counts[counts > 0])
    freed = less * np.count_nonzero(counts) / total
    probabilities: NDArray[np.float64] = np.maximum(counts - less, 0.0) / total + freed / len(counts)
    return probabilities


class Unigram:
    """How often each token is, whatever comes before.

    Args:
        pairs: what to learn from; each pair is one occurrence of its second token.
    """

    def __init__(self, pairs: PairCounts) -> None:
        keys, counts = pairs.totals()
        size = pairs.vocabulary_size
        occurrences = np.bincount(keys % size, weights=counts, minlength=size).astype(np.int64)
        self.distribution = discounted_distribution(occurrences)

    def probabilities(self, contexts: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
        """P(target), for arrays of one shape; the contexts are not looked at."""
        return np.take(self.distribution, np.asarray(targets, dtype=np.int64))


class KneserNeyBigram:
    """P(target | the token before it), interpolated Kneser-Ney.

    Args:
        pairs: what to learn from.
    """

    def __init__(self, pairs: PairCounts) -> None:
        self._keys, self._counts = pairs.totals()
        self._size = size = pairs.vocabulary_size
        self.discount = discount(self._counts)
        contexts, targets = np.divmod(self._keys, size)
        # The lower order asks after how many different tokens a token came, not how often.
        self.continuation = discounted_distribution(np.bincount(targets, minlength=size))
        self._context_totals = np.bincount(contexts, weights=self._counts, minlength=size)
        self._context_kinds = np.bincount(contexts, minlength=size)

    def probabilities(self, contexts: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
        """P(target | context), for arrays of one shape."""
        before, after = np.asarray(contexts, dtype=np.int64), np.asarray(targets, dtype=np.int64)
        lower = self.continuation[after]
        totals = self._context_totals[before]
        seen = np.maximum(totals, 1.0)
        kept = np.maximum(self._count_of(before * self._size + after) - self.discount, 0.0) / seen
        freed = self.discount * self._context_kinds[before] / seen
        return np.where(totals > 0, kept + freed * lower, lower)

    def _count_of(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        if not len(self._keys):
            return np.zeros(keys.shape)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self._counts[place], 0).astype(np.float64)
