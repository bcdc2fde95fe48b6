"""Counting the words of a corpus of any size in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from korformer.randomness import seed_of


class WordCounts:
    """How often each word occurs, of the words that occur often.

    When there are more different words than `limit`, the rarest are dropped until half are left; one that comes again
    later counts from zero. (Lossy counting, Manku and Motwani 2002: no count is off by more than `most_missed`.)

    Args:
        words: cuts a text into words.
        limit: different words to keep at most; memory is about 250 bytes each.

    Attributes:
        counts: occurrences by word.
        most_missed: how many occurrences of any one word may be missing.
    """

    def __init__(self, words: Callable[[str], list[str]], *, limit: int) -> None:
        self.counts: Counter[str] = Counter()
        self.most_missed = 0
        self._words = words
        self._limit = limit

    def add(self, text: str) -> None:
        """Count the words of `text`."""
        self.counts.update(self._words(text))
        if len(self.counts) > self._limit:
            self._drop_rare()

    def _drop_rare(self) -> None:
        threshold = 1
        kept = self.counts
        while len(kept) > self._limit // 2:
            kept = Counter({word: count for word, count in kept.items() if count > threshold})
            self.most_missed += 1
            threshold += 1
        self.counts = kept


class EvenSample:
    """Documents drawn evenly from a stream whose length nobody knows, holding no more than `limit_bytes` of text.

    Each document has a fixed random number that hangs on its place in the stream. All are kept at first; whenever
    they become too many, the half with odd numbers goes, then of the rest the half whose next bit is odd, and so on.

    Args:
        limit_bytes: UTF-8 bytes to hold; one document is held however long it is.

    Attributes:
        one_in: one document of so many is kept.
        offered: documents seen.
        offered_bytes, bytes: UTF-8 bytes of those, and of the documents held.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.one_in = 1
        self.offered = 0
        self.offered_bytes = 0
        self.bytes = 0
        self._limit_bytes = limit_bytes
        self._documents: dict[int, bytes] = {}

    def add(self, document: str) -> None:
        """Offer a document."""
        data = document.encode("utf-8")
        index = self.offered
        self.offered += 1
        self.offered_bytes += len(data)
        if _draw(index) % self.one_in == 0 or not self._documents:
            self._documents[index] = data
            self.bytes += len(data)
            while self.bytes > self._limit_bytes and len(self._documents) > 1:
                self._thin()

    def _thin(self) -> None:
        self.one_in *= 2
        kept = {index: data for index, data in self._documents.items() if _draw(index) % self.one_in == 0}
        self._documents = kept or dict([next(iter(self._documents.items()))])
        self.bytes = sum(map(len, self._documents.values()))

    def __len__(self) -> int:
        return len(self._documents)

    def __iter__(self) -> Iterator[str]:
        for data in self._documents.values():
            yield data.decode("utf-8")


def _draw(index: int) -> int:
    return seed_of("even sample", index)
