"""Labelled data as it lies in files: lines with their place, and everything that is wrong with them told at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from korformer.errors import InputError
from korformer.text.compression import compression_of
from korformer.text.files import expand, open_input
from korformer.text.reading import TextReader

MOST_SHOWN = 20
"""Bad places that a message names; the others are counted."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where something stands in the data.

    Attributes:
        file: as the person called it.
        line: from 1, or None where lines say nothing (JSON over many lines).
        entry: a name inside the file, such as a question's id.
    """

    file: str
    line: int | None = None
    entry: str | None = None

    def __str__(self) -> str:
        parts = [self.file]
        if self.line is not None:
            parts.append(f"line {self.line:,}")
        if self.entry is not None:
            parts.append(self.entry)
        return ", ".join(parts)


class DataError(InputError):
    """Examples that cannot be used.

    Args:
        problems: place and fault of each, in the order of the data.
        hint: what to do next.

    Attributes:
        problems: the same, all of them.
    """

    def __init__(self, problems: Sequence[tuple[Place, str]], *, hint: str) -> None:
        shown = [f"{place}: {what}" for place, what in problems[:MOST_SHOWN]]
        more = len(problems) - len(shown)
        if len(problems) == 1:
            super().__init__(problems[0][1], where=str(problems[0][0]), hint=hint)
        else:
            lines = [f"{len(problems):,} bad places:", *shown, *([f"and {more:,} more"] if more else [])]
            super().__init__("\n  ".join(lines), hint=hint)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        """The message; the hint on a line of its own below a list."""
        return super().__str__() if len(self.problems) == 1 else f"{self.what}\n{self.hint}"


class Problems:
    """Collects what is wrong, so that a person mends all of it at once."""

    def __init__(self) -> None:
        self.found: list[tuple[Place, str]] = []

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, place: Place, what: str) -> None:
        """One more: where, and what is wrong, without a full stop."""
        self.found.append((place, what))

    def refuse(self, hint: str = "Mend the data; nothing was done with it.") -> None:
        """Stop if there were any.

        Raises:
            DataError: with all of them.
        """
        if self.found:
            raise DataError(self.found, hint=hint)


def read_lines(sources: Sequence[str]) -> Iterator[tuple[Place, str]]:
    """Every line of some files with its place; compressed or not, `-` for standard input.

    Raises:
        PathError: a file is missing or unreadable.
        InputError: it is not UTF-8, told with the byte.
    """
    for file in expand(sources):
        with open_input(file) as stream:
            for number, line in TextReader(stream).lines():
                yield Place(file=file.name, line=number), line


def arriving_lines(sources: Sequence[str]) -> Iterator[tuple[Place, str]]:
    """The same, but a line of a plain standard input is handed out as soon as it comes, for answers as one writes."""
    for source in sources:
        buffer = sys.stdin.buffer if source == "-" and sys.stdin is not None and not sys.stdin.closed else None
        if buffer is None or not hasattr(buffer, "peek") or compression_of(buffer.peek(64)) is not None:
            yield from read_lines([source])
            continue
        offset = 0
        for number, raw in enumerate(buffer, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"not UTF-8 at byte {offset + error.start:,}",
                    where=f"<stdin>, line {number:,}",
                    hint="Convert it with `iconv` if it is in another encoding.",
                ) from error
            offset += len(raw)
            yield Place(file="<stdin>", line=number), line.rstrip("\r\n")


def parse_record(place: Place, line: str, problems: Problems) -> dict[str, Any] | None:
    """The JSON object of a line; None where it is none, which is noted."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        problems.add(place, f"not JSON ({getattr(error, 'msg', 'too deep')})")
        return None
    if not isinstance(value, dict):
        problems.add(place, "not a JSON object")
        return None
    return value


def text_field(place: Place, record: dict[str, Any], name: str, problems: Problems) -> str | None:
    """A field that must be text with something in it; None where it is not, which is noted."""
    value = record.get(name)
    if not isinstance(value, str):
        problems.add(place, f'lacks "{name}"' if name not in record else f'"{name}" is not text')
        return None
    fault = text_fault(value)
    if fault:
        problems.add(place, f'"{name}" {fault}')
        return None
    return value


def text_fault(text: str) -> str | None:
    """What makes a text unusable, as the rest of a sentence; None where nothing does."""
    if not text.strip():
        return "is empty"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "has half of a surrogate pair"
    return None


def read_prediction_records(source: str) -> dict[str, Any]:
    """What a file of predictions says of each id: one JSON object by id, or JSON lines that each have an "id".

    An id that comes twice counts as it comes last, as Python's `json` has it for keys.

    Raises:
        PathError: it is missing or unreadable.
        DataError, InputError: it is neither, or not text.
    """
    text = read_whole(source)
    place = Place(file=source)
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise InputError("not JSON: nested too deep", where=source) from error
    except ValueError as error:
        records = _records_by_id(source, text)
        if records is not None:
            return records
        line = getattr(error, "lineno", None)
        what = getattr(error, "msg", "a number beyond measure")
        raise InputError(f"not JSON: {what[:1].lower()}{what[1:]}", where=str(Place(file=source, line=line))) from error
    if isinstance(value, dict):
        # A file of a single JSON line is an object too.
        one_line = isinstance(value.get("id"), str | int) and not all(
            isinstance(inner, str) for inner in value.values()
        )
        return {str(value["id"]): value} if one_line else value
    raise InputError("no predictions: neither a JSON object by id nor JSON lines with ids", where=str(place))


def _records_by_id(source: str, text: str) -> dict[str, Any] | None:
    """The records of JSON lines by id; None where it is something else."""
    problems = Problems()
    records: dict[str, Any] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = Place(file=source, line=number)
        record = parse_record(place, line, problems)
        if record is not None and not isinstance(record.get("id"), str | int):
            problems.add(place, 'lacks "id"')
        elif record is not None:
            records[str(record["id"])] = record
    if not records and all(what.startswith("not JSON") for _, what in problems.found):
        return None
    problems.refuse("Mend the file; nothing was scored.")
    return records


def read_whole(source: str) -> str:
    """The text of one source, decompressed.

    Raises:
        PathError: it is missing or unreadable. InputError: it is not UTF-8, or several files.
    """
    files = expand([source])
    if len(files) != 1:
        raise InputError("is several files; one is needed", where=source)
    with open_input(files[0]) as stream:
        return "".join(TextReader(stream).chunks())
