"""From the bytes of one file to text: UTF-8 checked, byte-order mark dropped, line ends made LF, in chunks or lines.

What cannot be text is either told with its byte offset (`errors="strict"`) or kept as a lone surrogate, which no valid
text holds. So a document carries the mark of its damage to the one place that decides what becomes of it
(`korformer.text.documents`), however a reader has cut and joined the chunks in between.
"""

from __future__ import annotations

import codecs
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NoReturn

from korformer.errors import InputError
from korformer.text.files import InputStream

HEAD_CHARACTERS = 1 << 16
"""How much of a file is looked at to tell its format."""

RECORD_CHARACTERS = 1 << 26
"""The longest line or JSON record that is taken into memory whole."""

DAMAGED = "\udc00"
"""Stands for a NUL, or for damage that a parser could not carry; like every lone surrogate it marks a document."""

_SURROGATES = re.compile("[\ud800-\udfff]")
_BOMS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_TOOLS = {"gzip": "gzip -dc", "bzip2": "bzip2 -dc", "xz": "xz -dc", "zstd": "zstd -dc"}


class TextReader:
    """The text of one file, read once, front to back.

    Args:
        stream: its bytes.
        errors: "strict" stops at what is not text; with "replace" and "skip" it goes on.
        document: whether a plain file is cut into documents at blank lines ("block") or is one ("file").
        max_characters: where documents are cut that go on and on.
        on_chunk: called with every chunk's number of bytes.
    """

    def __init__(
        self,
        stream: InputStream,
        *,
        errors: str = "strict",
        document: str = "block",
        max_characters: int = 1 << 24,
        on_chunk: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.name = stream.file.name
        self.errors = errors
        self.document = document
        self.max_characters = max_characters
        self.rejected = 0
        """Records left out because they could not be read."""
        self.damaged = False
        """Whether text handed out so far may hold lone surrogates."""
        self.cut = 0
        """How often a document was cut for its length."""
        self._stream = stream
        self._on_chunk = on_chunk
        self._chunks = self._decoded()
        self._head: str | None = None

    def head(self) -> str:
        """The first `HEAD_CHARACTERS` characters; fewer only where the file has no more."""
        if self._head is None:
            pieces, size = [], 0
            for chunk in self._chunks:
                pieces.append(chunk)
                size += len(chunk)
                if size >= HEAD_CHARACTERS:
                    break
            self._head = "".join(pieces)
        return self._head[:HEAD_CHARACTERS]

    def chunks(self) -> Iterator[str]:
        """The text in pieces of any length, none of them empty."""
        self.head()
        return chain([self._head] if self._head else [], self._chunks)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Number (from 1) and text of each line, without its line break.

        Raises:
            InputError: a line longer than `RECORD_CHARACTERS` (left out and counted with `errors="skip"`).
        """
        number, pieces, size = 1, list[str](), 0
        for chunk in self.chunks():
            first, *rest = chunk.split("\n")
            size += len(first)
            if size - len(first) <= RECORD_CHARACTERS < size:
                self.reject(f"a line of more than {RECORD_CHARACTERS:,} characters", line=number)
                pieces.clear()
            if size <= RECORD_CHARACTERS:
                pieces.append(first)
            if rest:
                if size <= RECORD_CHARACTERS:
                    yield number, "".join(pieces)
                *whole, last = rest
                yield from enumerate(whole, number + 1)
                number += len(rest)
                pieces, size = [last], len(last)
        if 0 < size <= RECORD_CHARACTERS:
            yield number, "".join(pieces)

    def segments(self, boundary: re.Pattern[str]) -> Iterator[str]:
        """What lies between the matches of `boundary`; longer than `max_characters` is cut, see `cut_point`.

        Args:
            boundary: where to split; what it matches is dropped. It must not match across more than `max_characters`.
        """
        carried = ""
        for chunk in self.chunks():
            *whole, carried = boundary.split(carried + chunk)
            yield from whole
            while len(carried) > self.max_characters:
                end = cut_point(carried, self.max_characters)
                self.cut += 1
                yield carried[:end]
                carried = carried[end:]
        yield carried

    def utf8_chunks(self) -> Iterator[bytes]:
        """The text as valid UTF-8 for parsers that want bytes: damage is U+FFFD there, see `restore`."""
        for chunk in self.chunks():
            yield (_SURROGATES.sub("\ufffd", chunk) if self.damaged else chunk).encode("utf-8")

    def restore(self, text: str) -> str:
        """Mark the damage in `text` again that a parser of `utf8_chunks` was shown as U+FFFD."""
        return text.replace("\ufffd", DAMAGED) if self.damaged else text

    def reject(self, what: str, *, line: int | None = None, hint: str | None = None) -> None:
        """Say that a record cannot be read: the end, or with `errors="skip"` the end of that record only.

        Raises:
            InputError: always, unless errors are skipped.
        """
        if self.errors == "skip":
            self.rejected += 1
            return
        self.fail(what, line=line, hint=hint or "Mend it, or leave such records out with --errors skip.")

    def fail(self, what: str, *, line: int | None = None, hint: str | None = None) -> NoReturn:
        """Raise an InputError that names the file, and the line if one is given."""
        raise InputError(what, where=self.name if line is None else f"{self.name}, line {line:,}", hint=hint)

    def _decoded(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("strict" if self.errors == "strict" else "surrogateescape")
        offset, held, begun, final = 0, "", False, False
        while not final:
            chunk = self._stream.read_chunk()
            final = not chunk
            self._on_chunk(len(chunk))
            text = self._decode(decoder, chunk, offset, final=final)
            if text and not begun:
                text, begun = text.removeprefix("\ufeff"), True
            offset += len(chunk)
            text = held + text
            held = "\r" if text.endswith("\r") and not final else ""  # its \n may come with the next chunk
            if "\r" in text:
                text = (text[:-1] if held else text).replace("\r\n", "\n").replace("\r", "\n")
            if text:
                yield text

    def _decode(self, decoder: codecs.IncrementalDecoder, chunk: bytes, offset: int, *, final: bool) -> str:
        """The text of one chunk, which begins `offset` bytes into the file."""
        pending, _ = decoder.getstate()
        data = pending + chunk
        try:
            text = decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            self._undecodable(data, error.start, offset - len(pending))
        if "\0" in text:
            if self.errors == "strict":
                self._undecodable(data, data.index(b"\0"), offset - len(pending))
            text = text.replace("\0", DAMAGED)
            self.damaged = True
        if self.errors != "strict" and not self.damaged:
            self.damaged = _SURROGATES.search(text) is not None
        return text

    def _undecodable(self, data: bytes, index: int, offset: int) -> NoReturn:
        """Tell of the byte `data[index]`, where `data` begins `offset` bytes into the file."""
        place = f"byte {offset + index:,}"
        what = f"not UTF-8 at {place} (0x{data[index]:02x})" if data[index] else f"a NUL at {place}, which no text has"
        go_on = "go on with --errors replace or --errors skip."
        encoding = None if offset else next((name for bom, name in _BOMS if data.startswith(bom)), None)
        encoding = encoding or guess_encoding(data[index - (offset + index) % 2 :][:4096], data[index : index + 4096])
        if encoding is None:
            self.fail(what, hint=f"Convert it with `iconv` if it is in another encoding, or {go_on}")
        if _hangul(data[:index].decode("utf-8", "ignore")) > 2:
            self.fail(f"{what}; it looks like {encoding} after a beginning in UTF-8", hint=f"Mend the file, or {go_on}")
        self.fail(f"{what}; it looks like {encoding}", hint=f"Convert it (`{self._iconv(encoding)}`), or {go_on}")

    def _iconv(self, encoding: str) -> str:
        """The command that makes UTF-8 of this file."""
        name = shlex.quote(self.name)
        if self._stream.file.path is None:
            return f"… | iconv -f {encoding} -t utf-8 | korformer …"
        if self._stream.compression:
            return f"{_TOOLS[self._stream.compression]} {name} | iconv -f {encoding} -t utf-8 > NEW"
        return f"iconv -f {encoding} -t utf-8 {name} > NEW"


def cut_point(text: str, limit: int) -> int:
    """Where to cut a text of more than `limit` characters so that the first part has at most that many.

    After a line break if there is one in the last tenth, else after a space, else before a character that does not join
    the one before it (a combining mark, a jamo that completes a syllable).
    """
    nearly = limit - limit // 10
    for separator in ("\n", " "):
        found = text.rfind(separator, nearly, limit)
        if found >= 0:
            return found + 1
    end = limit
    while end > nearly and (unicodedata.combining(text[end]) or "\u1160" <= text[end] <= "\u11ff"):
        end -= 1
    return max(end, 1)


def guess_encoding(aligned: bytes, sample: bytes) -> str | None:
    """The encoding, named as `iconv` names it, that bytes which are not UTF-8 are most likely in; None if unclear.

    Looks for what Korean text was and is stored in: UTF-16 without a mark and cp949, the superset of EUC-KR.

    Args:
        aligned: some of the bytes, from an even place in the file.
        sample: some of the bytes, from the first that is not UTF-8.
    """
    # UTF-16: the spaces and line breaks of Korean text have a zero in one of their bytes, always the same one.
    even, odd = aligned[::2].count(0), aligned[1::2].count(0)
    if max(even, odd) > max(3, len(aligned) // 20) and min(even, odd) * 4 < max(even, odd):
        return "utf-16le" if odd > even else "utf-16be"
    if b"\0" in sample:
        return None
    shares = {encoding: _hangul_share(aligned, encoding) for encoding in ("utf-16le", "utf-16be")}
    shares["cp949"] = max(_hangul_share(sample, "cp949"), _hangul_share(sample[1:], "cp949"))
    best = max(shares, key=lambda encoding: shares[encoding])
    return best if shares[best] > 0.3 else None


def _hangul_share(sample: bytes, encoding: str) -> float:
    """The share of Hangul among the characters beyond ASCII of `sample` in `encoding`; 0 if it is not in it.

    The end may cut a character.
    """
    try:
        text = codecs.getincrementaldecoder(encoding)("strict").decode(sample)
    except UnicodeDecodeError:
        return 0.0
    beyond = sum(character > "\x7f" for character in text)
    return _hangul(text) / beyond if beyond else 0.0


def _hangul(text: str) -> int:
    return sum("가" <= character <= "힣" for character in text)
