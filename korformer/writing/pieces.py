"""A text as pieces of the sources that it came from, so that a change costs the same in a page and in a book.

A source is what was typed, pasted, opened or generated in one go; it only ever grows at its end. The text is a list of
ranges of sources. Inserting, deleting and putting back move ranges; no characters are copied.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from korformer.writing.records import Origin, TokenRecord

_BLOCK_PIECES = 256
"""Pieces of a block at most; finding a place looks at every block and at the pieces of one."""


@dataclass(kw_only=True, eq=False, slots=True)
class Generation:
    """How a generated source came to be.

    Attributes:
        settings: of the sampler when it began, as `SamplingSettings` dumps them.
        model: name of the checkpoint.
        vocabulary: fingerprint of the vocabulary that the token ids belong to.
        space_owed: the first token brought the space that stands before it.
        between: text followed when it began.
        seed: of the first draw, once it is known.
        reason: why it ended, once it has.
        tokens: in the order they came.
        ends: characters of the source up to the end of each token.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    vocabulary: str = ""
    space_owed: bool = False
    between: bool = False
    seed: int | None = None
    reason: str | None = None
    tokens: list[TokenRecord] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def first_from(self, offset: int) -> int:
        """Number of the first token that begins at `offset` characters or behind it."""
        return 0 if offset <= 0 else min(bisect_left(self.ends, offset) + 1, len(self.ends))

    def last_until(self, offset: int) -> int:
        """How many tokens end at `offset` or before it, those that complete no character there left out."""
        count = bisect_right(self.ends, offset)
        while count and self.ends[count - 1] == (self.ends[count - 2] if count > 1 else 0):
            count -= 1
        return count

    def token_of(self, offset: int) -> tuple[int, int] | None:
        """The tokens, first and behind the last, that make up the character at `offset`; None where there are none."""
        last = bisect_right(self.ends, offset)
        if last >= len(self.ends):
            return None
        first = last
        while first and self.start(first - 1) == self.start(last):
            first -= 1
        return first, last + 1

    def start(self, token: int) -> int:
        """Where a token begins, in characters of the source."""
        return self.ends[token - 1] if token else 0


@dataclass(kw_only=True, eq=False, slots=True)
class Source:
    """Text that came in one go.

    Attributes:
        number: its own, in the session.
        origin: who wrote it.
        text: its characters so far.
        generation: how it came to be, where the model wrote it.
    """

    number: int
    origin: Origin
    text: str = ""
    generation: Generation | None = None


class Piece(NamedTuple):
    """The characters of a source from `begin` up to before `end`."""

    source: Source
    begin: int
    end: int

    @property
    def text(self) -> str:
        """Its characters."""
        return self.source.text[self.begin : self.end]


class PieceTable:
    """A text that is changed in place.

    Attributes:
        length: in characters.
    """

    def __init__(self) -> None:
        self._blocks: list[list[Piece]] = []
        self._sizes: list[int] = []
        self.length = 0

    def splice(self, start: int, removed: int, inserted: Sequence[Piece]) -> tuple[Piece, ...]:
        """Put `inserted` in the place of `removed` characters from `start` on; the pieces that were there.

        Raises:
            IndexError: the text has no such place.
        """
        if not 0 <= start <= start + removed <= self.length:
            raise IndexError(f"no characters {start} to {start + removed} in a text of {self.length}")
        first, base = self._block_of(start)
        last, size = first, 0
        while last < len(self._blocks):
            size += self._sizes[last]
            last += 1
            if base + size >= start + removed:
                break
        pieces = [piece for block in self._blocks[first:last] for piece in block]
        before, rest = _cut(pieces, start - base)
        gone, after = _cut(rest, removed)
        joined = _joined([before, inserted, after])
        blocks = [joined[at : at + _BLOCK_PIECES] for at in range(0, len(joined), _BLOCK_PIECES)]
        self._blocks[first:last] = blocks
        self._sizes[first:last] = [sum(piece.end - piece.begin for piece in block) for block in blocks]
        self.length += sum(piece.end - piece.begin for piece in inserted) - removed
        return tuple(gone)

    def _block_of(self, offset: int) -> tuple[int, int]:
        """The block that has the character before `offset`, and where it begins."""
        base = 0
        for number, size in enumerate(self._sizes):
            if offset <= base + size:
                return number, base
            base += size
        return max(0, len(self._sizes) - 1), base - (self._sizes[-1] if self._sizes else 0)

    def pieces(self, start: int = 0, end: int | None = None, *, whole: bool = False) -> Iterator[tuple[int, Piece]]:
        """The pieces between two places, each with where it begins in the text.

        Args:
            start, end: the places.
            whole: give pieces that lie partly between them uncut.
        """
        end = self.length if end is None else min(end, self.length)
        at = 0
        for size, block in zip(self._sizes, self._blocks, strict=True):
            if at >= end:
                return
            if at + size <= start:
                at += size
                continue
            for piece in block:
                length = piece.end - piece.begin
                low, high = max(start - at, 0), min(end - at, length)
                if low < high and whole:
                    yield at, piece
                elif low < high:
                    yield at + low, Piece(piece.source, piece.begin + low, piece.begin + high)
                at += length

    def text(self, start: int = 0, end: int | None = None) -> str:
        """The characters between two places."""
        return "".join([piece.text for _, piece in self.pieces(start, end)])


def _cut(pieces: list[Piece], offset: int) -> tuple[list[Piece], list[Piece]]:
    """The pieces of the first `offset` characters, and the rest."""
    for number, piece in enumerate(pieces):
        length = piece.end - piece.begin
        if offset < length:
            if offset == 0:
                return pieces[:number], pieces[number:]
            middle = piece.begin + offset
            left, right = Piece(piece.source, piece.begin, middle), Piece(piece.source, middle, piece.end)
            return [*pieces[:number], left], [right, *pieces[number + 1 :]]
        offset -= length
    return pieces, []


def _joined(parts: Sequence[Sequence[Piece]]) -> list[Piece]:
    """The pieces of all parts; those that go on where the one before ends are made one."""
    joined: list[Piece] = []
    for part in parts:
        for index, piece in enumerate(part):
            last = joined[-1] if joined and index == 0 else None
            if last is not None and last.source is piece.source and last.end == piece.begin:
                joined[-1] = Piece(piece.source, last.begin, piece.end)
            elif piece.begin < piece.end:
                joined.append(piece)
    return joined
