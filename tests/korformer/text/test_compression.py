"""gzip, bzip2, xz and zstd as streams: whole, cut off, damaged, several in a row."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import threading
from collections.abc import Callable, Generator, Iterator

import pytest
import zstandard

from korformer.text.compression import (
    DAMAGE,
    TruncatedError,
    compressed,
    compression_of,
    decompress,
    read_ahead,
)

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
TEXT = "".join(f"{number}번째 줄에는 다른 글이 있다.\n" for number in range(20_000)).encode()


def unpack(data: bytes, block_bytes: int = 1 << 16) -> bytes:
    source = io.BytesIO(data)
    first = source.read(block_bytes)
    kind = compression_of(first)
    assert kind
    return b"".join(decompress(lambda: source.read(block_bytes), first, kind))


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("block_bytes", [10, 1000, 1 << 20])
def test_every_byte_comes_back(kind: str, block_bytes: int) -> None:
    assert unpack(COMPRESS[kind](TEXT), block_bytes) == TEXT
    assert unpack(COMPRESS[kind](b""), block_bytes) == b""


@pytest.mark.parametrize("kind", COMPRESS)
def test_members_in_a_row_are_one_text(kind: str) -> None:
    assert unpack(COMPRESS[kind](TEXT) + COMPRESS[kind](b"") + COMPRESS[kind](b"end"), 100) == TEXT + b"end"


@pytest.mark.parametrize("kind", ["gzip", "xz"])
def test_zeros_between_and_after_members_are_padding(kind: str) -> None:
    padding = b"\0" * 512
    assert unpack(COMPRESS[kind](b"one") + padding + COMPRESS[kind](b"two") + padding, 16) == b"onetwo"


def test_zstd_frames_to_be_skipped_are_skipped() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    assert unpack(skippable + COMPRESS["zstd"](b"text")) == b"text"


@pytest.mark.parametrize("kind", COMPRESS)
def test_wherever_it_is_cut_off_it_is_told(kind: str) -> None:
    data = COMPRESS[kind](TEXT[:3000])
    for end in range(10, len(data)):
        with pytest.raises(TruncatedError):
            unpack(data[:end])


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_flipped_bit_is_told(kind: str) -> None:
    data = bytearray(COMPRESS[kind](TEXT))
    data[len(data) // 2] ^= 0x10
    with pytest.raises((*DAMAGE, OSError, TruncatedError)):
        unpack(bytes(data))


@pytest.mark.parametrize("kind", COMPRESS)
def test_what_follows_the_end_is_told(kind: str) -> None:
    with pytest.raises(ValueError, match="something else follows"):
        unpack(COMPRESS[kind](TEXT) + b"not compressed")


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_small_file_cannot_fill_the_memory(kind: str) -> None:
    size = 64 << 20
    source = io.BytesIO(COMPRESS[kind](bytes(size)))
    assert len(source.getvalue()) < size // 500
    lengths = [len(piece) for piece in decompress(lambda: source.read(1 << 18), source.read(1 << 18), kind)]
    assert sum(lengths) == size
    assert max(lengths) <= 18 << 20


@pytest.mark.parametrize("text", ["BZh 은 글이다", "BZh91", "그냥 글", "", "P*M"])
def test_text_is_not_taken_for_compressed(text: str) -> None:
    assert compression_of(text.encode()) is None


@pytest.mark.parametrize(
    ("name", "kind"), [("a.gz", "gzip"), ("a.BZ2", "bzip2"), ("a.xz", "xz"), ("a.jsonl.zst", "zstd")]
)
def test_what_is_written_compressed_is_read_again(name: str, kind: str) -> None:
    outputs = []
    for _ in range(2):
        stream = io.BytesIO()
        with compressed(stream, name) as encoder:
            encoder.write(TEXT)
        outputs.append(stream.getvalue())
    assert compression_of(outputs[0]) == kind
    assert unpack(outputs[0]) == TEXT
    assert outputs[0] == outputs[1]


def test_other_names_are_not_compressed() -> None:
    stream = io.BytesIO()
    with compressed(stream, "a.jsonl") as plain:
        plain.write(b"text")
    assert stream.getvalue() == b"text"


def test_reading_ahead_changes_nothing_and_passes_faults_on() -> None:
    chunks = [bytes([number]) for number in range(100)]
    assert list(read_ahead(iter(chunks))) == chunks

    def failing() -> Iterator[bytes]:
        yield b"one"
        raise TruncatedError

    ahead = read_ahead(failing())
    assert next(ahead) == b"one"
    with pytest.raises(TruncatedError):
        next(ahead)


def test_reading_ahead_ends_its_thread_when_it_is_closed() -> None:
    made = []

    def endless() -> Iterator[bytes]:
        while True:
            made.append(1)
            yield b"more"

    before = threading.active_count()
    ahead = read_ahead(endless())
    assert next(ahead) == b"more"
    assert isinstance(ahead, Generator)
    ahead.close()
    assert threading.active_count() == before
    assert len(made) < 10
