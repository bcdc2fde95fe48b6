"""kowikitext and namuwikitext, and WikiText in general: a document is a page, ` = 제목 =` alone on a line begins it.

     = 제목 =

     = = 갈래 = =

    본문 …

A document keeps title, headings and lines, without the signs of equality and without blank lines. A few pages of
NamuWiki use the title's level for their sections; each of these becomes a document, as nothing tells them apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from korformer.text.reading import TextReader
from korformer.text.sources import Likeness, SourceKind

_TITLE = r" = (?!=)\S.* =[^\S\n]*"
_BEFORE_TITLE = re.compile(rf"\n(?={_TITLE}\n)")
_HEADING = re.compile(r" ?=(?: =)*\s*(.+?)\s*=(?: =)*")


def _recognise(head: str) -> Likeness:
    if not re.match(rf"\s*?\n?{_TITLE}\n", head):
        return Likeness.NONE
    return Likeness.SPECIFIC if re.search(r"^ = = .* = =\s*$", head, re.MULTILINE) else Likeness.GENERAL


def _read(reader: TextReader) -> Iterator[str]:
    for page in reader.segments(_BEFORE_TITLE):
        lines = (line.rstrip() for line in page.split("\n"))
        text = [_without_signs(line) for line in lines if line]
        if text:
            yield "\n".join(text) if len(text) > 1 else ""


def _without_signs(line: str) -> str:
    if line.startswith((" =", "=")) and line.endswith("="):
        heading = _HEADING.fullmatch(line)
        return heading[1] if heading else line
    return line


KIND = SourceKind(name="wikitext", description="kowikitext or namuwikitext text", recognise=_recognise, read=_read)
