"""Draws the library's events on stderr: bars on a terminal, plain lines elsewhere. Nothing here writes to stdout.

    with reporting(quiet=quiet) as listen:
        train_vocabulary(documents, settings, listen=listen)

Names, corpus text and samples are shown with their control characters escaped and are never read as markup. Progress
that cannot be shown (a closed or full stderr) never stops the work it tells about.
"""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from korformer.events import Event, Listener, Notice, Progress, Sample, Saved, Step, Validation

_JOINERS = {"\u200c", "\u200d"}
_PLAIN_SECONDS = (5.0, 60.0)


@contextmanager
def reporting(*, quiet: bool = False, plot: Path | None = None) -> Iterator[Listener]:
    """A listener that shows events on stderr until the block ends.

    Args:
        quiet: show warnings only.
        plot: folder of a training run whose curves a terminal shows too.
    """
    reporter: Reporter
    if quiet:
        reporter = Warnings(sys.stderr)
    elif is_terminal(sys.stderr):
        # Rich takes a tenth of a second to import: only those who see bars wait for it.
        from korformer.commands.bars import Bars

        reporter = Bars(sys.stderr, plot)
    else:
        reporter = Lines(sys.stderr)
    try:
        yield reporter
    finally:
        reporter.close()


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether lines of `stream` can be redrawn in place."""
    return stream is not None and not stream.closed and stream.isatty() and os.environ.get("TERM", "") != "dumb"


def printable(text: str, *, keep: str = "") -> str:
    """`text` with terminal escapes, line breaks, direction marks and lone surrogates spelt out, as `repr` does.

    Args:
        text: anything, from anywhere.
        keep: control characters to leave as they are, such as line feed.
    """
    return "".join(
        character if character in keep or _is_harmless(character) else _escaped(character) for character in text
    )


def _is_harmless(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def format_bytes(count: float) -> str:
    """A size in decimal units, such as `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.4g} TB"


def format_amount(count: float, unit: str) -> str:
    """`1,234 words`, or a size for bytes."""
    return format_bytes(count) if unit == "bytes" else f"{count:,.0f} {unit}"


def format_seconds(seconds: float) -> str:
    """A length of time as `0:03:12`, or `2 d 0:03:12`."""
    days, rest = divmod(round(max(0.0, min(seconds, 1e9))), 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


def format_figure(value: float) -> str:
    """A count whole, a measured number with four significant digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


class Stage:
    """One stage of work as it is seen from outside: its pace, and what was last shown of it."""

    def __init__(self, event: Progress) -> None:
        self.event = event
        self.started = time.monotonic()
        self.first = event.done
        self.shown_at = self.started
        self.shown = False
        self.elapsed = 0.0

    @property
    def finished(self) -> bool:
        return self.event.total is not None and self.event.done >= self.event.total

    @property
    def share(self) -> float | None:
        return min(1.0, self.event.done / self.event.total) if self.event.total else None

    @property
    def pace(self) -> float:
        """Units a second since the stage was first heard of."""
        return (self.event.done - self.first) / self.elapsed if self.elapsed > 0 else 0.0

    def take(self, event: Progress) -> None:
        self.event = event
        self.elapsed = time.monotonic() - self.started
        self.shown = False

    def amount(self) -> str:
        event = self.event
        if event.total is None or self.finished:
            return format_amount(event.done, event.unit)
        if event.unit == "bytes":
            return f"{format_bytes(event.done)}/{format_bytes(event.total)}"
        return f"{event.done:,}/{event.total:,} {event.unit}"

    def figures(self) -> str:
        """`12 MB/143 MB, 3.1 MB/s, 0:00:42 left`, what is known of it."""
        parts = [self.amount()]
        if self.pace > 0 and self.elapsed >= 1:
            # A slow pace needs decimals: 0 a second says nothing.
            slow = self.event.unit != "bytes" and self.pace < 10
            parts.append(
                f"{self.pace:.2g} {self.event.unit}/s" if slow else f"{format_amount(self.pace, self.event.unit)}/s"
            )
        if self.finished:
            parts.append(f"took {format_seconds(self.elapsed)}")
        elif self.event.total is not None and self.pace > 0:
            parts.append(f"{format_seconds((self.event.total - self.event.done) / self.pace)} left")
        return ", ".join(parts)

    def line(self) -> str:
        share = f" {self.share:.0%}," if self.share is not None and not self.finished else ""
        return f"{printable(self.event.stage)}:{share} {self.figures()}"


def step_figures(event: Step) -> str:
    parts = [
        f"loss {event.average_loss:.3f}",
        f"lr {event.learning_rate:.2e}",
        f"{event.tokens_per_second:,.0f} tokens/s",
        f"grad {event.gradient_norm:.2f}",
        format_bytes(event.memory_bytes),
    ]
    if event.gpu_utilisation is not None:
        parts.append(f"gpu {event.gpu_utilisation:.0%}")
    return "  ".join(parts)


def _step_line(event: Step) -> str:
    left = "" if event.step >= event.steps else f", {format_seconds(event.seconds_left)} left"
    return f"step {event.step:,}/{event.steps:,}: {step_figures(event).replace('  ', ', ')}{left}"


class Reporter(Protocol):
    def __call__(self, event: Event) -> None: ...
    def close(self) -> None: ...


class Warnings:
    """Shows warnings and nothing else."""

    def __init__(self, stream: IO[str] | None) -> None:
        self.stream = stream

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Notice) and event.level == "warning":
            self.write(f"warning: {printable(event.text)}")

    def write(self, line: str, style: str = "") -> None:
        """Put a line on stderr; `style` is for those who have colours."""
        if self.stream is not None:
            with suppress(OSError, ValueError):
                self.stream.write(f"{line}\n")
                self.stream.flush()

    def close(self) -> None:
        """The work is over."""


class Lines(Warnings):
    """A plain line every few seconds, and the last one of each stage."""

    def __init__(self, stream: IO[str] | None) -> None:
        super().__init__(stream)
        self.stages: dict[str, Stage] = {}
        self.step: Step | None = None
        self.step_shown_at = self.started = time.monotonic()
        self.step_shown = True

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case Progress():
                self.take_progress(event)
            case Step():
                self.take_step(event)
            case Validation():
                metrics = ", ".join(
                    f"{printable(name)} {format_figure(value)}" for name, value in event.metrics.items()
                )
                self.write(f"step {event.step:,}: validation {metrics}", "bold")
            case Sample():
                self.write_sample(event)
            case Saved():
                at = "" if event.step is None else f" (step {event.step:,})"
                self.write(f"saved {printable(str(event.path))}{at}", "green")
            case Notice(level="warning"):
                self.write(f"warning: {printable(event.text)}", "yellow")
            case Notice():
                self.write(printable(event.text))

    def take_progress(self, event: Progress) -> None:
        """Follow a stage; the same stage starting anew is another one."""
        stage = self.stages.get(event.stage)
        if stage is None or event.done < stage.event.done:
            stage = self.stages[event.stage] = Stage(event)
            self.begin_stage(stage)
        elif stage.finished:
            return
        stage.take(event)
        if stage.finished:
            self.end_stage(stage)
        else:
            self.show_stage(stage)

    def begin_stage(self, stage: Stage) -> None:
        """A stage was heard of for the first time."""

    def show_stage(self, stage: Stage) -> None:
        """A stage went on."""
        now = time.monotonic()
        if now - stage.shown_at >= self.interval(now):
            self.write_stage(stage)

    def end_stage(self, stage: Stage) -> None:
        """A stage reached its total. What runs inside training every few steps needs no line of its own."""
        if self.step is None:
            self.write_stage(stage)
        stage.shown = True

    def write_stage(self, stage: Stage) -> None:
        """The stage as a line that stays."""
        self.write(stage.line())
        stage.shown, stage.shown_at = True, time.monotonic()

    def take_step(self, event: Step) -> None:
        """Follow the training."""
        if self.step is None:
            self.leave_stages()
        first = self.step is None
        self.step, self.step_shown = event, False
        now = time.monotonic()
        if first or event.step >= event.steps or now - self.step_shown_at >= self.interval(now):
            self.write_step(event)

    def leave_stages(self) -> None:
        """Show how far the stages came that never said they were done, and forget them all."""
        for stage in self.stages.values():
            if not stage.shown:
                self.write_stage(stage)
        self.stages.clear()

    def write_step(self, event: Step) -> None:
        """The training as a line that stays."""
        self.write(_step_line(event))
        self.step_shown, self.step_shown_at = True, time.monotonic()

    def write_sample(self, event: Sample) -> None:
        """A text of the model, each of its lines marked so that it is not taken for a message."""
        self.write(f"step {event.step:,}: a sample", "bold")
        for line in printable(event.prompt + event.text, keep="\n").split("\n"):
            self.write(f"  | {line}")

    def interval(self, now: float) -> float:
        """Seconds between two lines: five at first, a minute in runs of many hours."""
        shortest, longest = _PLAIN_SECONDS
        return min(longest, max(shortest, (now - self.started) / 20))

    def close(self) -> None:
        """Show where everything stands that has not been shown."""
        self.leave_stages()
        if self.step is not None and not self.step_shown:
            self.write_step(self.step)
