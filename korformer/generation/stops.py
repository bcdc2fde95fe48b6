"""Stop strings, found across token boundaries; what may be the beginning of one is held back until it is decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class StopQueue(Generic[T]):
    """Holds tokens whose text may belong to a stop string, and gives them back in order with their own text."""

    def __init__(self) -> None:
        self._waiting: list[tuple[T, str]] = []

    def push(self, token: T, text: str, stops: Sequence[str]) -> tuple[list[tuple[T, str]], bool]:
        """Take the next token.

        Args:
            token: anything that stands for it.
            text: the characters it completes.
            stops: non-empty stop strings; they may change from token to token.

        Returns:
            The tokens that are decided now, each with the part of its text that belongs to the result; and whether a
            stop string came, after which nothing waits any more.
        """
        self._waiting.append((token, text))
        held = "".join(text for _, text in self._waiting)
        found = [place for place in (held.find(stop) for stop in stops) if place >= 0]
        if found:
            return self._release(cut=min(found)), True
        return self._decided(len(held) - _longest_beginning(held, stops)), False

    def flush(self) -> list[tuple[T, str]]:
        """Everything that still waits, with its whole text: nothing can come that makes a stop string of it."""
        return self._release(cut=None)

    def _release(self, cut: int | None) -> list[tuple[T, str]]:
        released, begin = [], 0
        for token, text in self._waiting:
            released.append((token, text if cut is None else text[: max(0, cut - begin)]))
            begin += len(text)
        self._waiting = []
        return released

    def _decided(self, safe: int) -> list[tuple[T, str]]:
        """The tokens whose text ends within the first `safe` characters."""
        end = count = 0
        for _, text in self._waiting:
            end += len(text)
            if end > safe:
                break
            count += 1
        released, self._waiting = self._waiting[:count], self._waiting[count:]
        return released


def _longest_beginning(text: str, stops: Sequence[str]) -> int:
    """Length of the longest end of `text` that is a beginning, not the whole, of a stop string."""
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:length]):
                longest = length
                break
    return longest
