"""Options that take several files: `--corpus a.txt b.txt` is `--corpus a.txt --corpus b.txt`, for `*` of a shell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand


class ListCommand(TyperCommand):
    """A command in which an option that may be repeated and whose metavar ends in `...` takes all words after it, up to
    the next option.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the line with every word behind its own option."""
        takes_several = {
            name
            for parameter in self.params
            if getattr(parameter, "multiple", False) and str(parameter.metavar or "").endswith("...")
            for name in parameter.opts
        }
        return super().parse_args(ctx, spread(args, takes_several))


def spread(words: Sequence[str], takes_several: set[str]) -> list[str]:
    """Repeat an option before every word that belongs to it.

    Args:
        words: a command line, without the command.
        takes_several: options that take all words up to the next option; `-` alone is a word.
    """
    line: list[str] = []
    option, has_value = None, False
    for place, word in enumerate(words):
        if word == "--":
            return [*line, *words[place:]]
        name, equals, _ = word.partition("=")
        if word.startswith("-") and word != "-":
            option, has_value = (name if name in takes_several else None), bool(equals)
        elif option is not None:
            if has_value:
                line.append(option)
            has_value = True
        line.append(word)
    return line
