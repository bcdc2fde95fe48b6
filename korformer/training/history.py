"""What a run's metrics file tells, read in bounded memory, and again and again while the run goes on.

A run of millions of steps has a file of gigabytes, of which only every so many step is parsed. Validations and
resumptions are all read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from korformer.errors import PathError
from korformer.training.curves import Curve, Figure

PARSED_BYTES = 1 << 24
"""Of what is read at a time, so much is parsed at most; of more, every n-th step only."""

_BLOCK_BYTES = 1 << 17
_LONGEST_LINE_BYTES = 1 << 24
_STEP_START = b'{"event": "step"'


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
