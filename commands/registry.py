"""Which subcommands there are. `korformer.commands.NAME` holds each: its function `command` has the command line.

A command's module is imported when it is called and not before: `korformer --help` must not wait for any of them.
"""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.main import get_command

COMMANDS = {
    "corpus": "Turn raw Korean sources into documents: one clean corpus file.",
    "vocab": "Build a WordPiece vocabulary from a corpus.",
    "pretrain": "Train a model from a vocabulary and a corpus.",
    "generate": "Write on from a prompt.",
    "eval": "Measure a model on text that it has not seen.",
    "doctor": "Show what a bug report needs, and what is wrong here.",
}
"""Name and one line of help, in the order of work, as `korformer --help` lists them."""


def load(name: str) -> Any:
    """The command `name`, ready to parse and run: a Typer command of a name from `COMMANDS`."""
    module = importlib.import_module(f"korformer.commands.{name}")
    program = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    program.command(name=name, context_settings={"help_option_names": ["-h", "--help"]})(module.command)
    return get_command(program)
