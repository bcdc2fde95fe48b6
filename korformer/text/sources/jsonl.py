"""JSON lines: an object a line, its "text" a document, taken as it is with every blank line in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from korformer.text.reading import TextReader
from korformer.text.sources import Likeness, SourceKind, leading_members


def objects(reader: TextReader) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each line that is not blank.

    Raises:
        InputError: a line that is not a JSON object; file and line are told (left out with `errors="skip"`).
    """
    for number, line in reader.lines():
        if not line or line.isspace():
            continue
        if "\\u" in line:
            reader.damaged = True  # an escape may be half of a surrogate pair, or NUL
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            what = error.msg.removesuffix(" starting at")
            reader.reject(f"malformed JSON at character {error.colno:,}: {what}", line=number)
            continue
        except ValueError as error:  # a number of more digits than Python reads
            reader.reject(f"malformed JSON: {error}", line=number)
            continue
        except RecursionError:
            reader.reject("malformed JSON: nested too deeply", line=number)
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            reader.reject("not a JSON object", line=number)


def _recognise(head: str) -> Likeness:
    return Likeness.GENERAL if "text" in leading_members(head) else Likeness.NONE


def _read(reader: TextReader) -> Iterator[str]:
    for number, value in objects(reader):
        text = value.get("text")
        if isinstance(text, str):
            yield text
        else:
            keys = ", ".join(sorted(value)[:8]) or "none"
            reader.reject(f'an object without a "text" string (its keys: {keys})', line=number)


KIND = SourceKind(name="jsonl", description='JSON lines {"text": …}', recognise=_recognise, read=_read)
