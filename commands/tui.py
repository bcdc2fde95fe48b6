"""`korformer tui`: the writing page. It needs a terminal; what is written is kept as it is written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from korformer.commands import options
from korformer.commands.console import is_terminal
from korformer.errors import UsageError


def command(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A text file, which need not exist yet, or a session. Without it the text that was written last is "
            "there again.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "-m", "--model", help="Model directory; by default the one this text was written with, or what ships."
        ),
    ] = None,
    hashes: options.Hashes = None,
    weights: options.Weights = "fp32",
    device: options.Device = "auto",
) -> None:
    """Write with a model at hand. F5 writes on, Esc stops, F1 shows every key.

    Everything is saved as it is written, every version of it; leave at any time.
    """
    if str(file) == "-" or not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        raise UsageError(
            "needs a terminal for its input and output", where="tui", hint="Without one, use korformer generate."
        )
    from korformer.commands import checkpoint

    precision = options.check_weights(weights)
    chosen = None if model is None else checkpoint.resolve(model)
    from korformer.tui.launch import run
    from korformer.tui.opening import Opening

    opening = Opening(weights=precision, device=device)
    signal_number = run(file, model=chosen, shipped=checkpoint.shipped(), opening=opening, hashes=hashes)
    if signal_number is not None:
        raise typer.Exit(128 + signal_number)
