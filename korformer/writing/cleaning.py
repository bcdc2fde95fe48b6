"""Text as it goes into a session: NFC, line feeds, no halves of surrogate pairs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from korformer.errors import InputError

_SURROGATE = re.compile("[\ud800-\udfff]")
_REACH = 8
"""Characters on either side that a change may compose with."""


def clean(text: str) -> str:
    """`text` as NFC, every line end a line feed.

    Raises:
        InputError: it has half of a surrogate pair, which stands for no character.
    """
    found = _SURROGATE.search(text)
    if found:
        raise InputError(
            f"half of a surrogate pair (U+{ord(found[0]):04X}) at character {found.start():,}",
            hint="It stands for no character; take it out.",
        )
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def settle(slice_of: Callable[[int, int], str], length: int, start: int, end: int, text: str) -> tuple[int, int, str]:
    """A replacement after which the text is NFC also where the new meets the old.

    Args:
        slice_of: gives the characters between two places.
        length: of the text.
        start, end: of the characters that are replaced.
        text: what takes their place, in NFC.

    Returns:
        start, end and text of that replacement.
    """
    low, high = max(0, start - _REACH), min(length, end + _REACH)
    left, right = slice_of(low, start), slice_of(end, high)
    seam = left + text + right
    if unicodedata.is_normalized("NFC", seam) or not (text or (left and right)):
        return start, end, text
    composed = unicodedata.normalize("NFC", seam)
    old = left + slice_of(start, end) + right
    first = _same(old, composed, start - low)
    last = _same(old[::-1], composed[::-1], min(high - end, len(composed) - first, len(old) - first))
    return low + first, high - last, composed[first : len(composed) - last]


def _same(one: str, other: str, most: int) -> int:
    count = 0
    while count < min(most, len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


def same_length(one: str, other: str) -> int:
    """How many characters at the beginning are the same; a megabyte takes milliseconds."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
