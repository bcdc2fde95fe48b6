"""모두의 말뭉치, in the layouts of its corpora. The texts are made up."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from korformer.errors import InputError


def corpus(*documents: object, **options: Any) -> str:
    head = {"id": "XXRW0000000001", "metadata": {"title": "연습 말뭉치 XXRW0000000001", "category": "연습 > 글"}}
    return json.dumps({**head, "document": documents}, ensure_ascii=False, **options)


def written(*paragraphs: str) -> dict[str, object]:
    return {
        "id": "XXRW0000000001.1",
        "metadata": {"title": "연습신문 2020년 기사", "author": "아무개", "date": "20200101", "topic": "사회"},
        "paragraph": [{"id": f"XXRW0000000001.1.{index}", "form": form} for index, form in enumerate(paragraphs)],
    }


def said(speaker: str, form: str, **more: object) -> dict[str, object]:
    return {"id": "1.1", "form": form, "original_form": f"{form}(발음)", "speaker_id": speaker, **more}


def spoken(*utterances: dict[str, object]) -> dict[str, object]:
    return {"id": "SDRW1.1", "metadata": {"speaker": [{"id": "1"}, {"id": "2"}]}, "utterance": list(utterances)}


@pytest.mark.parametrize("indent", [None, 2])
def test_paragraphs_are_lines(read: Any, indent: int | None) -> None:
    source = corpus(written("다리가 새로 놓였다", "어제 개통했다."), written("<p>눈이 왔다.</p>"), indent=indent)
    reading = read(source)
    assert reading.kind == "nikl"
    assert reading.texts == ["다리가 새로 놓였다\n어제 개통했다.", "눈이 왔다."]


def test_what_a_speaker_says_in_one_go_is_a_line(read: Any) -> None:
    at = {"start": 0.5, "end": 1.5, "note": ""}
    source = corpus(
        spoken(
            said("1", "안녕하세요", **at),
            said("1", "저는 name1입니다", **at),
            said("2", "", **{**at, "note": "(웃음)"}),
            said("2", "반갑습니다", **at),
            said("1", "네", **at),
        )
    )
    assert read(source).texts == ["안녕하세요 저는 name1입니다\n반갑습니다\n네"]


def test_messages_are_a_line_each(read: Any) -> None:
    source = corpus(
        spoken(said("1", "밥 먹었어?", time="20200101 12:00"), said("1", "나는 먹음", time="20200101 12:01"))
    )
    assert read(source).texts == ["밥 먹었어?\n나는 먹음"]


def test_sentences_of_annotated_corpora_are_lines(read: Any) -> None:
    document = {
        "id": "1",
        "metadata": {},
        "sentence": [{"form": "해가 떴다.", "word": [{"form": "해가"}]}, {"form": ""}],
    }
    assert read(corpus(document)).texts == ["해가 떴다."]


def test_a_form_that_is_missing_is_taken_from_the_original_one(read: Any) -> None:
    source = corpus(spoken({"original_form": "그래요", "speaker_id": "1"}, {"form": None, "speaker_id": "2"}))
    assert read(source).texts == ["그래요"]


def test_the_metadata_may_follow_the_documents(read: Any) -> None:
    source = json.dumps({"document": [written("글이다.")], "metadata": {}, "id": "1"})
    assert read(source).texts == ["글이다."]


def test_documents_without_text_are_counted(read: Any) -> None:
    reading = read(corpus(written("", " "), written("글이다.")))
    assert reading.texts == ["글이다."]
    assert reading.counts.empty == 1


def test_a_file_that_was_cut_off_is_told(read: Any) -> None:
    source = corpus(written("하나"), written("둘"))[:-40]
    with pytest.raises(InputError, match="source: malformed JSON after 1 documents: .*premature EOF"):
        read(source)
    reading = read(source, errors="skip")
    assert reading.texts == ["하나"]
    assert reading.counts.malformed == 1


def test_a_document_of_another_layout_is_told(read: Any) -> None:
    source = corpus(written("하나"), {"id": "2", "metadata": {}, "picture": []})
    with pytest.raises(
        InputError, match=r"a document without paragraph, utterance, sentence \(it has: id, metadata, pic"
    ):
        read(source)
    assert read(source, errors="skip").texts == ["하나"]


def test_json_without_documents_is_told(read: Any) -> None:
    with pytest.raises(InputError, match='no "document" list'):
        read('{"id": 1}', format="nikl")


def test_half_of_a_surrogate_pair_is_replaced_and_told(read: Any) -> None:
    forms = ["\ud83d 앞", "\udc00 뒤", "😀 \\ud83d", "\\\ud83d", "퟿\ue000"]
    reading = read(corpus(*map(written, forms)).encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    escaped = json.dumps({"document": [written(form) for form in forms]})
    reading = read(escaped)
    assert reading.texts == ["\ufffd 앞", "\ufffd 뒤", "😀 \\ud83d", "\\\ufffd", "퟿\ue000"]
    assert reading.counts.undecodable == 3
    assert read(escaped, errors="skip").texts == ["😀 \\ud83d", "퟿\ue000"]


PIECES = ["\ud83d", "\ude00", "\U0001f600", "\\", "u", "d", "8", "가", '"', "\n", "\x00", "f"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.integers(1, 9))
def test_escapes_do_not_hang_on_how_the_bytes_arrive(read: Any, arriving: Any, text: str, chunk_bytes: int) -> None:
    arriving(chunk_bytes)
    # Python's parser joins the halves of a pair as the standard asks; what is left alone is to become U+FFFD.
    source = json.dumps({"document": [written(f"<{text}>")]})
    expected = json.loads(source)["document"][0]["paragraph"][0]["form"]
    assert read(source, format="nikl").texts == [re.sub("[\0\ud800-\udfff]", "\ufffd", expected)]


def test_bytes_that_are_not_utf8_are_replaced_or_skipped(read: Any) -> None:
    source = corpus(written("하나"), written("둘")).encode().replace("둘".encode(), b"\xb5\xd1")
    assert read(source, errors="replace").texts == ["하나", "\ufffd\ufffd"]
    reading = read(source, errors="skip")
    assert reading.texts == ["하나"]
    assert reading.counts.undecodable == 1
