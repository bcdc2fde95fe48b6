"""모두의 말뭉치 (NIKL, corpus.korean.go.kr): the JSON of its written, newspaper, web, spoken and messenger corpora.

    {"id": …, "metadata": {…}, "document": [
        {"id": …, "metadata": {…}, "paragraph": [{"id": …, "form": "…"}, …]},               written, newspaper, web
        {"id": …, "metadata": {…}, "utterance": [{"form": "…", "speaker_id": "1", …}, …]},  spoken, messenger
        {"id": …, "metadata": {…}, "sentence": [{"form": "…", "word": […], …}, …]}]}        annotated

A document is one of "document"; a paragraph, message or sentence is a line. In spoken corpora an utterance is what lies
between two pauses, so what one speaker says in one go is put on one line; messages, told by their "time", stay apart.
Titles in the metadata ("○○일보 2019년 기사") name the source and are no text. Forms are taken as they are, names made
anonymous (`name1`) included; `<p>` around a paragraph is dropped. Utterances without words (a laugh) have no form.

A file is parsed as a stream, a document at a time, so its size does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Any

import ijson  # type: ignore[import-untyped]

from korformer.text.reading import TextReader
from korformer.text.sources import Likeness, SourceKind

_UNITS = ("paragraph", "utterance", "sentence")
_DOCUMENTS = re.compile(r'"document"\s*:\s*\[')
_UNIT = re.compile(rf'"(?:{"|".join(_UNITS)})"\s*:\s*\[')
_PARAGRAPH_TAGS = re.compile(r"</?p>")
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2}|u0000)|.)",
    re.DOTALL,
)

_ESCAPE_BYTES = rb"\u0123456789abcdefABCDEF"


def _recognise(head: str) -> Likeness:
    if not re.match(r"\s*\{", head) or not _DOCUMENTS.search(head):
        return Likeness.NONE
    return Likeness.SPECIFIC if _UNIT.search(head) else Likeness.GENERAL


def _read(reader: TextReader) -> Iterator[str]:
    found = 0
    try:
        for document in ijson.items(_Bytes(reader), "document.item", use_float=True, buf_size=1 << 18):
            found += 1
            lines = _lines(document)
            if lines is None:
                keys = ", ".join(document) if isinstance(document, dict) else type(document).__name__
                reader.reject(f"a document without {', '.join(_UNITS)} (it has: {keys})")
            else:
                yield reader.restore("\n".join(lines))
    except ijson.JSONError as error:
        what = " ".join(str(error).replace("(right here) ------^", "").split())
        reader.reject(
            f"malformed JSON after {found:,} documents: {what}",
            hint="The file may be cut off; fetch or unpack it again.",
        )
    if not found:
        reader.reject('no "document" list, as the raw corpora of 모두의 말뭉치 have it')


def _lines(document: Any) -> list[str] | None:
    unit = next((unit for unit in _UNITS if isinstance(document, dict) and isinstance(document.get(unit), list)), None)
    if unit is None:
        return None
    entries = [entry for entry in document[unit] if isinstance(entry, dict)]
    forms = ((entry.get("speaker_id"), "time" in entry, _form(entry)) for entry in entries)
    said = [(speaker, message, form) for speaker, message, form in forms if form]
    if unit != "utterance" or any(message for _, message, _ in said):
        return [form for *_, form in said]
    return [" ".join(form for *_, form in turn) for _, turn in groupby(said, key=lambda entry: entry[0])]


def _form(entry: dict[str, Any]) -> str:
    form = entry.get("form")
    form = entry.get("original_form") if form is None else form
    if not isinstance(form, str):
        return ""
    if "<" in form:
        form = _PARAGRAPH_TAGS.sub("", form)
    return form.strip()


class _Bytes:
    """The text of a reader for a JSON parser that knows no lone surrogates: their escapes become that of U+FFFD."""

    def __init__(self, reader: TextReader) -> None:
        self._reader = reader
        self._chunks: Iterator[bytes] = _mended(reader.utf8_chunks(), reader)
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        if size and not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data


def _mended(chunks: Iterable[bytes], reader: TextReader) -> Iterator[bytes]:
    def mend(found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            return found[0]
        reader.damaged = True
        return rb"\ufffd"

    held = b""
    for chunk in chain(chunks, [b""]):
        data = held + chunk
        # An escape, or a pair of them, that the end of the chunk may cut is finished with the next one.
        whole = len(data.rstrip(_ESCAPE_BYTES)) if chunk else len(data)
        data, held = (data[:whole], data[whole:]) if b"\\" in data[whole:] else (data, b"")
        if rb"\ud" in data or rb"\uD" in data or rb"\u0000" in data:
            data = _ESCAPES.sub(mend, data)
        if data:
            yield data


KIND = SourceKind(name="nikl", description="모두의 말뭉치 (NIKL) JSON", recognise=_recognise, read=_read)
