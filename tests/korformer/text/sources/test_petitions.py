"""The petitions archive."""

from __future__ import annotations

import json
from typing import Any

import pytest

from korformer.errors import InputError


def petition(**changes: object) -> str:
    value = {
        "category": "교통",
        "begin": "2018-05-01",
        "end": "2018-05-31",
        "content": " 마을 버스를 더 자주 다니게 해 주세요. ",
        "num_agree": 12,
        "petition_idx": "7",
        "status": "청원종료",
        "title": "버스 증편 ",
    }
    return json.dumps(value | changes, ensure_ascii=False) + "\n"


def test_a_document_is_title_and_content(read: Any) -> None:
    reading = read(petition() + petition(content="둘째 글"))
    assert reading.kind == "petitions"
    assert reading.texts == ["버스 증편\n마을 버스를 더 자주 다니게 해 주세요.", "버스 증편\n둘째 글"]


def test_one_without_content_is_empty(read: Any) -> None:
    reading = read(petition(content=" ") + petition())
    assert len(reading.texts) == 1
    assert reading.counts.empty == 1


def test_content_that_hides_what_follows_it_is_recognised(read: Any) -> None:
    assert read(petition(content="글" * 100_000)).kind == "petitions"


def test_another_object_is_malformed(read: Any) -> None:
    with pytest.raises(InputError, match="line 2: not a petition"):
        read(petition() + '{"title": "제목"}\n')
