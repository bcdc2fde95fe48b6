"""A text broken into the rows of a page that is so many cells wide.

The text is one string and a row is the offset at which it begins, so that places are plain offsets everywhere. A row
ends after a line feed, after the last space that fits, or where the width is used up. An edit breaks anew from the row
before it until the breaks fall where they fell before; what lies behind is shifted. So an edit costs a copy of the
text and little else: a line of a million characters is no different from a thousand lines.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate

from korformer.tui.cells import is_joined, widths

_AT_ONCE = 4096
"""Characters that are measured at a time while breaks are looked for."""


class Rows:
    """A text and where its rows begin.

    Args:
        text: the text, with line feeds only.
        width: cells of a row, at least 2.

    Attributes:
        text: the text; change it with `replace`.
        width: cells of a row.
        starts: offset of the first character of every row; the first is 0.
    """

    def __init__(self, text: str = "", width: int = 80) -> None:
        self.text = text
        self.width = max(2, width)
        self.starts: list[int] = self._all()

    def __len__(self) -> int:
        return len(self.starts)

    def set_width(self, width: int) -> None:
        """Break the whole text anew for another width."""
        if max(2, width) != self.width:
            self.width = max(2, width)
            self.starts = self._all()

    def set_text(self, text: str) -> None:
        """Take another text; only what differs from the one before is broken anew."""
        old = self.text
        if text == old:
            return
        head = _common(old, text)
        limit = min(len(old), len(text)) - head
        tail = _common(old[len(old) - limit :][::-1], text[len(text) - limit :][::-1]) if limit else 0
        self.replace(head, len(old) - tail, text[head : len(text) - tail])

    def replace(self, start: int, end: int, inserted: str) -> int:
        """Put `inserted` where the characters from `start` to `end` are.

        Returns:
            The first row that may look different.
        """
        self.text = self.text[:start] + inserted + self.text[end:]
        shift = len(inserted) - (end - start)
        # What ends a row stands in it or in the next one, up to its last character.
        first = max(0, self.row_of(start) - 2)
        behind = bisect_right(self.starts, end)
        after = [row + shift for row in self.starts[behind:]] if shift else self.starts[behind:]
        fresh: list[int] = []
        for row in self._breaks(self.starts[first]):
            place = bisect_left(after, row)
            if place < len(after) and after[place] == row and row > start + len(inserted):
                del after[:place]
                break
            fresh.append(row)
        else:
            after.clear()
        self.starts[first + 1 :] = fresh + after
        return first

    def row_of(self, offset: int) -> int:
        """The row in which the character at `offset` stands."""
        return bisect_right(self.starts, offset) - 1

    def span(self, row: int) -> tuple[int, int]:
        """Offsets of the first character of a row and of the one behind its last."""
        end = self.starts[row + 1] if row + 1 < len(self.starts) else len(self.text)
        return self.starts[row], end

    def place(self, offset: int) -> tuple[int, int]:
        """Row and cell of the left edge of the character at `offset`."""
        row = self.row_of(offset)
        start, end = self.span(row)
        return row, sum(widths(self.text[start:end])[: offset - start])

    def offset(self, row: int, cell: int) -> int:
        """Offset of the character that covers a cell; that of the row's end where the row is shorter.

        A row below the last one counts as the last, one above the first as the first.
        """
        if row >= len(self.starts):
            return len(self.text)
        row = max(0, row)
        start, end = self.span(row)
        edges = list(accumulate(widths(self.text[start:end])))
        found = start + bisect_right(edges, max(0, cell))
        last = row + 1 == len(self.starts)
        # The end of a row that goes on in the next is the beginning of that one.
        return min(found, end if last else end - 1)

    def before(self, offset: int) -> int:
        """Offset of the character before `offset`, as a reader counts characters."""
        offset -= 1
        while offset > 0 and is_joined(self.text, offset):
            offset -= 1
        return max(0, offset)

    def after(self, offset: int) -> int:
        """Offset of the character after the one at `offset`, as a reader counts characters."""
        offset += 1
        while offset < len(self.text) and is_joined(self.text, offset):
            offset += 1
        return min(len(self.text), offset)

    def _all(self) -> list[int]:
        return [0, *self._breaks(0)]

    def _breaks(self, begin: int) -> _Breaks:
        return _Breaks(self.text, begin, self.width)


class _Breaks:
    """The offsets, one after another, at which the rows after the one at `begin` start."""

    def __init__(self, text: str, begin: int, width: int) -> None:
        self._text = text
        self._row = begin
        self._width = width
        self._at_once = max(_AT_ONCE, 4 * width)
        self._measure(begin)

    def __iter__(self) -> _Breaks:
        return self

    def __next__(self) -> int:
        text, row = self._text, self._row
        if self._measured_to < len(text) and row + 2 * self._width >= self._measured_to:
            self._measure(row)
        base = self._base
        fits = base + bisect_right(self._edges, self._edges[row - base] + self._width) - 1
        feed = text.find("\n", row, fits + 1)
        if feed >= 0:
            self._row = feed + 1
            return self._row
        if fits >= len(text):
            raise StopIteration
        space = text.rfind(" ", row, fits + 1)
        if space > row or (space == row and fits == row):
            self._row = space + 1
        else:
            whole = fits
            while whole > row + 1 and is_joined(text, whole):
                whole -= 1
            # One joined character that is wider than a row has to be broken somewhere.
            self._row = whole if whole > row and not is_joined(text, whole) else max(fits, row + 1)
        return self._row

    def _measure(self, begin: int) -> None:
        self._base = begin
        self._measured_to = min(len(self._text), begin + self._at_once)
        self._edges = [0, *accumulate(widths(self._text[begin : self._measured_to]))]


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while low < high - 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
