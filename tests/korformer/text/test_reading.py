"""Bytes to text: what is not text is told with its place and a remedy, or marked."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from korformer.errors import InputError
from korformer.text.files import InputFile, open_input
from korformer.text.reading import HEAD_CHARACTERS, TextReader, cut_point, guess_encoding

SAMPLE = "한국어 문장은 여기에 있다.\n둘째 줄에도 글이 있다.\n\n다른 문서이다.\n" * 100


@pytest.fixture
def reader(tmp_path: Path) -> Callable[..., TextReader]:
    def make(data: bytes, **options: Any) -> TextReader:
        path = tmp_path / "자료.txt"
        path.write_bytes(data)
        return TextReader(open_input(InputFile(name="자료.txt", path=path, size_bytes=len(data))), **options)

    return make


def whole(reader: TextReader) -> str:
    return "".join(reader.chunks())


def test_text_is_text(reader: Any) -> None:
    assert whole(reader(SAMPLE.encode())) == SAMPLE
    assert whole(reader(b"")) == ""


def test_the_head_is_read_and_given_again(reader: Any) -> None:
    long = SAMPLE * 50
    text = reader(long.encode())
    assert text.head() == text.head() == long[:HEAD_CHARACTERS]
    assert whole(text) == long
    assert reader("짧다".encode()).head() == "짧다"


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 100])
def test_mark_and_line_ends_do_not_hang_on_how_the_bytes_arrive(reader: Any, arriving: Any, chunk_bytes: int) -> None:
    arriving(chunk_bytes)
    data = b"\xef\xbb\xbf" + "가\r\n나\r다\n\r\n라\r".encode()
    assert whole(reader(data)) == "가\n나\n다\n\n라\n"


def test_lines_are_numbered(reader: Any) -> None:
    assert list(reader("가\n\n나".encode()).lines()) == [(1, "가"), (2, ""), (3, "나")]
    assert list(reader("가\n".encode()).lines()) == [(1, "가")]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="가\nx", max_size=30), st.integers(1, 5))
def test_lines_do_not_hang_on_how_the_bytes_arrive(reader: Any, arriving: Any, text: str, chunk_bytes: int) -> None:
    arriving(chunk_bytes)
    lines = text.split("\n")
    expected = list(enumerate(lines if lines[-1] else lines[:-1], 1))
    assert list(reader(text.encode()).lines()) == expected


@pytest.mark.parametrize("encoding", ["cp949", "utf-16le", "utf-16be"])
@pytest.mark.parametrize("shift", [0, 1])
def test_another_encoding_is_told_with_byte_and_remedy(reader: Any, encoding: str, shift: int) -> None:
    beginning = "x" * shift
    with pytest.raises(InputError) as failure:
        whole(reader((beginning + SAMPLE).encode(encoding)))
    assert f"it looks like {encoding}" in str(failure.value)
    assert f"iconv -f {encoding} -t utf-8 '자료.txt' > NEW" in str(failure.value)
    assert "--errors replace" in str(failure.value)
    assert failure.value.exit_code == 3


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_mark_of_another_encoding_is_told(reader: Any, encoding: str) -> None:
    with pytest.raises(InputError, match=f"not UTF-8 at byte 0 .*looks like {encoding}"):
        whole(reader(SAMPLE.encode(encoding)))


def test_the_byte_is_counted_over_the_whole_file(reader: Any, arriving: Any) -> None:
    good = b"\xef\xbb\xbf" + SAMPLE.encode() * 20
    for bad in (b"\xff", b"\xea\xb0", b"\xc7\xd1"):
        arriving(1000)
        with pytest.raises(InputError, match=f"not UTF-8 at byte {len(good):,} "):
            whole(reader(good + bad + b"more" * 10))
    with pytest.raises(InputError, match=f"not UTF-8 at byte {len(good):,} "):
        whole(reader(good + b"\xea\xb0"))  # cut off inside a character
    with pytest.raises(InputError, match=f"a NUL at byte {len(good):,}, "):
        whole(reader(good + b"\0"))


def test_a_file_of_two_encodings_is_not_to_be_converted(reader: Any) -> None:
    with pytest.raises(InputError, match="looks like cp949 after a beginning in UTF-8.* Mend the file"):
        whole(reader(SAMPLE.encode() + SAMPLE.encode("cp949")))


def test_bytes_of_no_known_encoding_are_told(reader: Any) -> None:
    with pytest.raises(InputError, match=r"not UTF-8 at byte 3 \(0xe9\)\. Convert it with `iconv` if"):
        whole(reader("café à la crème".encode("latin-1")))


def test_what_is_not_text_is_marked_where_it_is(reader: Any, arriving: Any) -> None:
    arriving(3)
    for errors in ("replace", "skip"):
        damaged = reader("가".encode() + b"\xc7\xd1\0" + "나".encode(), errors=errors)
        assert whole(damaged) == "가\udcc7\udcd1\udc00나"
        assert damaged.damaged
        clean = reader("가나".encode(), errors=errors)
        assert whole(clean) == "가나"
        assert not clean.damaged


def test_parsers_of_bytes_get_utf8_and_the_mark_comes_back(reader: Any) -> None:
    damaged = reader("가".encode() + b"\xc7\0", errors="replace")
    shown = b"".join(damaged.utf8_chunks()).decode("utf-8")
    assert shown == "가\ufffd\ufffd"
    assert damaged.restore(shown) == "가\udc00\udc00"
    clean = reader("가\ufffd".encode(), errors="replace")
    assert clean.restore(b"".join(clean.utf8_chunks()).decode()) == "가\ufffd"


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("가" * 200, 100),
        ("가" * 95 + " " + "나" * 100, 96),
        ("가" * 95 + "\n나 " + "나" * 100, 96),
        ("가" * 50 + " " + "나" * 100, 100),
        (unicodedata.normalize("NFD", "간" * 100), 99),
        ("e" * 99 + "\u0301" * 5 + "e" * 10, 98),
    ],
)
def test_long_texts_are_cut_where_it_hurts_least(text: str, end: int) -> None:
    assert cut_point(text, 100) == end


def test_a_cut_always_gets_on() -> None:
    assert cut_point("\u0301" * 20, 1) == 1


@pytest.mark.parametrize("sample", [b"", b"\xff" * 100, bytes(100), b"plain", bytes(range(256)) * 4])
def test_no_encoding_is_guessed_out_of_nothing(sample: bytes) -> None:
    assert guess_encoding(sample, sample) is None
