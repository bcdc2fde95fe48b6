"""Which colour each character of the page has: by who wrote it, or by how likely its token was."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Literal

from korformer.tui.widgets.sheet import TONES

if TYPE_CHECKING:
    from korformer.writing.session import Session

Mode = Literal["origin", "probability", "none"]
MODES: tuple[Mode, ...] = ("origin", "probability", "none")
"""In the order of the key."""

BAND_EDGES = (0.01, 0.03, 0.08, 0.2, 0.4, 0.65, 0.9)
"""Probabilities between the bands of colour."""

_FIRST_BAND = TONES.index("band-0")


def band(probability: float) -> int:
    """The tone of a token of this probability."""
    return _FIRST_BAND + bisect_right(BAND_EDGES, probability)


def tones(session: Session, start: int, end: int, mode: Mode) -> bytes:
    """An index into `TONES` for every character from `start` to `end`."""
    found = bytearray(max(0, end - start))
    if mode == "origin":
        for span in session.spans(start, end):
            _paint(found, span.start - start, span.end - start, TONES.index(span.origin))
    elif mode == "probability":
        for token in session.tokens(start, end):
            _paint(found, token.start - start, token.end - start, band(token.record.probability))
    return bytes(found)


def _paint(found: bytearray, start: int, end: int, tone: int) -> None:
    start, end = max(0, start), min(end, len(found))
    found[start:end] = bytes([tone]) * max(0, end - start)
