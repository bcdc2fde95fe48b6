"""kowikitext and namuwikitext."""

from __future__ import annotations

from typing import Any

import pytest

SAMPLE = """ = 소나무 =

 = = 개요 = =

소나무는 늘푸른나무이다.
잎은 둘씩 난다.

 = = = 쓰임새 = = =

집을 짓는다. 1 = 1

 = 빈 문서 =

 = 참나무 =

 = =기타 = =

참나무라는 나무는 없다.
"""

DOCUMENTS = [
    "소나무\n개요\n소나무는 늘푸른나무이다.\n잎은 둘씩 난다.\n쓰임새\n집을 짓는다. 1 = 1",
    "참나무\n기타\n참나무라는 나무는 없다.",
]


def test_a_title_begins_a_document(read: Any) -> None:
    reading = read(SAMPLE)
    assert reading.kind == "wikitext"
    assert reading.texts == DOCUMENTS
    assert reading.counts.empty == 1


@pytest.mark.parametrize("chunk_bytes", [1, 2, 5, 17, 64])
def test_pages_do_not_hang_on_how_the_bytes_arrive(read: Any, arriving: Any, chunk_bytes: int) -> None:
    arriving(chunk_bytes)
    assert read(SAMPLE, format="wikitext").texts == DOCUMENTS


def test_a_title_alone_is_enough_to_recognise_it(read: Any) -> None:
    assert read(" = 제목 = \n\n본문이다.\n").kind == "wikitext"


@pytest.mark.parametrize("text", ["= 제목 =\n본문", "본문\n = 제목 =\n본문", " = = 갈래 = =\n본문"])
def test_other_text_is_not_taken_for_it(read: Any, text: str) -> None:
    assert read(text).kind == "text"
