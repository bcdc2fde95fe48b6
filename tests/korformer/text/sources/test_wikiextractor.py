"""WikiExtractor's two outputs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from korformer.errors import InputError

SAMPLE = """<doc id="1" url="https://ko.wikipedia.org/wiki?curid=1" title="강">
강

강은 물이 흐르는 길이다.

a &lt; b &amp;amp; c
</doc>
<doc id="2" url="https://ko.wikipedia.org/wiki?curid=2" title="빈 문서">
빈 문서

</doc>
<doc id="3" revid="9" url="https://ko.wikipedia.org/wiki?curid=3" title=""큰" 호수 &amp; 못">
호수는 고인 물이다.
</doc>
"""

DOCUMENTS = ["강\n강은 물이 흐르는 길이다.\na < b &amp; c", '"큰" 호수 & 못\n호수는 고인 물이다.']


def test_elements(read: Any) -> None:
    reading = read(SAMPLE)
    assert reading.kind == "wikiextractor"
    assert reading.texts == DOCUMENTS
    assert reading.counts.empty == 1


def test_json(read: Any) -> None:
    pages = [
        {"id": "1", "revid": "2", "url": "u", "title": "강", "text": "강은 길다.\n\n둘째 줄 &lt;"},
        {"id": "2", "revid": "2", "url": "u", "title": "못", "text": "못\n못은 작다."},
        {"id": "3", "revid": "2", "url": "u", "title": "빈 문서", "text": ""},
    ]
    reading = read("\n".join(json.dumps(page) for page in pages))
    assert reading.kind == "wikiextractor"
    assert reading.texts == ["강\n강은 길다.\n둘째 줄 <", "못\n못은 작다."]
    assert reading.counts.empty == 1


def test_a_file_that_was_cut_off_is_told(read: Any) -> None:
    cut = SAMPLE[: SAMPLE.index("호수는")]
    with pytest.raises(InputError, match="line 12: the file ends inside the <doc …>"):
        read(cut)
    assert read(cut, errors="skip").texts == DOCUMENTS[:1]


def test_text_between_documents_is_told(read: Any) -> None:
    with pytest.raises(InputError, match="line 8: text outside"):
        read(SAMPLE.replace("</doc>\n", "</doc>\n바깥\n", 1))


def test_json_of_another_shape_is_told(read: Any) -> None:
    with pytest.raises(InputError, match="line 1: not a page"):
        read('{"id": "1", "url": "u", "title": "강"}')


def test_a_document_without_end_is_cut(read: Any) -> None:
    body = "\n".join(f"{number}번째 줄이다." for number in range(1000))
    reading = read(f'<doc id="1" url="u" title="긴 글">\n긴 글\n\n{body}\n</doc>\n', max_characters=2000)
    lines = [line for text in reading.texts for line in text.split("\n")[1:]]
    assert lines == body.split("\n")
    assert max(map(len, reading.texts)) <= 2000
    assert reading.counts.cut == len(reading.texts) - 1 > 0
