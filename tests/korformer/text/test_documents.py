"""Documents of any mixture of sources: normalised, counted, told."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import sys
import tracemalloc
import unicodedata
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from korformer.errors import InputError, PathError, UsageError
from korformer.events import Event, Notice, Progress
from korformer.text.documents import Documents, ReadSettings, fingerprint
from korformer.text.files import expand

SYLLABLES = "".join(map(chr, range(0xAC00, 0xD7A4)))


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_everything_becomes_nfc(read: Any) -> None:
    assert read(unicodedata.normalize("NFD", SYLLABLES)).texts == [SYLLABLES]
    text = "ㄱㅏ ㆍ ﾡ 한글 Å 🇰🇷"
    assert read(text).texts == [unicodedata.normalize("NFC", text)]


def test_sources_of_different_kinds_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress("하나\n\n둘\n".encode()))
    write(tmp_path / "b.jsonl", '{"text": "셋\\n\\n넷"}\n')
    (tmp_path / "c.xz").write_bytes(lzma.compress(" = 다섯 =\n\n여섯\n".encode()))
    events: list[Event] = []
    documents = Documents([str(tmp_path)], listen=events.append)
    assert list(documents) == ["하나", "둘", "셋\n\n넷", "다섯\n여섯"]
    told = [event.text for event in events if isinstance(event, Notice)]
    assert [text.rpartition("--from ")[2] for text in told] == ["text)", "jsonl)", "wikitext)"]


def test_reading_again_gives_the_same_and_tells_the_kinds_once(tmp_path: Path) -> None:
    events: list[Event] = []
    documents = Documents([write(tmp_path / "a", "하나\n\n둘\n")], listen=events.append)
    assert list(documents) == list(documents) == ["하나", "둘"]
    assert documents.counts.documents == 2
    assert len([event for event in events if isinstance(event, Notice)]) == 1


def test_progress_is_told_in_bytes_on_disk_to_the_end(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(gzip.compress(os.urandom(3 << 20).hex().encode()))
    events: list[Event] = []
    documents = Documents([str(tmp_path)], listen=events.append)
    list(documents)
    progress = [event for event in events if isinstance(event, Progress)]
    assert {(event.stage, event.total, event.unit) for event in progress} == {
        ("reading", documents.total_bytes, "bytes")
    }
    done = [event.done for event in progress]
    assert done == sorted(done)
    assert done[-1] == documents.total_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        closed = False
        buffer = io.BytesIO("하나\n\n둘".encode())

    monkeypatch.setattr(sys, "stdin", Stdin)
    documents = Documents(["-"])
    assert documents.total_bytes is None
    assert list(documents) == ["하나", "둘"]
    with pytest.raises(UsageError, match="<stdin>: can be read only once"):
        list(documents)


@pytest.mark.parametrize("data", [b"", b"\n \n\t\n", b"\xef\xbb\xbf", b'{"text": " "}\n'])
@pytest.mark.parametrize("document", ["block", "file"])
def test_a_source_without_text_is_told(read: Any, data: bytes, document: str) -> None:
    with pytest.raises(InputError, match="source: no text in it") as failure:
        read(data, document=document)
    assert failure.value.exit_code == 3


def test_an_empty_file_among_others_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "a", "글")
    write(tmp_path / "b", "")
    events: list[Event] = []
    assert list(Documents([str(tmp_path)], listen=events.append)) == ["글"]
    warnings = [event.text for event in events if isinstance(event, Notice) and event.level == "warning"]
    assert warnings == [f"nothing was found in 1 of 2 files: {tmp_path / 'b'}"]


def test_exact_duplicates_are_dropped_on_request(tmp_path: Path) -> None:
    sources = [
        write(tmp_path / "a", "봄이 왔다.\n\n여름\n\n봄이 왔다.\n"),
        write(tmp_path / "b", unicodedata.normalize("NFD", "여름") + "\n\n 여름\n"),
    ]
    assert list(Documents(sources)) == ["봄이 왔다.", "여름", "봄이 왔다.", "여름", " 여름"]
    documents = Documents(sources, ReadSettings(dedup=True))
    assert list(documents) == list(documents) == ["봄이 왔다.", "여름", " 여름"]
    assert documents.counts.duplicates == 2


def test_damage_is_replaced_or_its_documents_are_left_out(read: Any) -> None:
    source = "좋은 글\n\n".encode() + "나쁜 글\n\n".encode("cp949") + b"NUL \0\n\n" + "끝".encode()
    with pytest.raises(InputError, match="not UTF-8 at byte 12"):
        read(source)
    replaced = read(source, errors="replace")
    assert replaced.texts[0] == "좋은 글"
    assert replaced.texts[2:] == ["NUL \ufffd", "끝"]
    assert set(replaced.texts[1]) == {"\ufffd", " "}
    skipped = read(source, errors="skip")
    assert skipped.texts == ["좋은 글", "끝"]
    assert replaced.counts.undecodable == skipped.counts.undecodable == 2
    assert "U+FFFD was put in their place" in replaced.warnings[0]
    assert "left out" in skipped.warnings[0]
    for reading in (replaced, skipped):
        assert all(text.encode("utf-8") for text in reading.texts)


def test_a_long_document_of_any_kind_is_cut(read: Any) -> None:
    text = "나무 " * 1000
    reading = read(json.dumps({"text": text}), max_characters=300)
    assert "".join(reading.texts) == text
    assert max(map(len, reading.texts)) <= 300
    assert reading.counts.cut == len(reading.texts) - 1


def test_unknown_settings_are_told() -> None:
    with pytest.raises(UsageError, match="did you mean jsonl"):
        ReadSettings(format="json")


def test_a_file_that_is_gone_is_told_when_its_turn_comes(tmp_path: Path) -> None:
    sources = [write(tmp_path / "a", "하나"), write(tmp_path / "b", "둘")]
    documents = iter(Documents(sources))
    assert next(documents) == "하나"
    (tmp_path / "b").unlink()
    with pytest.raises(PathError):
        next(documents)


def test_stopping_early_closes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("글\n\n" * 2_000_000, encoding="utf-8")
    documents = iter(Documents([str(path)]))
    next(documents)
    opened = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    assert isinstance(documents, Generator)
    documents.close()
    if opened is not None:
        assert len(set(os.listdir("/proc/self/fd"))) < len(opened)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for copies in (10_000, 100_000):
        path = tmp_path / str(copies)
        path.write_text("".join(f"{copy}번째 문서이다. 줄은 하나이다.\n\n" for copy in range(copies)), encoding="utf-8")
        tracemalloc.start()
        assert sum(1 for _ in Documents([str(path)])) == copies
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The small file is less than one chunk; the large one is cut into chunks and takes no more than a few of them.
    assert peaks[1] < max(peaks[0], 12 << 20)


def test_a_fingerprint_is_of_names_and_contents_not_of_places(tmp_path: Path) -> None:
    for folder in "xy":
        (tmp_path / folder).mkdir()
        for name in "ab":
            write(tmp_path / folder / name, name * 10)
    first, second = (expand([str(tmp_path / folder)]) for folder in "xy")
    assert fingerprint(first) == fingerprint(second)
    assert len(fingerprint(first)) == 64
    assert fingerprint(first) != fingerprint(first[::-1])
    assert fingerprint(first) != fingerprint(first[:1])
    write(tmp_path / "y" / "a", "a" * 9 + "b")
    assert fingerprint(first) != fingerprint(expand([str(tmp_path / "y")]))
    (tmp_path / "x" / "a").rename(tmp_path / "x" / "A")
    assert fingerprint(first[1:]) == fingerprint(expand([str(tmp_path / "x")])[1:])
    assert fingerprint(second[:1]) != fingerprint(expand([str(tmp_path / "x")])[:1])


def test_what_cannot_be_read_twice_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read twice"):
        fingerprint(expand(["-"]))
    (file,) = expand([write(tmp_path / "a", "글")])
    (tmp_path / "a").unlink()
    with pytest.raises(PathError):
        fingerprint([file])
