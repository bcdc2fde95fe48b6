"""Documents out of any mixture of sources: NFC text, streamed, in an order that hangs on nothing but the sources.

    files ──open_input──▶ bytes ──TextReader──▶ text ──SourceKind.read──▶ documents ──here──▶ NFC, checked, counted

Memory is bounded by the largest document, and documents by `ReadSettings.max_characters`; only `dedup` remembers
something of each document (its 16-byte digest, about 100 bytes in memory).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import field_validator

from korformer.config import Settings
from korformer.errors import InputError, PathError, UsageError
from korformer.events import Listener, Notice, Progress, ignore
from korformer.text.files import InputFile, expand, open_input
from korformer.text.reading import TextReader, cut_point
from korformer.text.sources import AUTO, SourceKind, detect, kind_named

_PROGRESS_SECONDS = 0.1
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


class ReadSettings(Settings):
    """How sources become documents."""

    format: str = AUTO
    """Kind of the sources, or "auto" to tell it from the beginning of each file."""
    document: Literal["block", "file"] = "block"
    """A document of a plain text file: a block of lines that a blank line ends, or the file."""
    errors: Literal["strict", "replace", "skip"] = "strict"
    """At bytes that are not UTF-8: stop, put U+FFFD, or leave the document out, and malformed records too."""
    dedup: bool = False
    """Leave out documents that are, after normalisation, the same as an earlier one."""
    max_characters: int = 1 << 24
    """Documents are cut at this length, so that a file of one endless line does not fill the memory."""

    @field_validator("format")
    @classmethod
    def _known(cls, name: str) -> str:
        if name != AUTO:
            kind_named(name)
        return name


@dataclass(kw_only=True)
class Counts:
    """What reading came to.

    Attributes:
        documents: handed out.
        characters: NFC code points of those.
        bytes: read, decompressed.
        lines: of the documents handed out.
        empty: documents of white space alone, left out.
        duplicates: left out.
        undecodable: documents with bytes or escapes that are no text (not UTF-8, NUL, half of a surrogate pair):
            left out when errors are skipped, else handed out with U+FFFD in their place.
        malformed: records, or ends of files, left out when errors are skipped.
        cut: how often a document was cut for its length.
    """

    documents: int = 0
    characters: int = 0
    bytes: int = 0
    lines: int = 0
    empty: int = 0
    duplicates: int = 0
    undecodable: int = 0
    malformed: int = 0
    cut: int = 0


class Documents:
    """The documents of `sources`; iterate to read them, again to read them again (standard input and pipes only once).

    Args:
        sources: see `korformer.text.files.expand`.
        settings: how to read them, by default as `ReadSettings()` does.
        listen: gets Progress in bytes as they lie on disk, a Notice for each kind of source that was detected and,
            at the end, for what was left out or changed.

    Attributes:
        files: what will be read, in order.
        total_bytes: their size on disk, or None where one has none (pipes).
        counts: of the latest iteration, kept up to date while it runs.

    Raises:
        PathError, InputError, UsageError: see `expand`. Reading raises PathError for a file that is gone, and
            InputError for what is not text, malformed, cut off, or if there is no text at all.
    """

    def __init__(
        self, sources: Sequence[str], settings: ReadSettings | None = None, *, listen: Listener = ignore
    ) -> None:
        self.files: list[InputFile] = expand(sources)
        sizes = [file.size_bytes for file in self.files]
        self.total_bytes: int | None = None if None in sizes else sum(size or 0 for size in sizes)
        self.counts = Counts()
        self._sources = list(sources)
        self._settings = settings or ReadSettings()
        self._listen = listen
        self._read_up: str | None = None
        self._told: set[str] = set()
        self._progress_due = 0.0
        self._done_bytes = 0

    def __iter__(self) -> Iterator[str]:
        if self._read_up:
            raise UsageError("can be read only once", where=self._read_up, hint="Write it to a file first.")
        self._read_up = next((file.name for file in self.files if file.size_bytes is None), None)
        self.counts = counts = Counts()
        seen: set[bytes] | None = set() if self._settings.dedup else None
        self._done_bytes = 0
        barren: list[str] = []
        for file in self.files:
            before = dataclasses.replace(counts, bytes=0)
            yield from self._file(file, counts, seen)
            if before == dataclasses.replace(counts, bytes=0):
                barren.append(file.name)
        self._listen(Progress(stage="reading", done=self._done_bytes, total=self.total_bytes, unit="bytes"))
        if barren and len(self.files) > 1:
            shown = ", ".join(barren[:3]) + (", …" if len(barren) > 3 else "")
            self._tell(f"nothing was found in {len(barren):,} of {len(self.files):,} files: {shown}", level="warning")
        self._tell_losses(counts)
        if not counts.documents:
            raise InputError("no text in it", where=", ".join(self._sources) or "no sources")

    def _file(self, file: InputFile, counts: Counts, seen: set[bytes] | None) -> Iterator[str]:
        settings = self._settings
        with open_input(file) as stream:

            def advance(size: int) -> None:
                counts.bytes += size
                self._progress(self._done_bytes + stream.consumed_bytes)

            reader = TextReader(
                stream,
                errors=settings.errors,
                document=settings.document,
                max_characters=settings.max_characters,
                on_chunk=advance,
            )
            for text in self._kind(reader).read(reader):
                for piece in _pieces(text, reader):
                    document = self._accept(piece, reader, counts, seen)
                    if document is not None:
                        yield document
            counts.malformed += reader.rejected
            counts.cut += reader.cut
            self._done_bytes += stream.consumed_bytes

    def _kind(self, reader: TextReader) -> SourceKind:
        if self._settings.format != AUTO:
            return kind_named(self._settings.format)
        kind = detect(reader)
        if reader.head() and kind.name not in self._told:
            self._told.add(kind.name)
            self._tell(f"{reader.name}: read as {kind.description} (--from {kind.name})")
        return kind

    def _accept(self, text: str, reader: TextReader, counts: Counts, seen: set[bytes] | None) -> str | None:
        """The document as it is handed out, counted; None if it is left out."""
        if reader.damaged and _NOT_TEXT.search(text):
            counts.undecodable += 1
            if self._settings.errors == "skip":
                return None
            text = _NOT_TEXT.sub("\ufffd", text)
        if "\r" in text:  # from an escape
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if not text or text.isspace():
            counts.empty += 1
            return None
        text = unicodedata.normalize("NFC", text)
        if seen is not None:
            digest = hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
            if digest in seen:
                counts.duplicates += 1
                return None
            seen.add(digest)
        counts.documents += 1
        counts.characters += len(text)
        counts.lines += text.count("\n") + 1
        return text

    def _progress(self, done_bytes: int) -> None:
        now = time.monotonic()
        if now >= self._progress_due:
            self._progress_due = now + _PROGRESS_SECONDS
            self._listen(Progress(stage="reading", done=done_bytes, total=self.total_bytes, unit="bytes"))

    def _tell(self, text: str, level: Literal["info", "warning"] = "info") -> None:
        self._listen(Notice(text=text, level=level))

    def _tell_losses(self, counts: Counts) -> None:
        if counts.undecodable:
            skipped = self._settings.errors == "skip"
            done = "they were left out" if skipped else "U+FFFD was put in their place"
            what = "documents held bytes or escapes that are no Unicode text"
            self._tell(f"{counts.undecodable:,} {what}: {done}", level="warning")
        if counts.malformed:
            what = "malformed records, or ends of files, were left out"
            self._tell(f"{counts.malformed:,} {what}", level="warning")
        if counts.cut:
            limit = self._settings.max_characters
            self._tell(f"documents longer than {limit:,} characters were cut, {counts.cut:,} times", level="warning")


def _pieces(text: str, reader: TextReader) -> Iterator[str]:
    """`text`, cut where it is longer than a document may be."""
    while len(text) > reader.max_characters:
        end = cut_point(text, reader.max_characters)
        reader.cut += 1
        yield text[:end]
        text = text[end:]
    yield text


def fingerprint(files: Sequence[InputFile], *, listen: Listener = ignore) -> str:
    """The identity of a corpus: SHA-256 (hex) over each file's base name, size and content, in order.

    The content is hashed whole, as it lies on disk, so that no edit goes unnoticed; where the files lie is no part
    of it.

    Raises:
        UsageError: one of them is standard input or a pipe, which cannot be read twice.
        PathError: one is gone or unreadable.
    """
    entries: list[tuple[str, int, str]] = []
    total_bytes, done_bytes, due = sum(file.size_bytes or 0 for file in files), 0, 0.0
    for file in files:
        if file.path is None or file.size_bytes is None:
            raise UsageError("cannot be read twice", where=file.name, hint="Write it to a file first.")
        digest, size = hashlib.sha256(), 0
        try:
            with file.path.open("rb", buffering=0) as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
                    size += len(chunk)
                    if (now := time.monotonic()) >= due:
                        due = now + _PROGRESS_SECONDS
                        done = done_bytes + size
                        listen(Progress(stage="checking the corpus", done=done, total=total_bytes, unit="bytes"))
        except OSError as error:
            raise PathError(f"cannot be read ({error.strerror})", where=file.name) from error
        done_bytes += size
        entries.append((file.path.name, size, digest.hexdigest()))
    listen(Progress(stage="checking the corpus", done=done_bytes, total=total_bytes, unit="bytes"))
    return hashlib.sha256(json.dumps(entries).encode("ascii")).hexdigest()
