"""How a text that does not fit into a window is read in several."""

from __future__ import annotations


def stretches(tokens: int, room: int, stride: int | None = None) -> list[tuple[int, int]]:
    """Begin and end of the stretches of a text of some tokens; one where they all fit.

    Args:
        tokens: of the text.
        room: most tokens of a stretch.
        stride: from one begin to the next, at most `room`; half of `room` if None. The last stretch is as long as the
            others: it begins earlier than the stride says.
    """
    if tokens <= room:
        return [(0, tokens)]
    step = min(stride if stride is not None else max(1, room // 2), room)
    last = tokens - room
    return [(begin, begin + room) for begin in [*range(0, last, step), last]]
