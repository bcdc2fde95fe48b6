"""JSON lines: text verbatim, faults with their line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from korformer.errors import InputError
from korformer.text import reading as reading_module


def lines(*values: object) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def test_text_is_taken_as_it_is_with_its_blank_lines(read: Any) -> None:
    texts = ["첫 줄\n\n\n셋째 문단\n", "  들여쓴 글", "### 제목 [SEP]", "탭\t과 이모지 👩‍👩‍👧"]
    reading = read(lines(*({"text": text, "id": 1} for text in texts)))
    assert reading.kind == "jsonl"
    assert reading.texts == texts


def test_blank_lines_between_records_are_passed_over(read: Any) -> None:
    assert read('\n{"text": "가"}\n\n \n{"text": "나"}').texts == ["가", "나"]


def test_empty_texts_are_counted_and_left_out(read: Any) -> None:
    reading = read(lines({"text": ""}, {"text": " \n"}, {"text": "글"}))
    assert reading.texts == ["글"]
    assert reading.counts.empty == 2


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"text": 나}', "malformed JSON at character 10"),
        ('{"text": "끝이 없', "Unterminated string"),
        ('["가"]', "not a JSON object"),
        ('{"body": "나"}', 'without a "text" string (its keys: body)'),
        ('{"text": 3}', 'without a "text" string'),
        ("[" * 100_000, "nested too deeply"),
        ('{"n": ' + "9" * 5000 + "}", "malformed JSON: Exceeds the limit"),
    ],
)
def test_a_malformed_line_is_told_with_its_number_or_skipped(read: Any, line: str, what: str) -> None:
    source = lines({"text": "가"}) + line + "\n" + lines({"text": "다"})
    with pytest.raises(InputError) as failure:
        read(source)
    assert what in str(failure.value)
    assert "source, line 2:" in str(failure.value)
    assert failure.value.exit_code == 3
    reading = read(source, errors="skip")
    assert reading.texts == ["가", "다"]
    assert reading.counts.malformed == 1
    assert "1 malformed" in reading.warnings[0]


def test_half_of_a_surrogate_pair_is_replaced_and_told(read: Any) -> None:
    source = '{"text": "\\ud83d 앞"}\n{"text": "\\ud83d\\ude00 옹근"}\n{"text": "\\u0000"}\n'
    reading = read(source)
    assert reading.texts == ["\ufffd 앞", "😀 옹근", "\ufffd"]
    assert reading.counts.undecodable == 2
    assert "2 documents" in reading.warnings[0]
    assert read(source, errors="skip").texts == ["😀 옹근"]


def test_line_ends_in_escapes_become_line_feeds(read: Any) -> None:
    assert read('{"text": "가\\r\\n나\\r다"}').texts == ["가\n나\n다"]


def test_a_line_without_end_is_refused(read: Any, arriving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "RECORD_CHARACTERS", 1000)
    arriving(700)
    source = lines({"text": "가"}, {"text": "나" * 2000}, {"text": "다"})
    with pytest.raises(InputError, match="source, line 2: a line of more than 1,000 characters"):
        read(source, format="jsonl")
    assert read(source, format="jsonl", errors="skip").texts == ["가", "다"]


def test_a_line_longer_than_what_is_looked_at_is_recognised(read: Any) -> None:
    text = "긴 글 " * 100_000
    assert read(lines({"id": 1, "text": text})).texts == [text]
