"""The kinds of raw text that korformer reads: one module a kind, found by its presence in this package.

A module has `KIND = SourceKind(...)` of its own name. To add a kind, add a module here and a test of it; nothing else
knows the names.
"""

from __future__ import annotations

import functools
import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from korformer.config import nearest
from korformer.errors import UsageError
from korformer.text.reading import TextReader

AUTO = "auto"
"""The format that stands for looking at each file."""


class Likeness(IntEnum):
    """How much the beginning of a file looks like a kind; the greatest wins."""

    NONE = 0
    ANYTHING = 1
    """The kind takes any text, so any other that recognises it knows better."""
    GENERAL = 2
    """The layout fits, but a more special kind may have the same one."""
    SPECIFIC = 3


@dataclass(frozen=True, kw_only=True)
class SourceKind:
    """One layout of raw text.

    Attributes:
        name: as `--from` takes it.
        description: a few words for people.
        recognise: tells from the first characters of a file (`TextReader.head`) how much it looks like this kind.
        read: gives the documents of a file. Text comes out as it is: normal form, damage, duplicates and empty
            documents are seen to by `Documents`. Raises InputError with file and line for what is malformed.
    """

    name: str
    description: str
    recognise: Callable[[str], Likeness]
    read: Callable[[TextReader], Iterator[str]]


@functools.cache
def kinds() -> dict[str, SourceKind]:
    """Every kind by its name, in order of names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found: dict[str, SourceKind] = {name: importlib.import_module(f"{__name__}.{name}").KIND for name in names}
    for name, kind in found.items():
        assert kind.name == name, f"{name}.py holds the kind {kind.name!r}: one is to be renamed"
    return found


def kind_named(name: str) -> SourceKind:
    """The kind called `name`.

    Raises:
        UsageError: there is none; the message has those there are and the nearest.
    """
    known = kinds()
    if name in known:
        return known[name]
    guess = nearest(name, [*known, AUTO])
    raise UsageError(
        f"unknown kind of source {name!r}" + (f" (did you mean {guess}?)" if guess else ""),
        where="--from",
        hint=f"Known kinds: {', '.join([AUTO, *known])}.",
    )


def detect(reader: TextReader) -> SourceKind:
    """The kind that the beginning of a file looks most like.

    Raises:
        InputError: it is JSON or XML of a layout that no kind knows, which is nothing to train on as it stands.
    """
    head = reader.head()
    likeness = {kind.name: kind.recognise(head) for kind in kinds().values()}
    best = max(likeness, key=lambda name: likeness[name])
    if likeness[best] <= Likeness.ANYTHING:
        foreign = _foreign(head)
        if foreign:
            reader.fail(
                f"{foreign} of a layout that is not known here",
                hint='Make JSON lines with a "text" of it, or name its kind with --from '
                f"({', '.join(kinds())}; text takes it as it stands).",
            )
    return kinds()[best]


def _foreign(head: str) -> str | None:
    if re.match(r'\s*(\[\s*)?\{\s*("|\})', head):
        return "JSON"
    if re.match(r"\s*<(\?xml|!doctype html|html)\b", head, re.IGNORECASE):
        return "XML or HTML"
    return None


@functools.lru_cache(maxsize=1)  # several kinds look at the same head
def leading_members(head: str) -> Mapping[str, object]:
    """The first members of the JSON object that `head` begins with, as many as are complete in it."""
    decoder = json.JSONDecoder()
    members: dict[str, object] = {}
    opening = re.match(r"\s*\{", head)
    at = opening.end() if opening else len(head)
    key = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*:\s*')
    while found := key.match(head, at):
        try:
            members[found[1]], at = decoder.raw_decode(head, found.end())
        except (ValueError, RecursionError):
            members[found[1]] = None
            break
        comma = re.compile(r"\s*,").match(head, at)
        if not comma:
            break
        at = comma.end()
    return members
