"""Settings: frozen, typed, read from TOML and `--set`, with every problem told at once.

Each component keeps its own `Settings` class beside itself; this room only knows how to read, merge, check and
print them. A docstring under a field is its documentation.
"""

from __future__ import annotations

import difflib
import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import tomlkit
from pydantic import BaseModel, ConfigDict, ValidationError

from korformer.errors import PathError, UsageError


class Settings(BaseModel):
    """Base of every settings class: keyword-only, frozen, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, protected_namespaces=()
    )
    refused: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Keys that someone may well expect here, each with the reason why there is none and what to use instead."""


SettingsT = TypeVar("SettingsT", bound=Settings)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into plain dictionaries.

    Raises:
        PathError: the file is missing or unreadable.
        UsageError: it is not TOML; the message has line and column.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PathError(f"cannot read the configuration ({error.strerror})", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"not UTF-8 at byte {error.start}", where=str(path), hint="Save it as UTF-8.") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"not valid TOML: {error}", where=str(path)) from error


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn `section.key=value` strings into nested dictionaries; a value is TOML where it can be, else a string.

    Raises:
        UsageError: one or more lack an `=` or a key; all of them are named.
    """
    values: dict[str, Any] = {}
    problems = []
    for assignment in assignments:
        dotted, equals, raw = assignment.partition("=")
        keys = [key.strip() for key in dotted.split(".")]
        if not equals or not all(keys):
            problems.append(assignment)
            continue
        try:
            value = tomllib.loads(f"value = {raw.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            value = raw.strip()
        nested: dict[str, Any] = {}
        nested[keys[-1]] = value
        for key in reversed(keys[:-1]):
            nested = {key: nested}
        values = merge(values, nested)
    if problems:
        raise UsageError(
            "not an assignment: " + ", ".join(repr(problem) for problem in problems),
            where="--set",
            hint="Write it as section.key=value, for example model.depth=4.",
        )
    return values


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` laid on top, sections merged key by key. Neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The known name that `name` most likely meant, or None."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)), None)


def build(kind: type[SettingsT], values: Mapping[str, Any], *, where: str = "configuration") -> SettingsT:
    """Make a `kind` of settings, or tell every problem in one message.

    Raises:
        UsageError: unknown keys (each with the nearest known one) and illegal values, all at once.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        problems = [_explain(kind, dict(problem)) for problem in error.errors(include_url=False)]
        problems += [problem for problem in _hidden_behind(error, kind, values) if problem not in problems]
        raise UsageError("; ".join(problems), where=where) from error


def _hidden_behind(error: ValidationError, kind: type[Settings], values: Mapping[str, Any]) -> list[str]:
    """What does not go together among the other values: pydantic asks that only once every value is legal by itself.

    Defaults stand in for what is wrong; what comes of those, which a message tells by naming them, is not told.
    """
    remaining, replaced = _plain(values), set()
    for problem in error.errors(include_url=False):
        path = list(itertools.takewhile(lambda part: isinstance(part, str), problem["loc"]))
        section: Any = remaining
        for part in path[:-1]:
            section = section.get(part) if isinstance(section, dict) else None
        wrong = section.pop(path[-1], None) if path and isinstance(section, dict) else None
        replaced |= {*path[-1:], *(wrong if isinstance(wrong, dict) else ())}
    try:
        kind.model_validate(remaining)
    except ValidationError as hidden:
        found = [_explain(kind, dict(problem)) for problem in hidden.errors(include_url=False)]
        return [problem for problem in found if not replaced & set(re.findall(r"\w+", problem))]
    return []


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sections as dictionaries of their own."""
    return {key: _plain(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def _explain(kind: type[Settings], problem: Mapping[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    dotted = ".".join(location)
    if problem["type"] == "extra_forbidden":
        section = _section_at(kind, location[:-1])
        known = list(section.model_fields) if section else []
        reason = section.refused.get(location[-1]) if section is not None and issubclass(section, Settings) else None
        if reason is not None:
            return f"{dotted}: {reason}"
        guess = nearest(location[-1], known)
        prefix = ".".join(location[:-1])
        if guess is None:
            return f"unknown key {dotted} (known: {', '.join(known)})"
        return f"unknown key {dotted} (did you mean {prefix + '.' if prefix else ''}{guess}?)"
    message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if not dotted:
        return message
    given = problem.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{dotted}: {message[:1].lower() + message[1:]}{shown}"


def _section_at(kind: type[BaseModel], location: Iterable[str]) -> type[BaseModel] | None:
    for part in location:
        inner = kind.model_fields[part].annotation if part in kind.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return None
        kind = inner
    return kind


def to_toml(settings: Settings) -> str:
    """The settings, fully resolved, as TOML, each field below its documentation; a comment where it has no value."""
    document = tomlkit.document()
    _write_table(settings, document)
    return tomlkit.dumps(document)


def _write_table(settings: Settings, table: Any) -> None:
    sections = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            sections.append((name, value))
            continue
        if field.description:
            for line in field.description.strip().splitlines():
                table.add(tomlkit.comment(line.strip()))
        if value is None:
            table.add(tomlkit.comment(f"{name} ="))
            continue
        table.add(name, tomlkit.item(settings.model_dump(mode="json", include={name})[name]))
    for name, value in sections:
        inner = tomlkit.table()
        _write_table(value, inner)
        table.add(name, inner)
