"""Filling packs of a fixed length with documents.

Each document of n tokens gives n − 1 inputs (all but the last token) and n − 1 targets (all but the first). The inputs
of an epoch, document after document in the epoch's order, are one stream, and pack k is its k-th piece of
`pack_tokens`: so nothing is dropped, every token after [CLS] is predicted exactly once, and where a pack begins follows
from lengths alone. A document cut by a pack's end goes on in the next pack as a new segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from korformer.data.order import Order
from korformer.data.token_store import TokenStore
from korformer.errors import InputError, ModelDirectoryError

NO_TARGET = -100
_CHUNK_DOCUMENTS = 1024


@dataclass(frozen=True, kw_only=True)
class Packs:
    """A batch of B packs of L tokens.

    Attributes:
        tokens: (B, L) int64, [PAD] = 0 where empty.
        targets: (B, L) int64, the next token of the same document, -100 where there is none.
        documents: (B, L) int32, 0, 1, 2, … within a pack; -1 on padding.
        positions: (B, L) int32, position in its segment, from 0; 0 on padding.
    """

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    documents: NDArray[np.int32]
    positions: NDArray[np.int32]

    @classmethod
    def empty(cls, batch: int, pack_tokens: int) -> Packs:
        """Packs of nothing but padding."""
        shape = (batch, pack_tokens)
        return cls(
            tokens=np.zeros(shape, np.int64),
            targets=np.full(shape, NO_TARGET, np.int64),
            documents=np.full(shape, -1, np.int32),
            positions=np.zeros(shape, np.int32),
        )

    @property
    def real_tokens(self) -> int:
        """Tokens that are not padding."""
        return int((self.documents >= 0).sum())


Rewriting = Callable[[Packs, NDArray[np.int64]], None]
"""Changes packs in place, given the number (B,) that each has among all packs of the run."""


class _Place(TypedDict):
    pack_tokens: int
    seed: int


class Reading(_Place, total=False):
    """How a sampler reads a token store; see `PackSampler`."""

    shuffle: bool
    rank: int
    world_size: int


class PackSampler:
    """Packs without end, epoch after epoch, each epoch in another order.

    The sequence of packs is the same for any number of processes and any size of batch: process `rank` of `world_size`
    gives number rank, rank + world_size, … of it, and only lengths are read of the others. The place is one of the
    whole sequence: after equally many calls all processes have the same `state()`, and any number of them may go on
    from it.

    Args:
        store: the documents.
        pack_tokens: L. The attribute may be changed between two calls: the place in the text is kept.
        seed: of the order of documents.
        shuffle: False takes them as stored.
        rank, world_size: which process this is, of how many.
        predict_next: False for those who do not predict the next token: then the last token of a document is an input
            too, and nothing has a target.
        rewrite: what to do with packs once they are filled, such as `korformer.data.infilling.Infilling`.

    Raises:
        InputError: the store has nothing to predict.
    """

    def __init__(
        self,
        store: TokenStore,
        *,
        pack_tokens: int,
        seed: int,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        predict_next: bool = True,
        rewrite: Rewriting | None = None,
    ) -> None:
        if pack_tokens < 1 or not 0 <= rank < world_size:
            raise ValueError(f"pack_tokens={pack_tokens}, rank={rank}, world_size={world_size}")
        if store.tokens <= store.documents:
            raise InputError("the token store has nothing to predict")
        self.pack_tokens = pack_tokens
        self._store = store
        self._seed = seed
        self._shuffle = shuffle
        self._rank = rank
        self._world_size = world_size
        self._predict_next = predict_next
        self._rewrite = rewrite
        self._packs = 0
        self._stream = self._stream_of(epoch=0)

    @property
    def epoch(self) -> int:
        """The epoch that the next pack belongs to, from 0."""
        return self._stream.epoch

    def next_packs(self, batch: int) -> Packs:
        """The next `batch` packs of this process; every process moves on by world_size × batch packs."""
        packs = Packs.empty(batch, self.pack_tokens)
        wanted = batch * self._world_size
        given = 0
        while given < wanted:
            segments = self._stream.take((wanted - given) * self.pack_tokens).cut(self.pack_tokens)
            first_row = (given - self._rank + self._world_size - 1) // self._world_size
            mine = segments.of_rank((self._rank - given) % self._world_size, self._world_size)
            _fill(packs, first_row, mine, self._store, predict_next=self._predict_next)
            given += segments.packs
            if self._stream.finished:
                self._stream = self._stream_of(epoch=self.epoch + 1)
        if self._rewrite is not None:
            self._rewrite(packs, self._packs + self._rank + self._world_size * np.arange(batch, dtype=np.int64))
        self._packs += wanted
        return packs

    def skip(self, packs: int) -> None:
        """Move on by so many packs of all processes; only lengths are read."""
        given = 0
        while given < packs:
            inputs = int(self._stream.take((packs - given) * self.pack_tokens).length.sum())
            given += -(-inputs // self.pack_tokens)
            if self._stream.finished:
                self._stream = self._stream_of(epoch=self.epoch + 1)
        self._packs += packs

    def state(self) -> dict[str, int]:
        """Where the sequence stands.

        `epoch`, `position` in its order, `offset` (inputs already taken from the document there), and `packs` given by
        all processes together.
        """
        stream = self._stream
        return {"epoch": stream.epoch, "position": stream.position, "offset": stream.offset, "packs": self._packs}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on from a `state()`: exactly the packs follow that followed then.

        Raises:
            ModelDirectoryError: it is not a state of a sampler over this store.
        """
        keys = ("epoch", "position", "offset", "packs")
        values = [state.get(key) for key in keys]
        if not all(type(value) is int and value >= 0 for value in values):
            raise ModelDirectoryError(f"the saved place in the data lacks one of {', '.join(keys)}")
        epoch, position, offset, packs = (int(value or 0) for value in values)
        stream = self._stream_of(epoch=epoch)
        if not stream.seek(position, offset):
            raise ModelDirectoryError("the saved place in the data lies outside the token store")
        self._stream, self._packs = stream, packs

    def _stream_of(self, *, epoch: int) -> _Stream:
        order = Order(self._store.documents, seed=self._seed, epoch=epoch, shuffle=self._shuffle)
        return _Stream(self._store, order, epoch, left_out=int(self._predict_next))


def epoch_packs(store: TokenStore, *, pack_tokens: int, batch: int) -> Iterator[Packs]:
    """One pass over a store in its own order, `batch` packs at a time; the last ones may be fewer."""
    stream = _Stream(store, Order(store.documents, seed=0, epoch=0, shuffle=False), 0)
    while not stream.finished:
        segments = stream.take(batch * pack_tokens).cut(pack_tokens)
        packs = Packs.empty(segments.packs, pack_tokens)
        _fill(packs, 0, segments, store)
        yield packs


@dataclass(frozen=True)
class _Segments:
    """Runs of inputs that lie in one pack and one document; numpy arrays of equal length.

    Attributes:
        pack: (n,) which pack, from 0.
        start: (n,) the first input's place in the store.
        length: (n,) inputs; the last one's target lies one place behind them.
        packs: how many packs there are, the last of them perhaps partial.
    """

    pack: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    packs: int

    def cut(self, pack_tokens: int) -> _Segments:
        """Cut at the ends of packs what is one run of pieces so far."""
        ends = np.cumsum(self.length)
        begins = ends - self.length
        total = int(ends[-1])
        bounds = np.union1d(ends, np.arange(pack_tokens, total, pack_tokens, dtype=np.int64))
        length = np.diff(bounds, prepend=0)
        first = bounds - length
        piece = np.searchsorted(ends, first, side="right")
        return _Segments(
            pack=first // pack_tokens,
            start=self.start[piece] + first - begins[piece],
            length=length,
            packs=-(-total // pack_tokens),
        )

    def of_rank(self, rank: int, world_size: int) -> _Segments:
        """Every `world_size`-th pack from number `rank` on, numbered anew."""
        if world_size == 1:
            return self
        mine = self.pack % world_size == rank
        packs = max(0, -(-(self.packs - rank) // world_size))
        return _Segments(self.pack[mine] // world_size, self.start[mine], self.length[mine], packs)


class _Stream:
    """The inputs of one epoch, walked from any place; only lengths are read here."""

    def __init__(self, store: TokenStore, order: Order, epoch: int, left_out: int = 1) -> None:
        self.epoch = epoch
        self._left_out = left_out
        self.position = 0
        self.offset = 0
        self._store = store
        self._order = order
        self._chunk = -1
        self._start = np.empty(0, np.int64)
        self._length = np.empty(0, np.int64)

    @property
    def finished(self) -> bool:
        return self.position >= self._store.documents

    def seek(self, position: int, offset: int) -> bool:
        """Go to an input of the document at `position`; False where there is none."""
        if position >= self._store.documents or offset >= self._store.tokens:
            return False
        self.position, self.offset = position, offset
        return bool(self._ahead()[1][0] > 0)

    def take(self, count: int) -> _Segments:
        """The next `count` inputs, or as many as are left, as pieces of documents."""
        starts, lengths = [], []
        while count and not self.finished:
            start, length = self._ahead()
            ends = np.cumsum(length)
            whole = int(np.searchsorted(ends, count, side="right"))  # documents that end within the count
            count -= int(ends[whole - 1]) if whole else 0
            self.position += whole
            self.offset = 0 if whole else self.offset
            last = whole
            if count and whole < len(length):
                length[whole] = count
                self.offset += count
                count, last = 0, whole + 1
            starts.append(start[:last])
            lengths.append(length[:last])
        start, length = np.concatenate(starts), np.concatenate(lengths)
        return _Segments(np.zeros_like(start), start, length, 1)

    def _ahead(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Place and number of the inputs still to take of the documents from here to the end of the chunk; copies."""
        chunk, inside = divmod(self.position, _CHUNK_DOCUMENTS)
        if chunk != self._chunk:
            first = chunk * _CHUNK_DOCUMENTS
            stop = min(first + _CHUNK_DOCUMENTS, self._store.documents)
            spans = self._store.spans(self._order(np.arange(first, stop, dtype=np.int64)))
            self._start, self._length = spans[:, 0], spans[:, 1] - spans[:, 0] - self._left_out
            self._chunk = chunk
        start, length = self._start[inside:].copy(), self._length[inside:].copy()
        start[0] += self.offset
        length[0] -= self.offset
        return start, length


def _fill(packs: Packs, first_row: int, segments: _Segments, store: TokenStore, *, predict_next: bool = True) -> None:
    """Put segments, whose packs are full but perhaps the last, into rows from `first_row` on."""
    if not len(segments.length):
        return
    length = segments.length
    count = int(length.sum())
    place = slice(first_row * packs.tokens.shape[1], first_row * packs.tokens.shape[1] + count)
    tokens = store.read(segments.start, segments.start + length + int(predict_next))
    if predict_next:
        is_input = np.ones(len(tokens), np.bool_)
        is_target = is_input.copy()
        ends = np.cumsum(length + 1)
        is_input[ends - 1] = False
        is_target[ends - length - 1] = False
        packs.tokens.reshape(-1)[place] = tokens[is_input]
        packs.targets.reshape(-1)[place] = tokens[is_target]
    else:
        packs.tokens.reshape(-1)[place] = tokens
    number = np.arange(len(length)) - np.searchsorted(segments.pack, segments.pack)
    packs.documents.reshape(-1)[place] = np.repeat(number, length)
    packs.positions.reshape(-1)[place] = np.arange(count) - np.repeat(np.cumsum(length) - length, length)
