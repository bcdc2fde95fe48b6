"""`korformer runs`: which runs there are, how far they are and how they do; their curves; following one."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from korformer.errors import PathError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from korformer.training.runs import Run

CHECKPOINTS = Path("checkpoints")
_PICTURE_ROWS = 18
_WIDEST_PICTURE = 180


class Over(StrEnum):
    """What curves are drawn over."""

    step = "step"
    tokens = "tokens"


def command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DIR]...", help="Runs, or folders that hold some [default: checkpoints]."),
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw their curves together.")] = False,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Curve to draw: loss, or a validation figure such as perplexity."),
    ] = None,
    over: Annotated[Over, typer.Option(help="What curves are drawn over.")] = Over.step,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing them until none is running.")] = False,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the curves as a picture, FILE.png or FILE.svg.")
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write every curve for TensorBoard, a folder a run in DIR.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a run and line; with --plot the curve is in it.")
    ] = False,
) -> None:
    """List training runs: how far they are, how they do, and whether they are running."""
    from korformer.training.runs import find_runs

    places = [_place(path) for path in paths or []] or ([CHECKPOINTS] if CHECKPOINTS.is_dir() else [])
    runs = find_runs(places)
    if not runs:
        where = ", ".join(map(str, places)) or str(CHECKPOINTS)
        print(f"no runs in {where}; `korformer pretrain` makes one", file=sys.stderr)
        return
    if metric is not None:
        _require_curve(runs, metric)
    if export is not None:
        from korformer.commands.exporting import write_picture

        write_picture(export, runs, metric or "loss", over.value)
        print(export)
    if tensorboard is not None:
        from korformer.commands.exporting import write_events

        for run in runs:
            print(write_events(tensorboard, run))
    if export is not None or tensorboard is not None:
        return
    if follow:
        from korformer.commands.following import follow_runs

        follow_runs(runs, plot=plot, metric=metric, by=over.value, as_json=as_json)
    elif as_json:
        from korformer.commands.listing import write_json_line

        for run in runs:
            write_json_line(run, (metric or "loss") if plot else None)
    else:
        _print(runs, plot, metric, over)


def _place(name: str) -> Path:
    """A run by its path, or by its name under checkpoints."""
    path = Path(name)
    if path.exists():
        return path
    if not path.is_absolute() and (CHECKPOINTS / path).is_dir():
        return CHECKPOINTS / path
    from korformer.config import nearest

    known = [folder.name for folder in CHECKPOINTS.iterdir()] if CHECKPOINTS.is_dir() else []
    guess = nearest(name, known)
    raise PathError("no such run", where=name, hint=f"Did you mean {guess}?" if guess else None)


def _require_curve(runs: Sequence[Run], metric: str) -> None:
    known = list(dict.fromkeys(["loss", *(name for run in runs for name in run.history.figures)]))
    if metric not in known:
        hint = f"There are: {', '.join(known)}."
        raise UsageError(f"no run here has a curve {metric!r}", where="--metric", hint=hint)


def _print(runs: Sequence[Run], plot: bool, metric: str | None, over: Over) -> None:
    from rich.console import Console

    from korformer.commands.console import is_terminal
    from korformer.commands.curves import picture, shows_dots
    from korformer.commands.listing import table

    screen = is_terminal(sys.stdout)
    columns = shutil.get_terminal_size((100, 24)).columns
    lines = table(runs, columns)
    if plot:
        width = min(columns, _WIDEST_PICTURE)
        plain = not screen or not shows_dots()
        lines += picture(runs, metric, over.value, columns=width, rows=_PICTURE_ROWS, plain=plain)
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False)
    for line in lines:
        if screen:
            console.print(line, no_wrap=True, overflow="crop", crop=True)
        else:
            print(line.plain)
