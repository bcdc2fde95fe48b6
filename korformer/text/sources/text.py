"""Plain text. In the block format a document is a block of lines and a blank line ends it; a file may also be one.

A line of white space counts as blank. A whole file keeps its blank lines; only the line break at its end is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from korformer.text.reading import TextReader
from korformer.text.sources import Likeness, SourceKind

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
_LEADING_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)+")
_END = re.compile(r"(?:^|\n)[^\S\n]*\Z")
_NOTHING = re.compile(r"(?!)")


def _recognise(head: str) -> Likeness:
    return Likeness.ANYTHING


def _read(reader: TextReader) -> Iterator[str]:
    if reader.document == "file":
        yield from _whole(reader)
        return
    for block in reader.segments(_BLANK_LINES):
        leading = _LEADING_BLANK_LINES.match(block)
        text = block[leading.end() :] if leading else block
        if text[-1:].isspace():
            # The end of the file: what comes after its last line break may be blank too.
            text = _END.sub("", text)
        if text:
            yield text


def _whole(reader: TextReader) -> Iterator[str]:
    before = None
    for piece in reader.segments(_NOTHING):
        if before is not None:
            yield before
        before = piece
    if before is not None:
        yield before.removesuffix("\n")


KIND = SourceKind(name="text", description="plain text, a blank line ends a document", recognise=_recognise, read=_read)
