"""Documents written and read again."""

from __future__ import annotations

import io
import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from korformer.errors import UsageError
from korformer.events import Event, Notice
from korformer.text.writing import write_documents

TEXTS = [
    "첫 문단\n\n\n둘째 문단\n",
    "  들여 쓴 줄\n\t탭",
    "👩‍👩‍👧 [SEP] ### 제목",
    '"따옴표" \\ \u2028 \x85 \x0b',
    "한 줄",
]


def written(documents: list[str], layout: str) -> tuple[bytes, list[Notice]]:
    stream, events = io.BytesIO(), list[Event]()
    write_documents(documents, stream, layout, listen=events.append)
    return stream.getvalue(), [event for event in events if isinstance(event, Notice)]


def test_json_lines_give_every_document_back(read: Any) -> None:
    data, notices = written(TEXTS, "jsonl")
    assert data.count(b"\n") == len(TEXTS)
    assert read(data).texts == TEXTS
    assert not notices


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1), min_size=1))
def test_json_lines_give_any_document_back(read: Any, texts: list[str]) -> None:
    texts = [unicodedata.normalize("NFC", text) for text in texts if not text.isspace()]
    if texts:
        assert read(written(texts, "jsonl")[0], format="jsonl").texts == texts


def test_blocks_lose_blank_lines_and_say_so(read: Any) -> None:
    data, notices = written(["가\n\n나", "다\n라", "\n마\n \n"], "blocks")
    assert data.decode() == "가\n나\n\n다\n라\n\n마\n\n"
    assert read(data).texts == ["가\n나", "다\n라", "마"]
    (notice,) = notices
    assert notice.level == "warning"
    assert "2 documents" in notice.text
    assert "--format jsonl" in notice.text


def test_blocks_without_blank_lines_lose_nothing(read: Any) -> None:
    texts = ["가\n  나", "다"]
    data, notices = written(texts, "blocks")
    assert read(data).texts == texts
    assert not notices


def test_an_unknown_layout_is_told() -> None:
    with pytest.raises(UsageError, match="known: jsonl, blocks"):
        write_documents([], io.BytesIO(), "csv")
