"""Which subcommands there are. `korformer.commands.NAME` holds each: its function `command` has the command line, or
its `COMMANDS` has several under names of their own. A name that Python keeps for itself has an underscore behind it.

A command's module is imported when it is called and not before: `korformer --help` must not wait for any of them.
"""

from __future__ import annotations

import importlib
import keyword
from typing import Any

import typer
from typer.main import get_command

from korformer.commands.lists import ListCommand

COMMANDS = {
    "corpus": "Turn raw Korean sources into documents: one clean corpus file.",
    "vocab": "Build a WordPiece vocabulary from a corpus.",
    "pretrain": "Train a model from a vocabulary and a corpus.",
    "runs": "List training runs, draw their curves, follow one.",
    "finetune": "Learn a task, or one's own text, from examples.",
    "generate": "Write on from a prompt.",
    "tui": "Write with a model at hand, on one screen.",
    "eval": "Measure a model on text that it has not seen.",
    "predict": "Answer one's own text with a fine-tuned model, as JSON lines.",
    "models": "List models, show one, check one, copy one for others.",
    "import": "Read a checkpoint of an older project on reformer-pytorch.",
    "doctor": "Show what a bug report needs, and what is wrong here.",
}
"""Name and one line of help, in the order of work, as `korformer --help` lists them."""


def module_of(name: str) -> str:
    """Full name of the module that holds a command."""
    return f"korformer.commands.{name}_" if keyword.iskeyword(name) else f"korformer.commands.{name}"


def load(name: str) -> Any:
    """The command `name`, ready to parse and run: a Typer command of a name from `COMMANDS`."""
    module = importlib.import_module(module_of(name))
    program = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    settings = {"help_option_names": ["-h", "--help"]}
    if not hasattr(module, "COMMANDS"):
        program.command(name=name, cls=ListCommand, context_settings=settings)(module.command)
        return get_command(program)
    for own, function in module.COMMANDS.items():
        program.command(name=own, cls=ListCommand, context_settings=settings)(function)
    program.callback(help=COMMANDS[name], context_settings=settings)(lambda: None)
    return get_command(program)
