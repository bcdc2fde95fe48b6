"""What is known of the characters of a text: who wrote them, and which tokens they came as."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from korformer.writing.draft import GeneratedRun
from korformer.writing.pieces import Piece
from korformer.writing.records import Origin, TokenRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A stretch of text by one hand.

    Attributes:
        start, end: its characters.
        origin: whose.
    """

    start: int
    end: int
    origin: Origin


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenView:
    """Characters that came together: one token, or the several of a character that is spread over tokens.

    Attributes:
        start, end: in the text.
        source: number of the source that it belongs to.
        records: of the tokens, at least one.
    """

    start: int
    end: int
    source: int
    records: tuple[TokenRecord, ...]

    @property
    def record(self) -> TokenRecord:
        """Of the first token: whoever chooses another one here chooses in its place."""
        return self.records[0]

    @property
    def logprob(self) -> float:
        """Natural log of the probability of all of it, at temperature 1, before the filters."""
        return sum(record.logprob for record in self.records)


def spans(pieces: Iterable[tuple[int, Piece]]) -> list[Span]:
    """Stretches of one origin, from pieces and where they begin."""
    found: list[Span] = []
    for at, piece in pieces:
        end, origin = at + piece.end - piece.begin, piece.source.origin
        if found and found[-1].origin == origin and found[-1].end == at:
            found[-1] = Span(start=found[-1].start, end=end, origin=origin)
        else:
            found.append(Span(start=at, end=end, origin=origin))
    return found


def tokens(pieces: Iterable[tuple[int, Piece]], start: int, end: int) -> Iterator[TokenView]:
    """The tokens that stand whole in pieces, and at least in part between two places."""
    for at, piece in pieces:
        made = piece.source.generation
        if made is None:
            continue
        shift = at - piece.begin
        first, last = made.first_from(piece.begin), made.last_until(piece.end)
        at_start = made.token_of(start - shift) if start > at else None
        if at_start is not None:
            first = max(first, at_start[0])
        while first < last and made.start(first) + shift < end:
            behind = first + 1
            while behind < last and made.ends[behind - 1] == made.start(first):
                behind += 1
            yield TokenView(
                start=made.start(first) + shift,
                end=made.ends[behind - 1] + shift,
                source=piece.source.number,
                records=tuple(made.tokens[first:behind]),
            )
            first = behind


def runs(pieces: Iterable[tuple[int, Piece]]) -> Iterator[GeneratedRun]:
    """The token ids that stand in pieces as they came."""
    for at, piece in pieces:
        made = piece.source.generation
        if made is None or not made.vocabulary:
            continue
        first, last = made.first_from(piece.begin), made.last_until(piece.end)
        if first < last:
            shift = at - piece.begin
            yield GeneratedRun(
                start=made.start(first) + shift,
                end=made.ends[last - 1] + shift,
                token_ids=tuple(token.token_id for token in made.tokens[first:last]),
                whole_start=first == 0,
                space_owed=first == 0 and made.space_owed,
                vocabulary=made.vocabulary,
            )
