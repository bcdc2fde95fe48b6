"""Pairs of segments for what a model is asked beside hidden words: [CLS] A [SEP] B [SEP], several to a pack.

A document is read piece by piece. A piece is parted where a sentence or line ends (`korformer.data.edges`; where none
does, between two words), and the parts are A and B.

    nsp   as in BERT: half of the pairs have for B what begins at a sentence of another document; what followed A is
          then read again as the beginning of the next piece
    sop   as in ALBERT: half of the pairs have A and B in the wrong order

A piece is as long as there is room, but one in ten is shorter, by a length drawn at random. Room that a document's end
leaves is filled with the next pair, which is another document to attention. Where a pair begins hangs on where
sentences end, so every process reads the tokens of all of them; building them is small work beside a training step.

Legend: B packs, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from korformer.data.edges import TokenEdges
from korformer.data.order import Order
from korformer.data.packing import NO_TARGET, Packs
from korformer.data.token_store import TokenStore
from korformer.errors import InputError, ModelDirectoryError, UsageError
from korformer.randomness import uniform
from korformer.text.special import CLS_ID, SEP_ID

PairKind = Literal["nsp", "sop"]

SHORTEST = 16
"""Fewest tokens of a pack, and of the room that is still filled with a pair."""

_SPECIAL = 3
"""[CLS], [SEP] and [SEP]."""
_PEEK = 256
"""Tokens of another document in which a sentence's beginning is looked for."""

Ids = NDArray[np.integer]


@dataclass(frozen=True, kw_only=True)
class PairPacks(Packs):
    """Packs whose documents are pairs.

    Attributes:
        segments: (B, L) int64, 0 for [CLS] A [SEP] and for padding, 1 for B [SEP].
        labels: (B, L) int64, at a pair's [CLS] 0 where B belongs behind A and 1 where not; -100 elsewhere.
    """

    segments: NDArray[np.int64]
    labels: NDArray[np.int64]

    @classmethod
    def empty(cls, batch: int, pack_tokens: int) -> PairPacks:
        """Packs of nothing but padding."""
        plain = Packs.empty(batch, pack_tokens)
        return cls(
            tokens=plain.tokens,
            targets=plain.targets,
            documents=plain.documents,
            positions=plain.positions,
            segments=np.zeros((batch, pack_tokens), np.int64),
            labels=np.full((batch, pack_tokens), NO_TARGET, np.int64),
        )

    @property
    def pairs(self) -> int:
        """How many there are."""
        return int((self.labels != NO_TARGET).sum())


@dataclass(frozen=True)
class _Pair:
    first: Ids
    second: Ids
    label: int

    @property
    def tokens(self) -> int:
        return len(self.first) + len(self.second) + _SPECIAL


class PairSampler:
    """Packs of pairs without end, epoch after epoch.

    The sequence of packs is the same for any number of processes and any size of batch, as with `PackSampler`.

    Args:
        store: the documents.
        edges: finds the ends of sentences in its tokens.
        kind: what may be wrong with a pair.
        pack_tokens: L; may be changed between two calls.
        seed: of the order of documents and of all that is drawn for a pair.
        shuffle: False takes documents as stored.
        rank, world_size: which process this is, of how many.
        short_share: share of pairs shorter than there is room.

    Raises:
        InputError: the store has too little text for pairs.
        UsageError: `pack_tokens` is too small for one.
    """

    def __init__(
        self,
        store: TokenStore,
        edges: TokenEdges,
        *,
        kind: PairKind,
        pack_tokens: int,
        seed: int,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        short_share: float = 0.1,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank}, world_size={world_size}")
        if pack_tokens < SHORTEST:
            raise UsageError(
                f"{pack_tokens} is too short for a pair of segments; at least {SHORTEST}", where="data.pack_tokens"
            )
        if store.documents < (2 if kind == "nsp" else 1) or store.tokens < 2 * store.documents + 2:
            raise InputError("too few texts for pairs of segments", hint="Give more text, or sentence_pair = none.")
        self.pack_tokens = pack_tokens
        self._store = store
        self._edges = edges
        self._kind = kind
        self._seed = seed
        self._shuffle = shuffle
        self._rank = rank
        self._world_size = world_size
        self._short_share = short_share
        self._packs = 0
        self._go_to(0, 0, 0)

    @property
    def epoch(self) -> int:
        """The epoch that the next pair belongs to, from 0."""
        return self._epoch

    def next_packs(self, batch: int) -> PairPacks:
        """The next `batch` packs of this process; every process moves on by world_size × batch packs."""
        packs = PairPacks.empty(batch, self.pack_tokens)
        for number in range(batch * self._world_size):
            pairs = self._next_pairs()
            row, rank = divmod(number, self._world_size)
            if rank == self._rank:
                _fill(packs, row, pairs)
            self._packs += 1
        return packs

    def state(self) -> dict[str, int]:
        """Where the sequence stands: `epoch`, `position` in its order, `offset` in the document, `packs` given."""
        return {"epoch": self._epoch, "position": self._position, "offset": self._offset, "packs": self._packs}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on from a `state()`: exactly the packs follow that followed then.

        Raises:
            ModelDirectoryError: it is not a state of a sampler over this store.
        """
        values = [state.get(key) for key in ("epoch", "position", "offset", "packs")]
        if not all(type(value) is int and value >= 0 for value in values):
            raise ModelDirectoryError("the saved place in the data lacks one of epoch, position, offset, packs")
        epoch, position, offset, packs = (int(value or 0) for value in values)
        if position >= self._store.documents or offset > self._store.tokens:
            raise ModelDirectoryError("the saved place in the data lies outside the token store")
        self._go_to(epoch, position, offset)
        self._packs = packs

    def _next_pairs(self) -> list[_Pair]:
        """The pairs of one pack.

        Raises:
            InputError: no document is long enough for one.
        """
        pairs: list[_Pair] = []
        room, failures = self.pack_tokens, 0
        while room >= SHORTEST:
            pair = self._next_pair(room - _SPECIAL, len(pairs))
            if pair is not None:
                pairs.append(pair)
                room -= pair.tokens
            failures = failures + 1 if pair is None else 0
            if failures > self._store.documents:
                raise InputError("no text is long enough for two segments", hint="Set sentence_pair = none.")
        return pairs

    def _next_pair(self, room: int, number: int) -> _Pair | None:
        """A pair of at most `room` tokens, from where the text stands; None where that is too short for one."""
        draws = uniform("pair", self._seed, self._packs, number, self._offset, shape=(6,))
        is_short, length, wrong, cut, other, begin = draws.tolist()
        wanted = room if is_short >= self._short_share else 2 + int(length * (room - 1))
        piece = self._read(*self._span, self._offset, wanted)
        cuts = self._cuts(piece)
        if self._kind == "nsp" and len(piece) and (not len(cuts) or wrong < 0.5):
            first = piece[: cuts[int(cut * len(cuts))]] if len(cuts) else piece[: wanted - 1]
            second = self._elsewhere(wanted - len(first), other, begin)
            self._move(len(first))
            return _Pair(first, second, 1)
        self._move(len(piece))
        if not len(cuts):
            return None
        place = cuts[int(cut * len(cuts))]
        one, two = piece[:place], piece[place:]
        return _Pair(two, one, 1) if self._kind == "sop" and wrong < 0.5 else _Pair(one, two, 0)

    def _cuts(self, piece: Ids) -> NDArray[np.int64]:
        """Where the piece may be parted: before sentences, else before words."""
        if len(piece) < 2:
            return np.empty(0, np.int64)
        sentences = self._edges.sentence_begins(piece)
        return sentences if len(sentences) else np.flatnonzero(self._edges.word_begins(piece)[1:]) + 1

    def _elsewhere(self, wanted: int, other: float, begin: float) -> Ids:
        """At least one and at most `wanted` tokens of another document than the one at hand.

        They begin with the last sentence before a place drawn at random, or with a word where none is near.
        """
        distance = int(other * (self._store.documents - 1))
        for step in range(self._store.documents - 1):
            place = (self._position + 1 + (distance + step) % (self._store.documents - 1)) % self._store.documents
            span = self._span_at(place)
            if span[0] == span[1]:
                continue
            start = int(begin * max(1, span[1] - span[0] - wanted + 1))
            near = max(0, start - _PEEK)
            text = self._read(*span, near, start - near + wanted)
            before = text[: start - near + 1]
            begins = self._edges.sentence_begins(before)
            if not len(begins):
                begins = np.flatnonzero(self._edges.word_begins(before))[int(near > 0) :]
            first = int(begins[-1]) if len(begins) else start - near
            return text[first : first + wanted]
        raise InputError("only one text has more than nothing in it; pairs of kind nsp need two")

    def _move(self, tokens: int) -> None:
        """Go on in the text; after the document the next one, after the last a new epoch."""
        begin, end = self._span
        if self._offset + tokens < end - begin:
            self._offset += tokens
        elif self._position + 1 < self._store.documents:
            self._go_to(self._epoch, self._position + 1, 0)
        else:
            self._go_to(self._epoch + 1, 0, 0)

    def _go_to(self, epoch: int, position: int, offset: int) -> None:
        self._epoch, self._position, self._offset = epoch, position, offset
        self._order = Order(self._store.documents, seed=self._seed, epoch=epoch, shuffle=self._shuffle)
        self._span = self._span_at(position)

    def _span_at(self, position: int) -> tuple[int, int]:
        """Where the text of the document at a position of the order lies, without [CLS] and [SEP]."""
        begin, end = self._store.spans(self._order(np.array([position], np.int64)))[0].tolist()
        return begin + 1, max(begin + 1, end - 1)

    def _read(self, begin: int, end: int, offset: int, count: int) -> Ids:
        """At most `count` tokens of a text from `offset` on."""
        first = begin + offset
        return self._store.read(np.array([first]), np.array([max(first, min(end, first + count))]))


def _fill(packs: PairPacks, row: int, pairs: list[_Pair]) -> None:
    """Write pairs into a row, one after another."""
    place = 0
    for number, pair in enumerate(pairs):
        end = place + pair.tokens
        second = end - len(pair.second) - 1
        packs.tokens[row, place:end] = np.concatenate([[CLS_ID], pair.first, [SEP_ID], pair.second, [SEP_ID]])
        packs.documents[row, place:end] = number
        packs.positions[row, place:end] = np.arange(pair.tokens)
        packs.segments[row, second:end] = 1
        packs.labels[row, place] = pair.label
        place = end
