"""Reading KorQuAD files: what is right is taken, what is wrong is told, all of it and with its place."""

from __future__ import annotations

import json
import lzma
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from korformer.errors import InputError
from korformer.tasks.korquad.reading import read_questions
from korformer.text.records import DataError

CONTEXT = "섬마을 등대지기 한도윤은 1975년 3월에 반달섬으로 왔다."
ISLAND = CONTEXT.index("반달섬")


def question(name: str, text: str, start: int, ask: str = "어디로 왔는가?") -> dict[str, Any]:
    return {"id": name, "question": ask, "answers": [{"text": text, "answer_start": start}]}


def whole(*questions: Any, context: Any = CONTEXT, title: str = "반달섬") -> dict[str, Any]:
    return {
        "version": "KorQuAD_v1.0_made",
        "data": [{"title": title, "paragraphs": [{"context": context, "qas": list(questions)}]}],
    }


def written(tmp_path: Path, value: object, *, indent: int | None = None, name: str = "gold.json") -> str:
    path = tmp_path / name
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent), encoding="utf-8")
    return str(path)


def problems(source: str) -> list[str]:
    with pytest.raises(DataError) as caught:
        read_questions([source])
    return [f"{place}: {what}".removeprefix(source) for place, what in caught.value.problems]


def test_questions_come_in_order_with_what_belongs_to_them(tmp_path: Path) -> None:
    source = written(tmp_path, whole(question("a", "반달섬", ISLAND), question("b", "한도윤", 9, "누가 왔는가?")))
    first, second = read_questions([source])
    assert (first.id, first.question, first.context, first.article) == ("a", "어디로 왔는가?", CONTEXT, "반달섬")
    assert (second.answers[0].text, second.answers[0].start) == ("한도윤", 9)
    assert first.context is second.context


def test_compressed_files_and_several_of_them(tmp_path: Path) -> None:
    first = written(tmp_path, whole(question("a", "반달섬", ISLAND)))
    second = tmp_path / "more.json.xz"
    second.write_bytes(lzma.compress(json.dumps(whole(question("b", "한도윤", 9))).encode()))
    assert [example.id for example in read_questions([first, str(second)])] == ["a", "b"]


def test_everything_that_is_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    value = whole(
        question("moved", "반달섬", 20),
        question("gone", "보름섬", 3),
        question("beyond", "왔다", 900),
        question("negative", "왔다", -3),
        question("form", unicodedata.normalize("NFD", "반달섬"), ISLAND),
        question("blank", " ", 3),
        question("silent", "반달섬", ISLAND, ask="\n"),
        {"id": "open", "question": "왜?", "answers": []},
        {"question": "누구?", "answers": [{"text": "한도윤", "answer_start": 9}]},
        {"id": "float", "question": "누구?", "answers": [{"text": "한도윤", "answer_start": 9.0}]},
        question("right", "한도윤", 9),
        question("right", "반달섬", ISLAND),
    )
    told = problems(written(tmp_path, value, indent=1))
    form = unicodedata.normalize("NFD", "반달섬")
    assert told == [
        ", line 11, question moved: the answer '반달섬' is not at character 20, where '3월에' stands; "
        "the nearest is at 24",
        ", line 21, question gone: the answer '보름섬' is not at character 3, where ' 등대' stands; "
        "the text does not have it",
        ", line 31, question beyond: the answer '왔다' cannot begin at character 900 of 33; the nearest is at 30",
        ", line 41, question negative: the answer '왔다' cannot begin at character -3 of 33; the nearest is at 30",
        f", line 51, question form: the answer {form!r} is not at character 24, where '반달섬으로 왔다.' stands; "
        "the text has it in another Unicode normal form",
        ', line 61, question blank: an answer\'s "text" is empty',
        ', line 71, question silent: "question" is empty',
        ", line 81, question open: has no answers",
        ', data[0].paragraphs[0].qas[8]: lacks "id"',
        ', line 95, question float: an answer lacks "answer_start", or it is no whole number',
        f", line 115, question right: the same id as at {tmp_path}/gold.json, line 105, question right",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ": is empty"),
        ("[]", ': no KorQuAD file: it lacks the list "data"'),
        ('{"data": 5}', ': no KorQuAD file: it lacks the list "data"'),
        ('{\n"data": [\n}', ", line 3: not JSON: expecting value (column 1)"),
        ('{"data": [{"qas": [], "context": "<html>"}]}', ', data[0]: lacks the list "paragraphs"; KorQuAD 2 has'),
        ('{"data": [{"paragraphs": [{"context": "가"}]}]}', ', data[0].paragraphs[0]: lacks the list "qas"'),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', ', data[0].paragraphs[0]: "context" is missing or not text'),
        ('{"data": [{"paragraphs": [{"qas": [], "context": "\\ud83d"}]}]}', '"context" has half of a surrogate pair'),
        ("[" * 100_000, ": not JSON: a number or a nesting beyond measure"),
    ],
)
def test_a_file_of_another_shape_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "gold.json").write_text(text, encoding="utf-8")
    (only,) = problems(str(tmp_path / "gold.json"))
    assert told in only


def test_no_questions_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no questions"):
        read_questions([written(tmp_path, whole())])
    (tmp_path / "cp949.json").write_bytes(
        json.dumps(whole(question("a", "반달섬", ISLAND)), ensure_ascii=False).encode("cp949")
    )
    with pytest.raises(InputError, match="cp949"):
        read_questions([str(tmp_path / "cp949.json")])


def test_the_first_of_many_problems_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    source = written(tmp_path, whole(*(question(f"q{number}", "없다", 0) for number in range(50))))
    with pytest.raises(DataError) as caught:
        read_questions([source])
    assert "50 bad places" in str(caught.value)
    assert "and 30 more" in str(caught.value)


def test_to_score_answers_places_and_texts_do_not_matter(tmp_path: Path) -> None:
    value = whole(question("a", "없다", 3), question("a", "반달섬", -1), context=None)
    for one in value["data"][0]["paragraphs"][0]["qas"]:
        del one["question"]
    assert [example.answers[0].text for example in read_questions([written(tmp_path, value)], to_score=True)] == [
        "없다",
        "반달섬",
    ]
    with pytest.raises(DataError, match="no answers"):
        read_questions([written(tmp_path, whole({"id": "a", "question": "왜?", "answers": []}))], to_score=True)
