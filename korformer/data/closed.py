"""Packs in which every piece of a document is closed: [CLS] before it and [SEP] after it, as an encoder reads text.

A pack's first piece may go on with a document of the pack before, and its last piece may be cut; no other can. So the
packs are filled two tokens short, and those two are what may be missing at the ends.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from korformer.data.packing import Packs, PackSampler
from korformer.errors import UsageError
from korformer.text.special import CLS_ID, SEP_ID

SHORTEST = 8
"""Fewest tokens of a pack."""


class ClosedPacks:
    """Closed packs without end.

    Args:
        inner: what fills them; its packs have every token of a document and no targets (`predict_next=False`).
    """

    def __init__(self, inner: PackSampler) -> None:
        self._inner = inner
        self.pack_tokens = inner.pack_tokens

    @property
    def pack_tokens(self) -> int:
        """Tokens of a pack; may be changed between two calls.

        Raises:
            UsageError: it is set to fewer than are any use.
        """
        return self._inner.pack_tokens + 2

    @pack_tokens.setter
    def pack_tokens(self, tokens: int) -> None:
        if tokens < SHORTEST:
            raise UsageError(f"{tokens} is too short for [CLS] text [SEP]; at least {SHORTEST}", where="pack_tokens")
        self._inner.pack_tokens = tokens - 2

    @property
    def epoch(self) -> int:
        """The epoch that the next pack belongs to, from 0."""
        return self._inner.epoch

    def next_packs(self, batch: int) -> Packs:
        """The next `batch` packs of this process."""
        return close_packs(self._inner.next_packs(batch))

    def skip(self, packs: int) -> None:
        """Move on by so many packs of all processes."""
        self._inner.skip(packs)

    def state(self) -> dict[str, int]:
        """Where the sequence stands."""
        return self._inner.state()

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on from a `state()`."""
        self._inner.restore(state)


def close_packs(packs: Packs) -> Packs:
    """The packs, two tokens longer, with [CLS] and [SEP] where they lack; nothing has a target."""
    batch, width = packs.tokens.shape
    closed = Packs.empty(batch, width + 2)
    for row in range(batch):
        count = int((packs.documents[row] >= 0).sum())
        if not count:
            continue
        tokens, documents = packs.tokens[row, :count].tolist(), packs.documents[row, :count].tolist()
        if tokens[0] != CLS_ID:
            tokens.insert(0, CLS_ID)
            documents.insert(0, documents[0])
        if tokens[-1] != SEP_ID:
            tokens.append(SEP_ID)
            documents.append(documents[-1])
        closed.tokens[row, : len(tokens)] = tokens
        closed.documents[row, : len(tokens)] = documents
        places = np.arange(len(tokens))
        begins = np.flatnonzero(np.diff(closed.documents[row, : len(tokens)], prepend=-1))
        closed.positions[row, : len(tokens)] = places - np.repeat(begins, np.diff(begins, append=len(tokens)))
    return closed
