"""gzip, bzip2, xz and zstd, read and written as streams.

Every member of a file is followed to its end mark, so that a truncated download is an error and not a short text, and
no single step makes more than a bounded amount of output, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import queue
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast

import zstandard

MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "bzip2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),  # "BZh" alone could begin a text
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # a frame, or one to be skipped
}
"""How a file of each compression begins."""
SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
DAMAGE = (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, ValueError)
"""What the decoders raise for bad data (bz2 raises OSError without a number)."""

_OUTPUT_BYTES = 1 << 20
_ZSTD_STEP_BYTES = 512
_MAGIC_BYTES = 10


class TruncatedError(Exception):
    """The data end before their end mark."""


class _Decoder(Protocol):
    """One member, stream or frame; bz2's and lzma's decompressors are made this way already."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        output = self._member.decompress(self._member.unconsumed_tail or data, max_length)
        self.needs_input = len(output) < max_length and not self._member.unconsumed_tail
        return output


class _Zstd:
    """zstandard's decompressor has no limit on its output; small bites of input bound it (128 KiB a 4-byte block)."""

    def __init__(self) -> None:
        # Windows up to 2 GiB (`zstd --long=31`), as large published corpora have them.
        self._frame = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
        self._pending = memoryview(b"")

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def needs_input(self) -> bool:
        return not self._pending

    @property
    def unused_data(self) -> bytes:
        return bytes(self._frame.unused_data) + bytes(self._pending)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if data:
            self._pending = memoryview(data)
        pieces, size = [], 0
        while self._pending and size < max_length and not self._frame.eof:
            bite, self._pending = self._pending[:_ZSTD_STEP_BYTES], self._pending[_ZSTD_STEP_BYTES:]
            piece = self._frame.decompress(bite)
            size += len(piece)
            pieces.append(piece)
        return b"".join(pieces)


def _decoder(kind: str) -> _Decoder:
    if kind == "gzip":
        return _Gzip()
    if kind == "zstd":
        return _Zstd()
    return cast("_Decoder", bz2.BZ2Decompressor() if kind == "bzip2" else lzma.LZMADecompressor(lzma.FORMAT_XZ))


def compression_of(head: bytes) -> str | None:
    """The compression that the first bytes of a file name, or None."""
    return next((kind for kind, magic in MAGIC.items() if magic.match(head)), None)


def decompress(read: Callable[[], bytes], first: bytes, kind: str) -> Iterator[bytes]:
    """The text of all members of a compressed file.

    Args:
        read: gives the next bytes of the file, b"" at its end.
        first: the bytes already read.
        kind: a key of `MAGIC`.

    Raises:
        TruncatedError: the file ends inside a member.
        DAMAGE, OSError without errno: bad data, whatever the decoder raises for it.
    """
    data = first
    while data:
        member = _decoder(kind)
        while not member.eof:
            if member.needs_input and not data and not (data := read()):
                raise TruncatedError(f"truncated: the {kind} data end without their end mark")
            piece = member.decompress(data if member.needs_input else b"", _OUTPUT_BYTES)
            data = b""
            if piece:
                yield piece
        data = _after_padding(member.unused_data, read)
        if data and compression_of(data) != kind:
            raise ValueError(f"something else follows the end of the {kind} data")


def _after_padding(data: bytes, read: Callable[[], bytes]) -> bytes:
    """What follows the zeros that xz, and tapes, put between and after members; at least a magic number of it."""
    while not (data := data.lstrip(b"\0")) and (data := read()):
        pass
    while 0 < len(data) < _MAGIC_BYTES and (more := read()):
        data += more
    return data


def read_ahead(chunks: Iterator[bytes], depth: int = 4) -> Iterator[bytes]:
    """The same chunks, made by a thread that keeps up to `depth` of them ready. Closing the iterator ends the thread.

    The decoders of xz and bzip2 let go of the interpreter lock, so reading then takes the longer of the two times
    (decoding, and what is done with the text) and not their sum.
    """
    ready: queue.Queue[bytes | BaseException | None] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: bytes | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for chunk in chunks:
                if not put(chunk):
                    return
            put(None)
        except BaseException as error:  # raised again where the chunks are wanted
            put(error)

    thread = threading.Thread(target=work, name="korformer-decompress", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


@contextmanager
def compressed(stream: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """A stream to write to, compressed the way the suffix of `name` asks for; `stream` itself for any other suffix.

    The same text gives the same bytes: no time and no name is stored.
    """
    kind = SUFFIXES.get(Path(name).suffix.lower())
    if kind is None:
        yield stream
        return
    with _encoder(stream, kind) as encoder:
        yield cast("BinaryIO", encoder)


def _encoder(stream: BinaryIO, kind: str) -> IO[bytes] | Any:
    if kind == "gzip":
        return gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=6, mtime=0)
    if kind == "bzip2":
        return bz2.BZ2File(stream, "wb")
    if kind == "xz":
        return lzma.LZMAFile(stream, "wb", preset=6)
    return zstandard.ZstdCompressor(level=10).stream_writer(stream, closefd=False)
