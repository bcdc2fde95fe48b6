"""Finding input files and reading their bytes: `-`, files, directories and globs, decompressed by magic number.

    sources ──expand──▶ InputFile, InputFile, … ──open_input──▶ InputStream of decompressed bytes

A compressed file that was cut off or damaged never passes for a short one.
"""

from __future__ import annotations

import difflib
import glob
import io
import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from korformer.errors import InputError, PathError, UsageError
from korformer.text.compression import DAMAGE, TruncatedError, compression_of, decompress, read_ahead

CHUNK_BYTES = 1 << 20
"""How much is read or decompressed at a time."""

_SLOW = ("xz", "bzip2")
"""Compressions whose decoding takes longer than reading the text: they are decoded in a thread of their own."""

_GLOB = frozenset("*?[")

_CONTAINERS = (
    (0, b"PK\x03\x04", "a zip archive", "Unpack it (`unzip -d DIRECTORY {name}`) and give the directory"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it (`7z x {name}`) and give the unpacked file"),
    (0, b"Rar!\x1a\x07", "a RAR archive", "Unpack it and give the unpacked files"),
    (257, b"ustar\x00", "a tar archive", "Unpack it (`tar -C DIRECTORY -xf {name}`) and give the directory"),
    (257, b"ustar  \x00", "a tar archive", "Unpack it (`tar -C DIRECTORY -xf {name}`) and give the directory"),
    (0, b"%PDF-", "a PDF document", "Extract its text first (`pdftotext {name}`)"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document (HWP, DOC)", "Save it as UTF-8 text first"),
    (0, b"SQLite format 3\x00", "an SQLite database", "Export its text first"),
)
"""Offset, magic number, name and remedy of what people give in place of text."""


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One thing to read.

    Attributes:
        name: how messages call it.
        path: where it is, or None for standard input.
        size_bytes: its size on disk (compressed where it is), or None where nobody knows: stdin, pipes, devices.
    """

    name: str
    path: Path | None
    size_bytes: int | None


def expand(sources: Sequence[str]) -> list[InputFile]:
    """The files that `sources` stand for, in the order given; what a directory or a glob holds comes sorted.

    Args:
        sources: each `-` (standard input), a file, a directory (searched recursively; hidden files and folders, pipes
            and devices in it are passed over) or a glob, with `**` for any depth.

    Raises:
        PathError: something is missing or unreadable, or a glob matches nothing.
        InputError: a directory without files.
        UsageError: standard input is named twice.
    """
    files: list[InputFile] = []
    for source in sources:
        if source == "-":
            if any(file.path is None for file in files):
                raise UsageError("standard input can be read only once", where="-")
            files.append(InputFile(name="<stdin>", path=None, size_bytes=None))
        else:
            files.extend(_expand_one(source))
    return files


def _expand_one(source: str) -> Iterator[InputFile]:
    try:
        mode = os.stat(source).st_mode  # noqa: PTH116  (Path would tidy the name that the user typed)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not _GLOB.isdisjoint(source):
            yield from _matches(source)
            return
        raise PathError("no such file or directory", where=source, hint=_guess(source)) from error
    except (OSError, ValueError) as error:
        raise PathError(f"cannot be read ({_reason(error)})", where=source) from error
    if stat.S_ISDIR(mode):
        yield from _files_in(source)
    else:
        yield _input_file(source)


def _matches(pattern: str) -> Iterator[InputFile]:
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  (keeps a leading ./ and absolute patterns alike)
    deep = "**" in pattern
    matched = False
    for name in found:
        if not Path(name).is_dir():
            matched = True
            yield _input_file(name)
        elif not deep:  # `**` finds the files in folders by itself
            matched = True
            yield from _files_in(name)
    if not matched:
        raise PathError("no file matches", where=pattern, hint="Put the pattern in quotes if the shell changes it.")


def _files_in(directory: str) -> Iterator[InputFile]:
    def refuse(error: OSError) -> None:
        raise PathError(f"cannot be read ({_reason(error)})", where=str(error.filename)) from error

    found = False
    for folder, folders, names in os.walk(directory, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                found = True
                yield _input_file(str(path))
    if not found:
        raise InputError("a directory without files", where=directory)


def _input_file(name: str) -> InputFile:
    path = Path(name)
    try:
        status = path.stat()
    except OSError as error:
        raise PathError(f"cannot be read ({_reason(error)})", where=name) from error
    if not os.access(path, os.R_OK):
        raise PathError("cannot be read (Permission denied)", where=name)
    return InputFile(name=name, path=path, size_bytes=status.st_size if stat.S_ISREG(status.st_mode) else None)


def _guess(source: str) -> str | None:
    path = Path(source)
    try:
        siblings = os.listdir(path.parent)  # noqa: PTH208
    except OSError:
        return None
    near = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.7)
    return f"Did you mean {path.parent / near[0]}?" if near else None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class InputStream(io.RawIOBase):
    """Decompressed bytes of one file. `read_chunk` is the fast way through; `read` and the rest work as on any file.

    Attributes:
        compression: "gzip", "bzip2", "xz", "zstd" or None.
    """

    def __init__(self, file: InputFile) -> None:
        self.file = file
        self._source = _open(file)
        self._read_bytes = 0
        self._text_bytes = 0
        self._rest = memoryview(b"")
        first = self._first_block()
        self.compression = compression_of(first)
        chunks = decompress(self._read, first, self.compression) if self.compression else self._plain(first)
        chunks = self._checked(chunks)
        if self.compression in _SLOW and file.size_bytes is not None:
            chunks = read_ahead(chunks)
        self._chunks = chunks

    @property
    def consumed_bytes(self) -> int:
        """How many bytes of the file, as it lies on disk, have been read."""
        return self._read_bytes

    def read_chunk(self) -> bytes:
        """The next bytes, about `CHUNK_BYTES` of them and fewer where no more are at hand; b"" at the end.

        Raises:
            InputError: the file is damaged, cut off, became shorter, or is an archive of files.
            PathError: reading failed.
        """
        if self._rest:
            chunk, self._rest = bytes(self._rest), memoryview(b"")
            return chunk
        return next(self._chunks, b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` as far as the bytes at hand go; 0 at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            close: Callable[[], None] | None = getattr(getattr(self, "_chunks", None), "close", None)
            if close:
                close()
            if self.file.path is not None:
                self._source.close()
        super().close()

    def _read(self, size: int = CHUNK_BYTES // 4) -> bytes:
        data: bytes = self._source.read1(size) if hasattr(self._source, "read1") else self._source.read(size)
        self._read_bytes += len(data)
        return data

    def _first_block(self) -> bytes:
        """Enough of the file to tell what it is, even where a pipe hands out single bytes."""
        block = b""
        try:
            while len(block) < 512 and (more := self._read()):
                block += more
        except OSError as error:
            self._source.close()
            raise PathError(f"cannot be read ({_reason(error)})", where=self.file.name) from error
        return block

    def _plain(self, first: bytes) -> Iterator[bytes]:
        chunk = first
        while chunk:
            yield chunk
            chunk = self._read(CHUNK_BYTES)
        expected = self.file.size_bytes
        if expected is not None and self._read_bytes < expected:
            raise TruncatedError(
                f"the file became shorter while it was read ({self._read_bytes:,} of {expected:,} bytes)"
            )

    def _checked(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same chunks, faults told with their place."""
        name, kind = self.file.name, self.compression
        try:
            for chunk in chunks:
                if not self._text_bytes:
                    _refuse_containers(chunk, name)
                self._text_bytes += len(chunk)
                yield chunk
        except TruncatedError as error:
            raise InputError(self._place(str(error)), where=name, hint="Fetch or copy it again.") from error
        except OSError as error:
            if error.errno is None:  # bz2 tells bad data this way
                raise InputError(self._place(f"damaged {kind} data"), where=name, hint=self._test_hint()) from error
            raise PathError(f"cannot be read ({_reason(error)})", where=name) from error
        except DAMAGE as error:
            what = f"damaged {kind} data ({error})"
            raise InputError(self._place(what), where=name, hint=self._test_hint()) from error

    def _place(self, what: str) -> str:
        if self.compression is None:
            return what
        return f"{what}, at byte {self._read_bytes:,} of the file, after {self._text_bytes:,} bytes of text"

    def _test_hint(self) -> str | None:
        if self.file.path is None:
            return None
        return f"`{self.compression} -t {shlex.quote(self.file.name)}` tests it; fetch or copy it again."


def open_input(file: InputFile) -> InputStream:
    """The bytes of `file`, decompressed if its first bytes say that it is gzip, bzip2, xz or zstd.

    Several compressed members one after another, as `cat a.gz b.gz` makes them, are read as one text.

    Raises:
        PathError: it is gone or unreadable. (Damage found later is told by reading: InputError.)
    """
    return InputStream(file)


def _open(file: InputFile) -> io.RawIOBase | io.BufferedIOBase:
    if file.path is None:
        if sys.stdin is None or sys.stdin.closed:
            raise PathError("standard input is closed", where=file.name)
        return sys.stdin.buffer  # type: ignore[return-value]
    try:
        return open(file.path, "rb", buffering=0)  # noqa: PTH123  (closed by InputStream.close)
    except OSError as error:
        raise PathError(f"cannot be read ({_reason(error)})", where=file.name) from error


def _refuse_containers(head: bytes, name: str) -> None:
    for offset, magic, what, remedy in _CONTAINERS:
        if head.startswith(magic, offset):
            raise InputError(f"{what}, not text", where=name, hint=f"{remedy.format(name=shlex.quote(name))}.")
