"""The curves of a run, read from its metrics file in bounded memory, and again and again while the run goes on.

A run of millions of steps has a file of gigabytes. A curve keeps a few thousand points whatever its length (when they
become too many, neighbours are joined to their mean), and of a long file only every so many step is parsed. Validations
and resumptions are all read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from korformer.errors import PathError

MOST_POINTS = 4096
"""Points of a curve at most; a terminal or a page shows fewer."""

PARSED_BYTES = 1 << 24
"""Of what is read at a time, so much is parsed at most; of more, every n-th step only."""

_BLOCK_BYTES = 1 << 17
_LONGEST_LINE_BYTES = 1 << 24
_STEP_START = b'{"event": "step"'
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


class History:
    """What a metrics file tells of a run. `refresh` reads what has been added since.

    Lines that are cut off, damaged or of another kind are passed over; a file that is not there is an empty one.

    Args:
        path: the file.

    Attributes:
        step: steps finished.
        steps: steps of the whole run; 0 where it is not known yet.
        tokens: predicted tokens so far.
        tokens_per_second: pace at the last step, or None.
        time: seconds since 1970 of the last line, or None.
        resumptions: how often the run went on after a pause.
        loss: mean loss of each step.
        average_loss: the smoothed loss.
        figures: of the validations, by name, in their order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self._place = 0
        self._file: tuple[int, int] | None = None
        self.step = self.steps = self.tokens = self.starts = 0
        self.tokens_per_second: float | None = None
        self.time: float | None = None
        self.loss, self.average_loss = Curve(), Curve()
        self.figures: dict[str, Figure] = {}

    @property
    def resumptions(self) -> int:
        """How often the run went on after a pause."""
        return max(0, self.starts - 1)

    @property
    def headline(self) -> Figure | None:
        """The figure that a run is judged by: the first that its objective names."""
        return next(iter(self.figures.values()), None)

    def curve(self, name: str) -> Curve | None:
        """The curve called `loss` (smoothed) or like a figure of the validations; None where there is none."""
        if name == "loss":
            return self.average_loss
        return self.figures[name].curve if name in self.figures else None

    def refresh(self) -> bool:
        """Read on; whether there was anything new.

        Raises:
            PathError: the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                return self._read(file)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise PathError(f"cannot be read ({error.strerror})", where=str(self.path)) from error

    def _read(self, file: BinaryIO) -> bool:
        status = os.fstat(file.fileno())
        identity = (status.st_dev, status.st_ino)
        if self._file not in (None, identity) or status.st_size < self._place:
            self._forget()  # another file, or one that begins anew
        self._file = identity
        before = self._place
        file.seek(before)
        every = max(1, (status.st_size - before) // PARSED_BYTES)
        for lines in _blocks(file):
            self._place += sum(map(len, lines)) + len(lines)
            skipped: bytes | None = None
            for number, line in enumerate(lines):
                if not line.startswith(_STEP_START):
                    if skipped is not None:  # the newest step before what follows it
                        self._take(skipped)
                    self._take(line)
                elif number % every == 0:
                    self._take(line)
                else:
                    skipped = line
                    continue
                skipped = None
            if skipped is not None:
                self._take(skipped)
        return self._place > before

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(record, dict) or not _is_count(record.get("step")):
            return
        step: int = record["step"]
        time = _number(record.get("time"))
        match record.get("event"):
            case "start":
                self._start(step)
            case "step":
                self._step(step, time or 0.0, record)
            case "validation":
                self._validation(step, time or 0.0, record)
        self.time = time or self.time

    def _start(self, step: int) -> None:
        """The run begins, or goes on from `step`: what came later is undone."""
        self.starts += 1
        self.loss.go_back(step)
        self.average_loss.go_back(step)
        for name in list(self.figures):
            self.figures[name].go_back(step)
            if not len(self.figures[name].curve):
                del self.figures[name]
        self.step = step

    def _step(self, step: int, time: float, record: Mapping[str, Any]) -> None:
        self.step = step
        if _is_count(record.get("steps")):
            self.steps = record["steps"]
        if _is_count(record.get("tokens")):
            self.tokens = record["tokens"]
        self.tokens_per_second = _number(record.get("tokens_per_second"))
        for name, curve in (("loss", self.loss), ("average_loss", self.average_loss)):
            value = _number(record.get(name))
            if value is not None:
                curve.add(step, value, tokens=self.tokens, time=time)

    def _validation(self, step: int, time: float, record: Mapping[str, Any]) -> None:
        for name, given in record.items():
            value = _number(given)
            if value is not None and name not in ("event", "step", "time"):
                figure = self.figures.setdefault(name, Figure(name))
                figure.add(step, value, tokens=self.tokens, time=time)


def _blocks(file: BinaryIO) -> Iterator[Sequence[bytes]]:
    """The lines of a file, some hundreds at a time, without line ends; what follows the last line end is left out."""
    rest = b""
    while chunk := file.read(_BLOCK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield lines
        elif len(rest) > _LONGEST_LINE_BYTES:  # no file of ours
            return


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _number(value: object) -> float | None:
    """A finite number, or None."""
    if type(value) is int or type(value) is float:
        try:
            return float(value) if math.isfinite(value) else None
        except OverflowError:
            return None
    return None
