"""Curves of bounded size: values over the steps of a run, however many.

A curve keeps a few thousand points: when they become too many, neighbours are joined to their mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

MOST_POINTS = 4096
"""Points of a curve at most; a terminal or a page shows fewer."""

_LOWER_IS_BETTER = ("loss", "perplexity", "bits", "error")


def lower_is_better(figure: str) -> bool:
    """Whether a figure of this name is best when it is smallest."""
    return any(word in figure for word in _LOWER_IS_BETTER)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place on a curve: the mean of one or more neighbouring values.

    Attributes:
        step: last step that it stands for.
        tokens: predicted tokens at that step; 0 where nobody knows.
        time: seconds since 1970 at that step; 0 where nobody knows.
        value: the mean.
    """

    step: int
    tokens: int
    time: float
    value: float


class Curve:
    """Values over steps, at most `most` points of them.

    Args:
        most: points that are kept.
    """

    def __init__(self, most: int = MOST_POINTS) -> None:
        self._most = most
        self._values_a_point = 1
        self._steps: list[int] = []
        self._tokens: list[int] = []
        self._times: list[float] = []
        self._sums: list[float] = []
        self._counts: list[int] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: int, value: float, *, tokens: int = 0, time: float = 0.0) -> None:
        """Go on to a later step."""
        if self._counts and self._counts[-1] < self._values_a_point:
            self._steps[-1], self._tokens[-1], self._times[-1] = step, tokens, time
            self._sums[-1] += value
            self._counts[-1] += 1
            return
        if len(self._steps) == self._most:
            self._join()
        self._steps.append(step)
        self._tokens.append(tokens)
        self._times.append(time)
        self._sums.append(value)
        self._counts.append(1)

    def _join(self) -> None:
        """Make one point of every two."""
        self._values_a_point *= 2
        self._steps, self._tokens, self._times = self._steps[1::2], self._tokens[1::2], self._times[1::2]
        self._sums = [one + other for one, other in zip(self._sums[::2], self._sums[1::2], strict=True)]
        self._counts = [one + other for one, other in zip(self._counts[::2], self._counts[1::2], strict=True)]

    def go_back(self, step: int) -> None:
        """Forget what came after a step. A point that stands for steps before and after it goes too."""
        kept = len(self._steps)
        while kept and self._steps[kept - 1] > step:
            kept -= 1
        for values in (self._steps, self._tokens, self._times, self._sums, self._counts):
            del values[kept:]

    def points(self) -> list[Point]:
        """From the first to the last."""
        return [
            Point(step=step, tokens=tokens, time=time, value=total / count)
            for step, tokens, time, total, count in zip(
                self._steps, self._tokens, self._times, self._sums, self._counts, strict=True
            )
        ]

    @property
    def last(self) -> float | None:
        """Value of the last point."""
        return self._sums[-1] / self._counts[-1] if self._counts else None


@dataclass
class Figure:
    """One figure of the validations: its curve, and each value that was the best so far."""

    name: str
    curve: Curve = field(default_factory=Curve)
    records: list[tuple[int, float]] = field(default_factory=list)
    latest: float = math.nan

    def add(self, step: int, value: float, *, tokens: int, time: float) -> None:
        """A later validation."""
        self.latest = value
        self.curve.add(step, value, tokens=tokens, time=time)
        better = not self.records or (
            value < self.records[-1][1] if lower_is_better(self.name) else value > self.records[-1][1]
        )
        if better:
            self.records.append((step, value))
            if len(self.records) > MOST_POINTS:
                del self.records[: MOST_POINTS // 2 : 2]

    def go_back(self, step: int) -> None:
        """Forget what came after a step."""
        before = len(self.curve)
        self.curve.go_back(step)
        if len(self.curve) < before and self.curve.last is not None:
            self.latest = self.curve.last
        while self.records and self.records[-1][0] > step:
            self.records.pop()

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and value of the best validation."""
        return self.records[-1] if self.records else None
