"""Runs while they go on: redrawn in place on a terminal, a line for each piece of news elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live

from korformer.commands.console import is_terminal, printable
from korformer.commands.curves import Axis, picture, shows_dots
from korformer.commands.listing import short_count, table, write_json_line
from korformer.training.runs import Run

LOOK_SECONDS = 1.0
LINE_SECONDS = 5.0


def follow_runs(runs: Sequence[Run], *, plot: bool, metric: str | None, by: Axis, as_json: bool) -> None:
    """Show the runs until none of them is running.

    Args:
        runs: which.
        plot: draw their curves.
        metric, by: of the curves, see `picture`.
        as_json: a JSON object for each run whenever something changed.
    """
    if as_json or not is_terminal(sys.stdout):
        _as_lines(runs, as_json, metric if plot else None)
        return
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False)
    with Live(_screen(runs, console, plot, metric, by), console=console, auto_refresh=False) as live:
        while _look(runs):
            live.update(_screen(runs, console, plot, metric, by), refresh=True)
            time.sleep(LOOK_SECONDS)
        live.update(_screen(runs, console, plot, metric, by), refresh=True)


def _look(runs: Sequence[Run]) -> bool:
    """Look again at each; whether one is running."""
    for run in runs:
        run.refresh()
    return any(run.state == "running" for run in runs)


def _screen(runs: Sequence[Run], console: Console, plot: bool, metric: str | None, by: Axis) -> Group:
    """What fits: the newest runs in the table, and their curves below."""
    columns, height = console.size
    rows = height - 1
    most = max(1, rows // 2 - 2) if plot else max(1, rows - 1)
    shown = runs[-most:]
    lines = table(shown, columns)
    if plot:
        room = rows - len(lines) - 1
        if room >= 6:
            lines = [*picture(shown, metric, by, columns=columns, rows=room, plain=not shows_dots()), *lines]
    for line in lines:
        line.no_wrap, line.overflow = True, "crop"
    return Group(*lines)


def _as_lines(runs: Sequence[Run], as_json: bool, curve: str | None) -> None:
    told: dict[int, tuple[int, str]] = {}
    going_on = True
    while going_on:
        going_on = _look(runs)
        for number, run in enumerate(runs):
            now = (run.history.step, run.state)
            if told.get(number) == now:
                continue
            told[number] = now
            if as_json:
                write_json_line(run, curve)
            else:
                print(_line(run), flush=True)
        if going_on:
            time.sleep(LOOK_SECONDS if as_json else LINE_SECONDS)


def _line(run: Run) -> str:
    history = run.history
    loss = history.average_loss.last
    parts = [f"step {history.step:,}/{run.steps:,}"]
    if loss is not None:
        parts.append(f"loss {loss:.3f}")
    if history.headline is not None:
        parts.append(f"{printable(history.headline.name)} {history.headline.latest:.4g}")
    if history.tokens_per_second is not None:
        parts.append(f"{short_count(history.tokens_per_second)} tokens/s")
    return f"{printable(run.name)}: {', '.join([*parts, run.state])}"
