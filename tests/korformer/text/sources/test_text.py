"""Plain text: blocks of lines, or whole files."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SAMPLE = "봄이 왔다.\n꽃이 핀다.\n\n여름이 왔다.\n\n\n   \n\t가을이 왔다.\n"


def test_a_blank_line_ends_a_document(read: Any) -> None:
    reading = read(SAMPLE)
    assert reading.kind == "text"
    assert reading.texts == ["봄이 왔다.\n꽃이 핀다.", "여름이 왔다.", "\t가을이 왔다."]
    assert reading.counts.documents == 3
    assert reading.counts.characters == sum(map(len, reading.texts))
    assert reading.counts.lines == 4
    assert reading.counts.bytes == len(SAMPLE.encode())
    assert reading.counts.empty == 0


def test_blank_lines_around_the_text_make_no_documents(read: Any) -> None:
    assert read("\n  \n\n겨울\n\n\n").texts == ["겨울"]


def test_the_last_line_needs_no_line_break(read: Any) -> None:
    assert read("하나\n\n둘").texts == ["하나", "둘"]


def test_a_file_as_one_document_keeps_its_blank_lines(read: Any) -> None:
    text = "\n제목\n\n첫 문단이다.\n\n\n  둘째 문단이다.\n\n"
    assert read(text + "\n", document="file").texts == [text]


@pytest.mark.parametrize("document", ["block", "file"])
def test_a_text_without_end_is_cut_at_spaces_and_told(read: Any, document: str) -> None:
    words = "나무 " * 5000
    reading = read(words, document=document, max_characters=1000)
    assert "".join(reading.texts) == words
    assert max(map(len, reading.texts)) <= 1000
    assert all(text.endswith(" ") for text in reading.texts)
    assert reading.counts.cut == len(reading.texts) - 1
    assert "1,000" in reading.warnings[0]


def test_a_word_without_end_is_not_cut_inside_a_syllable(read: Any) -> None:
    decomposed = "각" * 700  # three conjoining jamo each
    reading = read(decomposed, max_characters=1000)
    assert "".join(reading.texts) == "각" * 700


def oracle(text: str) -> list[str]:
    """Blocks by the definition, a line at a time."""
    blocks, lines = [], []
    for line in [*text.split("\n"), ""]:
        if line and not line.isspace():
            lines.append(line)
        elif lines:
            blocks.append("\n".join(lines))
            lines = []
    return blocks


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="가나 \n\t\u3000", max_size=60), st.integers(1, 7))
def test_blocks_do_not_hang_on_how_the_bytes_arrive(read: Any, arriving: Any, text: str, chunk_bytes: int) -> None:
    if not oracle(text):
        return
    arriving(chunk_bytes)
    assert read(text, format="text").texts == oracle(text)
