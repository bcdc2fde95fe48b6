"""Cutting tokenized text at characters: three texts with the tokens that each has when it is encoded alone.

Only the words at the cuts are encoded for that. A lossless vocabulary cuts text into pieces before it looks for tokens
(`korformer.text.lossless.PIECES`), a space belongs to the piece after it, and no piece goes on over a space that
follows a character other than white space. So the text may be parted there without a change to the tokens of either
side, and every token between two such places stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from korformer.errors import UsageError

_SPACE = b" "
_WHITE = b" \t\r\n"


class LosslessEncoder(Protocol):
    """What laying out needs of a vocabulary; `korformer.text.vocabulary.Vocabulary` is one."""

    @property
    def scheme(self) -> str:
        """`lossless` where a text's tokens spell the text."""

    @property
    def size(self) -> int:
        """Number of tokens."""

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[list[int]]:
        """Ids of each text."""

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 bytes that a token adds to the text."""


Fragments = list["NDArray[np.int64] | str"]
"""Tokens that stay, and texts still to be encoded, in their order."""


@dataclass(frozen=True)
class Parts:
    """A piece cut in three, each part as fragments."""

    prefix: Fragments
    middle: Fragments
    suffix: Fragments


class PieceCutter:
    """Cuts pieces of documents at characters.

    Args:
        vocabulary: made the tokens.

    Raises:
        UsageError: it is not lossless, so that tokens do not tell the characters.
    """

    def __init__(self, vocabulary: LosslessEncoder) -> None:
        if vocabulary.scheme != "lossless":
            raise UsageError(
                f"filling in the middle needs a lossless vocabulary, this one is {vocabulary.scheme}",
                where="ar.fim_rate",
                hint="Set ar.fim_rate=0, or make a vocabulary with korformer vocab --scheme lossless.",
            )
        self._vocabulary = vocabulary
        self._pieces = [vocabulary.token_bytes(token_id) for token_id in range(vocabulary.size)]
        self._lengths = np.array([len(piece) for piece in self._pieces], dtype=np.int64)

    def cut(self, ids_T: NDArray[np.int64], first: float, second: float) -> Parts | None:
        """Cut at two characters; None where there is none.

        Args:
            ids_T: (T,) tokens of the text, without special tokens. Bytes of a character whose other bytes lie outside
                stay with the prefix or the suffix.
            first, second: in [0, 1), where among the places before, between and behind the characters.
        """
        text = b"".join([self._pieces[token_id] for token_id in ids_T.tolist()])
        places = _character_places(text)
        if len(places) < 2:
            return None
        low, high = sorted(int(places[int(share * len(places))]) for share in (first, second))
        return self._cut_at(ids_T, text, (int(places[0]), int(places[-1])), low, high)

    def _cut_at(self, ids_T: NDArray[np.int64], text: bytes, bounds: tuple[int, int], low: int, high: int) -> Parts:
        """Cut at byte `low` and byte `high`, both the beginning of a character or the end of the last."""
        ends = np.cumsum(self._lengths[ids_T])

        def kept(begin: int, end: int) -> NDArray[np.int64]:
            return ids_T[slice(*np.searchsorted(ends, (begin, end), side="right"))]

        def encoded(begin: int, end: int) -> str:
            return text[begin:end].decode("utf-8")

        prefix_end = _parting_before(text, bounds, low)
        suffix_begin = _parting_behind(text, bounds, high)
        inner_begin, inner_end = _parting_behind(text, bounds, low), _parting_before(text, bounds, high)
        middle: Fragments = [encoded(low, high)]
        if inner_begin <= inner_end:
            middle = [encoded(low, inner_begin), kept(inner_begin, inner_end), encoded(inner_end, high)]
        return Parts(
            prefix=[kept(0, prefix_end), encoded(prefix_end, low)],
            middle=middle,
            suffix=[encoded(high, suffix_begin), kept(suffix_begin, len(text))],
        )

    def tokens(self, pieces: Sequence[Parts]) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
        """Tokens of prefix, middle and suffix of each piece, (n,) int64 each; their texts are encoded in one call."""
        wanted = [
            fragment
            for parts in pieces
            for part in (parts.prefix, parts.middle, parts.suffix)
            for fragment in part
            if isinstance(fragment, str)
        ]
        encoded = iter(self._vocabulary.encode_batch(wanted, add_special_tokens=False))
        return [
            (_joined(parts.prefix, encoded), _joined(parts.middle, encoded), _joined(parts.suffix, encoded))
            for parts in pieces
        ]


def _character_places(text: bytes) -> NDArray[np.int64]:
    """Places before, between and behind the whole characters of UTF-8 that may be broken off at both ends."""
    data = np.frombuffer(text, np.uint8)
    begins = np.flatnonzero((data & 0xC0) != 0x80)
    if not len(begins):
        return begins
    lead = int(data[begins[-1]])
    needed = 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if int(begins[-1]) + needed > len(text):  # the last one's begin is then the end of the one before
        return begins
    return np.append(begins, len(text))


def _parting_before(text: bytes, bounds: tuple[int, int], at: int) -> int:
    """The last place up to `at` where tokens of both sides stay as they are when the text is parted."""
    if at in bounds:
        return at
    place = text.rfind(_SPACE, bounds[0] + 1, at + 1)
    while place >= 0 and text[place - 1] in _WHITE:
        place = text.rfind(_SPACE, bounds[0] + 1, place)
    return place if place >= 0 else bounds[0]


def _parting_behind(text: bytes, bounds: tuple[int, int], at: int) -> int:
    """The first such place from `at` on."""
    if at in bounds:
        return at
    place = text.find(_SPACE, at, bounds[1])
    while place >= 0 and text[place - 1] in _WHITE:
        place = text.find(_SPACE, place + 1, bounds[1])
    return place if place >= 0 else bounds[1]


def _joined(fragments: Fragments, encoded: Iterator[list[int]]) -> NDArray[np.int64]:
    """The tokens of fragments; those of texts are taken from `encoded` in turn."""
    return np.concatenate([np.array(next(encoded), np.int64) if isinstance(each, str) else each for each in fragments])
