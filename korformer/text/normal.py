"""A text and its NFC, and which place in the one is which place in the other.

Models read NFC; labels and answers point into the text as it came. In a text that is NFC already the places are the
same.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right


class NormalText:
    """A text with its normal form.

    Args:
        original: the text as it came.

    Attributes:
        original: that.
        normal: its NFC.
    """

    def __init__(self, original: str) -> None:
        self.original = original
        self.normal = unicodedata.normalize("NFC", original)
        self._edges: tuple[list[int], list[int]] | None = None
        if self.normal != original:
            self._edges = _common_edges(original, self.normal)

    def to_normal(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of `normal` that [start, end) of `original` becomes, widened to whole characters of it."""
        if self._edges is None:
            return start, end
        return _widened(*self._edges, start, end)

    def to_original(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of `original` that [start, end) of `normal` was made from."""
        if self._edges is None:
            return start, end
        of_original, of_normal = self._edges
        return _widened(of_normal, of_original, start, end)


def _widened(here: list[int], there: list[int], start: int, end: int) -> tuple[int, int]:
    first = bisect_right(here, start) - 1
    return there[first], there[max(bisect_left(here, end), first)]


def _common_edges(original: str, normal: str) -> tuple[list[int], list[int]]:
    """Places of `original` and of `normal` between which nothing joins, ascending; both texts' ends among them."""
    of_original, of_normal = [0], [0]
    cluster, done = original[:1], ""
    for index, character in enumerate(original[1:], 1):
        joined = unicodedata.normalize("NFC", cluster + character)
        done = done or unicodedata.normalize("NFC", cluster)
        if not unicodedata.combining(character) and joined == done + unicodedata.normalize("NFC", character):
            of_original.append(index)
            of_normal.append(of_normal[-1] + len(done))
            cluster, done = character, ""
        else:
            cluster, done = cluster + character, joined
    of_original.append(len(original))
    of_normal.append(of_normal[-1] + len(unicodedata.normalize("NFC", cluster)))
    if of_normal[-1] != len(normal):  # characters of no script joined over a longer way: one piece then
        return [0, len(original)], [0, len(normal)]
    return of_original, of_normal
