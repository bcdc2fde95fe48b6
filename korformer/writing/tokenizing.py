"""Tokens of a text that changes, with their places in it.

A text is cut where no piece of the vocabulary can reach across, and the tokens of each part are kept, so that a change
costs the part that it lies in. Tokens that the model wrote itself stand for their text as they are, not as the text
would be cut anew: a text that is stopped and continued is read exactly as it was written. Where a person typed on in
the middle of a word, or changed one, its tokens are found anew.

Legend: T tokens, [CLS] included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from korformer.generation.stream import ends_in_one_space
from korformer.text import lossless
from korformer.text.vocabulary import CLS_ID, Vocabulary
from korformer.writing.cleaning import same_length
from korformer.writing.draft import GeneratedRun

LONG_CHARACTERS = 512
"""A part of a longer line ends at the next word behind so many characters."""

SPARE_CHARACTERS = 1_000_000
"""Of parts that are remembered beyond twice the text; then all are forgotten."""

_UNBROKEN_CHARACTERS = 8192
_NEIGHBOURHOOD = 256
"""Characters that are looked at to find where a piece begins."""

_LINES = re.compile(r"[^\n]*\n+|[^\n]+")
_WORD_BEGINS = re.compile(r"(?<=\S) (?=\S)")


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenizedText:
    """A text as a model reads it.

    Attributes:
        ids: of the tokens, [CLS] first.
        ends: characters of the text up to the end of each token, (T,) int64.
        space_owed: the text has a space at its end that the first new token brings.
    """

    ids: list[int]
    ends: NDArray[np.int64]
    space_owed: bool

    def token_at(self, offset: int) -> int:
        """Number of the first token of the character at `offset`; how many there are at the end of the text."""
        place = int(np.searchsorted(self.ends, offset, side="right"))
        if place >= len(self.ids):
            return len(self.ids)
        while place > 1 and self.ends[place - 1] == self.start(place) == self.start(place - 1):
            place -= 1
        return max(1, place)

    def start(self, token: int) -> int:
        """Characters before a token."""
        return int(self.ends[token - 1]) if token else 0


_Part = tuple[list[int], NDArray[np.int64]]


class DraftEncoder:
    """Turns one text after another into tokens, and remembers those of its parts.

    Args:
        vocabulary: the model's.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._pieces = [vocabulary.token_bytes(token) for token in range(vocabulary.size)]
        self._lengths = np.array([len(piece) for piece in self._pieces], dtype=np.int64)
        self._known: dict[str, _Part] = {}
        self._characters = 0

    def encode(self, text: str, runs: Sequence[GeneratedRun] = ()) -> TokenizedText:
        """The tokens of `text`.

        Args:
            text: NFC.
            runs: generated tokens in it; those of another vocabulary, and those behind its end, do not count.
        """
        if self._characters > 2 * len(text) + SPARE_CHARACTERS:
            self._known, self._characters = {}, 0
        own = self._vocabulary.fingerprint
        wanted = [run for run in runs if run.vocabulary == own and run.start < len(text)]
        written_end = not wanted or wanted[-1].end < len(text)
        owed = self._vocabulary.scheme == "lossless" and written_end and ends_in_one_space(text)
        if owed:
            text = text[:-1]
        ids, parts, at = [CLS_ID], [np.zeros(1, dtype=np.int64)], 0
        for start, end, run_ids, ends in self._kept(text, wanted):
            at = self._append(text[at:start], at, ids, parts)
            ids += run_ids
            parts.append(ends)
            at = end
        self._append(text[at:], at, ids, parts)
        return TokenizedText(ids=ids, ends=np.concatenate(parts), space_owed=owed)

    def beginning(self, text: str, most_tokens: int) -> _Part:
        """The first tokens of a text, without [CLS], and the characters up to the end of each: at least `most_tokens`
        where it has as many.
        """
        ids: list[int] = []
        parts: list[NDArray[np.int64]] = []
        at = 0
        for chunk in chunks(text, lossless_scheme=self._vocabulary.scheme == "lossless"):
            at = self._append(chunk, at, ids, parts)
            if len(ids) >= most_tokens:
                break
        return ids, np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _append(self, text: str, at: int, ids: list[int], parts: list[NDArray[np.int64]]) -> int:
        """Put the tokens of `text`, which begins at `at`, behind the others; where it ends."""
        cut = list(chunks(text, lossless_scheme=self._vocabulary.scheme == "lossless"))
        new = [chunk for chunk in dict.fromkeys(cut) if chunk not in self._known]
        for chunk, found in zip(new, self._vocabulary.encode_batch(new) if new else [], strict=True):
            self._known[chunk] = (found, self._ends(found, chunk))
            self._characters += len(chunk)
        for chunk in cut:
            found, ends = self._known[chunk]
            ids += found
            parts.append(ends + at)
            at += len(chunk)
        return at

    def _ends(self, ids: Sequence[int], text: str) -> NDArray[np.int64]:
        """Characters of `text` up to the end of each token, (T,)."""
        if self._vocabulary.scheme != "lossless":
            return self._found_ends(ids, text)
        places = np.cumsum(self._lengths[np.asarray(ids, dtype=np.int64)])
        data = np.frombuffer(b"".join([self._pieces[token] for token in ids]), dtype=np.uint8)
        return _characters(data, places, len(text))

    def _found_ends(self, ids: Sequence[int], text: str) -> NDArray[np.int64]:
        """The same where white space is lost: by looking for each token in turn."""
        ends, at = [], 0
        for token in ids:
            spelt = self._pieces[token].decode("utf-8", "ignore").strip()
            found = text.find(spelt, at, at + 200) if spelt else -1
            at = found + len(spelt) if found >= 0 else at
            ends.append(at)
        return np.array(ends, dtype=np.int64)

    def _kept(self, text: str, runs: Sequence[GeneratedRun]) -> Iterator[tuple[int, int, list[int], NDArray[np.int64]]]:
        """The runs as far as their tokens can stand: start, end, ids and the ends of each in the text."""
        before = 0
        for number, run in enumerate(runs):
            found = self._usable(text, run)
            if found is None or found.start < before:
                continue
            behind = runs[number + 1] if number + 1 < len(runs) else None
            goes_on = behind is not None and behind.start == run.end and behind.whole_start
            whole_end = int(found.ends[-1]) == run.end and (run.end == len(text) or goes_on)
            first, last = 0, len(found.ids)
            if not run.whole_start:
                borders = _piece_borders(text, found.start, int(found.ends[-1]), self._vocabulary.scheme)
                first = next((n for n in range(last) if found.begins(n) in borders), last)
            if first < last and not whole_end:
                borders = _piece_borders(text, int(found.ends[-1]), found.start, self._vocabulary.scheme)
                last = next((n for n in range(last, first, -1) if found.begins(n) in borders), first)
            if first < last:
                before = found.begins(last)
                yield found.begins(first), before, found.ids[first:last], found.ends[first:last]

    def _usable(self, text: str, run: GeneratedRun) -> _Usable | None:
        """The tokens of a run that spell its text; None where none does."""
        ids, start = list(run.token_ids), run.start
        if self._vocabulary.scheme != "lossless":
            ends = self._found_ends(ids, text[start : run.end]) + start
            return _Usable(ids=ids, start=start, ends=ends, whole=np.ones(len(ids), dtype=np.bool_))
        if run.space_owed:
            if text[start - 1 : start] != " ":
                return None
            start -= 1
        data = b"".join([self._pieces[token] for token in ids])
        spelt, there = data.decode("utf-8", "replace"), text[start : run.end]
        same = len(there) if spelt == there else same_length(spelt, there)
        places = np.cumsum(self._lengths[np.asarray(ids, dtype=np.int64)])
        numbers = np.frombuffer(data, dtype=np.uint8)
        ends, whole = _characters(numbers, places, len(spelt)), _borders(numbers, places)
        good = np.flatnonzero((ends <= same) & whole)
        if not good.size:
            return None
        count = int(good[-1]) + 1
        return _Usable(ids=ids[:count], start=start, ends=ends[:count] + start, whole=whole[:count])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Usable:
    """Tokens that spell their text.

    Attributes:
        ids: which.
        start: characters before the first.
        ends: characters up to the end of each, (T,) int64.
        whole: whether each ends between two characters, (T,) bool.
    """

    ids: list[int]
    start: int
    ends: NDArray[np.int64]
    whole: NDArray[np.bool_]

    def begins(self, token: int) -> int:
        """Characters before a token, or before what follows the last; -1 where it begins inside of a character."""
        if token == 0:
            return self.start
        return int(self.ends[token - 1]) if self.whole[token - 1] else -1


def chunks(text: str, *, lossless_scheme: bool = True) -> Iterator[str]:
    """Parts of a text whose tokens joined are those of the whole: lines, and words of long lines."""
    for line in _LINES.findall(text):
        at = 0
        while len(line) - at > 2 * LONG_CHARACTERS:
            found = _WORD_BEGINS.search(line, at + LONG_CHARACTERS)
            end = found.start() if found else len(line)
            if end - at > _UNBROKEN_CHARACTERS:
                end = at + _unbroken(line[at : at + _UNBROKEN_CHARACTERS]) if lossless_scheme else end
            if end >= len(line):
                break
            yield line[at:end]
            at = end
        yield line[at:]


def _unbroken(text: str) -> int:
    """Where a piece begins in the second half of a text without words."""
    at = 0
    for piece in lossless.pieces(text):
        if at >= _UNBROKEN_CHARACTERS // 2:
            break
        at += len(piece)
    return at


def _piece_borders(text: str, around: int, toward: int, scheme: str) -> set[int]:
    """Where pieces begin or end near a place, on the side of `toward`."""
    low, high = sorted((around, max(min(toward, around + _NEIGHBOURHOOD), around - _NEIGHBOURHOOD)))
    # Pieces are found from a place where one surely begins, and with what follows in sight.
    far = max(0, low - _NEIGHBOURHOOD)
    begin = max((found.start() for found in _WORD_BEGINS.finditer(text, far, low)), default=0)
    begin = max(begin, text.rfind("\n", far, low) + 1)
    while begin > 0 and text[begin - 1 : begin + 1] == "\n\n":
        begin -= 1
    if begin == 0 and far > 0:
        return set()
    if scheme != "lossless":
        return {begin, *(found.start() for found in _WORD_BEGINS.finditer(text, begin, high + 1))}
    borders, at = {begin}, begin
    for piece in lossless.pieces(text[begin : high + 64]):
        at += len(piece)
        borders.add(at)
    if high + 64 < len(text):  # the last piece may go on
        borders.discard(at)
    return borders


def _characters(data: NDArray[np.uint8], places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """How many characters are complete at each place of UTF-8 bytes; scaled where they are not `most` in all."""
    first = (data & 0xC0) != 0x80
    begun = np.concatenate([[0], np.cumsum(first)])
    complete = begun[places] - ~_borders(data, places)
    total = int(begun[-1])
    return complete if total in {most, 0} else (complete * most) // total


def _borders(data: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each place of UTF-8 bytes lies between two characters."""
    begins = np.concatenate([(data & 0xC0) != 0x80, [True]])
    borders: NDArray[np.bool_] = begins[places]
    return borders
