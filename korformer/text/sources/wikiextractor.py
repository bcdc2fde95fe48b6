"""What WikiExtractor makes of a Wikipedia dump: `<doc …>` … `</doc>`, or JSON lines with `--json`.

    <doc id="1" url="https://…" title="제목">          {"id": "1", "revid": "2", "url": "https://…",
    제목                                                "title": "제목", "text": "본문 …"}

    본문 …

    </doc>

A document is the title and the lines of the text, without blank lines. Pages of which only the title is left are empty.
WikiExtractor escapes `&`, `<` and `>`; this is undone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from korformer.text.reading import TextReader
from korformer.text.sources import Likeness, SourceKind, leading_members
from korformer.text.sources.jsonl import objects

_OPENING = re.compile(r'<doc id=.* title="(.*?)"[^"]*>')


def _recognise(head: str) -> Likeness:
    if re.match(r"\s*<doc id=", head):
        return Likeness.SPECIFIC
    return Likeness.SPECIFIC if {"id", "url", "title"} <= leading_members(head).keys() else Likeness.NONE


def _read(reader: TextReader) -> Iterator[str]:
    if reader.head().lstrip().startswith("{"):
        return _read_json(reader)
    return _read_elements(reader)


def _read_json(reader: TextReader) -> Iterator[str]:
    for number, page in objects(reader):
        title, text = page.get("title"), page.get("text")
        if isinstance(title, str) and isinstance(text, str):
            yield _document(title, text.split("\n"))
        else:
            reader.reject('not a page: "title" and "text" must be strings', line=number)


def _read_elements(reader: TextReader) -> Iterator[str]:
    title, begun, size, lines = "", 0, 0, list[str]()
    for number, line in reader.lines():
        if not begun:
            opening = _OPENING.fullmatch(line.strip())
            if opening:
                title, begun, size, lines = opening[1], number, 0, []
            elif line.strip():
                reader.reject("text outside <doc …> … </doc>", line=number)
        elif line.strip() == "</doc>":
            yield _document(title, lines)
            begun = 0
        else:
            size += len(line) + 1
            if lines and len(title) + size > reader.max_characters:
                yield _document(title, lines)
                reader.cut += 1
                size, lines = len(line) + 1, []
            lines.append(line)
    if begun:
        reader.reject("the file ends inside the <doc …> that begins here: it was cut off", line=begun)


def _document(title: str, lines: list[str]) -> str:
    title = title.strip()
    body = [_unescape(line) for line in lines if line and not line.isspace()]
    if body and body[0].strip() in (title, _unescape(title)):
        del body[0]
    return "\n".join([_unescape(title), *body]) if body else ""


def _unescape(text: str) -> str:
    if "&" not in text:
        return text
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


KIND = SourceKind(
    name="wikiextractor", description="WikiExtractor output, <doc …> or JSON", recognise=_recognise, read=_read
)
