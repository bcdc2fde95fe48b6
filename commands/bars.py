"""Progress as bars on a terminal, drawn with Rich.

The bars are plain ASCII: box and block characters are two cells wide in many Korean terminals, which breaks lines of
80 columns.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from korformer.commands.console import Lines, Stage, format_seconds, printable, step_figures
from korformer.errors import KorformerError
from korformer.events import Step

LARGEST_PICTURE_ROWS = 24
SMALLEST_PICTURE_ROWS = 8
SMALLEST_PICTURE_COLUMNS = 40
BAR_CELLS = 22
"""Cells of a bar between its brackets: a line of figures beside it still fits in 80 columns."""


class Bars(Lines):
    """Bars redrawn in place under the lines that stay.

    Args:
        stream: the terminal.
        run: folder of a training run whose curves are drawn above the bars; None for none.
    """

    def __init__(self, stream: IO[str], run: Path | None = None) -> None:
        super().__init__(stream)
        self.curves = Curves(run) if run is not None else None
        self.active: list[Stage] = []
        self.console = Console(
            file=cast(IO[str], _Unbreakable(stream)), markup=False, highlight=False, emoji=False, force_terminal=True
        )
        # stdout is data: Rich must not take it over, and what others say on stderr goes above the bars.
        self.live = Live(
            console=self.console,
            get_renderable=self.draw,
            refresh_per_second=5,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=True,
        )

    def write(self, line: str, style: str = "") -> None:
        """Put a line above the bars."""
        self.console.print(Text(line, style), soft_wrap=True)

    def begin_stage(self, stage: Stage) -> None:
        """Give it a bar, in place of an unfinished one of the same name."""
        self.active = [other for other in self.active if other.event.stage != stage.event.stage] + [stage]
        self.live.start()

    def show_stage(self, stage: Stage) -> None:
        """The bar is redrawn by itself."""

    def end_stage(self, stage: Stage) -> None:
        """The bar gives way to a line that stays."""
        self.active = [other for other in self.active if other is not stage]
        super().end_stage(stage)

    def take_step(self, event: Step) -> None:
        """Follow the training."""
        if self.step is None:
            self.active = []
            self.leave_stages()
        self.step, self.step_shown = event, False
        self.live.start()
        if event.step >= event.steps:
            self.write_step(event)

    def draw(self) -> Text:
        """Everything that goes on now, at most two lines each."""
        drawing = Text(no_wrap=True, overflow="ellipsis", end="")
        lines = [_bar_line(printable(stage.event.stage), stage.share, stage.figures()) for stage in list(self.active)]
        if self.step is not None:
            step = self.step
            share = step.step / step.steps if step.steps else None
            lines.append(
                _bar_line(f"step {step.step:,}/{step.steps:,}", share, f"{format_seconds(step.seconds_left)} left")
            )
            lines.append(Text("  " + step_figures(step)))
        if self.curves is not None and self.step is not None:
            lines = [*self.curves.draw(self.console, room=len(lines) + 1), *lines]
        for index, line in enumerate(lines):
            drawing.append("\n" if index else "")
            drawing.append_text(line)
        return drawing

    def close(self) -> None:
        """Take the bars away and leave how far each one came."""
        self.live.stop()
        if self.curves is not None and self.step is not None:
            for line in self.curves.draw(self.console, room=2):
                self.console.print(line, no_wrap=True, overflow="crop")
        super().close()


class Curves:
    """The curves of a run in training, read from its metrics file: a run that goes on shows what it did before."""

    def __init__(self, run: Path) -> None:
        from korformer.training.runs import Run

        self.run = Run.at(run)

    def draw(self, console: Console, room: int) -> list[Text]:
        """As much of a picture as the terminal has room for beside `room` lines; nothing where that is too little."""
        from korformer.commands.curves import picture, shows_dots

        columns, height = console.size
        rows = min(height - room - 1, LARGEST_PICTURE_ROWS)
        if rows < SMALLEST_PICTURE_ROWS or columns < SMALLEST_PICTURE_COLUMNS:
            return []
        with suppress(KorformerError):
            self.run.refresh()
        lines = picture([self.run], None, "step", columns=columns - 1, rows=rows, plain=not shows_dots())
        return [*lines, Text()]


def _bar_line(name: str, share: float | None, figures: str) -> Text:
    line = Text(f"{name} [")
    if share is None:
        # Nobody knows how much there is: a mark that wanders shows that it goes on.
        place = int(time.monotonic() * 8) % (2 * (BAR_CELLS - 3))
        place = min(place, 2 * (BAR_CELLS - 3) - place)
        line.append(" " * place + "<=>" + " " * (BAR_CELLS - 3 - place), "cyan")
        return line.append(f"]  {figures}")
    filled = int(share * BAR_CELLS)
    line.append("=" * filled, "green")
    line.append(" " * (BAR_CELLS - filled))
    return line.append(f"] {share:>4.0%}  {figures}")


class _Unbreakable:
    """A text stream whose faults are nobody's concern: what Rich writes to when stderr may go away."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self.stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)
