"""Reading named entities out of every layout, and telling what is wrong with a file."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from korformer.errors import InputError
from korformer.evaluation.entities import Entity
from korformer.tasks.ner.reading import NerExample, read_sentences
from korformer.tasks.ner.tags import Tag, parse_tag
from korformer.text.records import DataError

TEXT = "한도윤은 반달섬 등대에 산다."
TAGS = ["B-PS", "I-PS", "I-PS", "O", "O", "B-LC", "I-LC", "I-LC", "I-LC", "I-LC", "I-LC", "O", "O", "O", "O", "O"]
FOUND = (Entity(start=0, end=3, label="PS"), Entity(start=5, end=11, label="LC"))

KLUE = (
    "## 문장 구분자 : 빈 줄\n## 컬럼명 : CHAR\tNE_TAG\n"
    "## made-1\t<한도윤:PS>은 <반달섬 등대:LC>에 산다.\n"
    + "".join(f"{character}\t{tag}\n" for character, tag in zip(TEXT, TAGS, strict=True))
    + "\n## made-2\t눈.\n눈\tO\n.\tO\n"
)
NAVER = "1\t한도윤은\tPER_B\n2\t반달섬\tLOC_B\n3\t등대에\tLOC_I\n4\t산다\t-\n5\t.\t-\n\n1\t눈\t-\n"
KMOU = (
    "## 7\n## 한도윤은 산다.\n## <한도윤:PER>은 산다.\n"
    "한도윤\t한도윤\tNNP\tB-PER\n은\t은\tJX\tO\n_\t_\t_\tO\n산\t살+ㄴ\tVV\tO\n다\t다\tEF\tO\n.\t.\tSF\tO\n"
)
CONLL = "한도윤은 NNP O B-PER\n산다 VV O O\n\n눈 NN O O\n"
SENTENCES = "한도윤은 반달섬 등대에 산다\tPER_B LOC_B LOC_I -\n눈 온다\t- -\n"
JSON = (
    json.dumps({"text": TEXT, "entities": [[5, 11, "LC"], [0, 3, "PS"]]}, ensure_ascii=False)
    + "\n\n"
    + json.dumps({"id": "둘", "text": "눈.", "entities": [{"start": 0, "end": 1, "label": "NT", "text": "눈"}]})
    + "\n"
)


def read(tmp_path: Path, text: str, name: str = "data.tsv", **how: bool) -> list[NerExample]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_sentences([str(tmp_path / name)], **how)


def problems(tmp_path: Path, text: str, **how: bool) -> list[str]:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text, **how)
    return [f"line {place.line}: {what}" for place, what in caught.value.problems]


def spans(example: NerExample) -> list[tuple[str, str]]:
    return [(example.text[entity.start : entity.end], entity.label) for entity in example.entities]


def test_klue(tmp_path: Path) -> None:
    first, second = read(tmp_path, KLUE)
    assert (first.id, first.text, first.entities, first.place.line) == ("made-1", TEXT, FOUND, 4)
    assert (second.id, second.text, second.entities) == ("made-2", "눈.", ())


def test_klue_in_another_normal_form_keeps_its_own_places(tmp_path: Path) -> None:
    first, _ = read(tmp_path, unicodedata.normalize("NFD", KLUE))
    assert first.text == unicodedata.normalize("NFD", TEXT)
    assert spans(first) == [
        (unicodedata.normalize("NFD", one), label) for one, label in [("한도윤", "PS"), ("반달섬 등대", "LC")]
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NAVER, [("한도윤은 반달섬 등대에 산다 .", [("한도윤은", "PER"), ("반달섬 등대에", "LOC")]), ("눈", [])]),
        (KMOU, [("한도윤은 산다.", [("한도윤", "PER")])]),
        (CONLL, [("한도윤은 산다", [("한도윤은", "PER")]), ("눈", [])]),
        (
            SENTENCES,
            [("한도윤은 반달섬 등대에 산다", [("한도윤은", "PER"), ("반달섬 등대에", "LOC")]), ("눈 온다", [])],
        ),
        (JSON, [(TEXT, [("한도윤", "PS"), ("반달섬 등대", "LC")]), ("눈.", [("눈", "NT")])]),
    ],
    ids=["naver", "kmou", "conll", "sentences", "json"],
)
def test_other_layouts_are_told_by_their_beginning(
    tmp_path: Path, text: str, expected: list[tuple[str, list[tuple[str, str]]]]
) -> None:
    for shown in (text, text.replace("\n", "\r\n"), "\ufeff" + text, text + "\n\n"):
        found = read(tmp_path, shown)
        assert [(example.text, spans(example)) for example in found] == expected


def test_ids_are_the_datas_own_or_running_numbers_and_differ(tmp_path: Path) -> None:
    assert [example.id for example in read(tmp_path, KMOU)] == ["7"]
    assert [(example.id, example.given_id) for example in read(tmp_path, JSON)] == [("1", ""), ("둘", "둘")]
    twice = read(tmp_path, KLUE + "\n" + KLUE)
    assert [example.id for example in twice] == ["made-1", "made-2", "made-1#2", "made-2#2"]


def test_several_files_of_several_layouts(tmp_path: Path) -> None:
    for name, text in (("a.tsv", KLUE), ("b.tsv", NAVER), ("c.jsonl", JSON)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert len(read_sentences([str(tmp_path)])) == 6


@pytest.mark.parametrize(
    ("spelt", "tag"),
    [
        ("O", (False, None)),
        ("-", (False, None)),
        ("B-PS", (True, "PS")),
        ("I_PS", (False, "PS")),
        ("PER_B", (True, "PER")),
        ("PER-I", (False, "PER")),
        ("B-CV-TITLE", (True, "CV-TITLE")),
        ("CV_TITLE_I", (False, "CV_TITLE")),
        ("PS", None),
        ("B-", None),
        ("", None),
        ("b-PS", None),
        ("B PS", None),
    ],
)
def test_tags(spelt: str, tag: tuple[bool, str | None] | None) -> None:
    assert parse_tag(spelt) == (None if tag is None else Tag(begins=tag[0], label=tag[1]))


def test_everything_that_is_wrong_with_a_file_of_tags_is_told_at_once(tmp_path: Path) -> None:
    text = (
        "한\tB-PS\n강\tI-LC\n\n눈\tI-PS\n이\tX\n온\tO\tO\n다\n\n비\tO\n가\tI-PS\n\n \tO\n\n달\tB-PS\n" + "별\tO\n" * 30
    )
    assert problems(tmp_path, text) == [
        "line 2: tag I of LC after an entity PS: an entity begins with B; mend it, or give --set lenient=true, which "
        "takes it for a beginning",
        "line 5: 'X' is no tag: O, B-LABEL, I-LABEL, LABEL_B, LABEL_I, -",
        "line 6: 3 columns instead of 2",
        "line 7: 1 columns instead of 2",
        "line 10: tag I of PS after O: an entity begins with B; mend it, or give --set lenient=true, which "
        "takes it for a beginning",
        "line 12: a sentence without text",
    ]


def test_a_tag_without_its_beginning_can_begin_an_entity_or_none(tmp_path: Path) -> None:
    text = "한\tI-PS\n강\tI-PS\n은\tO\n눈\tB-LC\n과\tI-PS\n"
    (lenient,) = read(tmp_path, text, lenient=True)
    assert spans(lenient) == [("한강", "PS"), ("눈", "LC"), ("과", "PS")]
    (strict,) = read(tmp_path, text, to_score=True)
    assert spans(strict) == [("눈", "LC")]
    assert len(problems(tmp_path, text)) == 2


def test_everything_that_is_wrong_with_json_lines_is_told_at_once(tmp_path: Path) -> None:
    lines = [
        {"text": "한강", "entities": [[0, 2, "LC"]]},
        {"text": " ", "entities": []},
        {"entities": []},
        {"text": "한강", "entities": "LC"},
        {"text": "한강", "entities": [[0, 3, "LC"], [1, 1, "LC"], [-1, 1, "LC"], [0.0, 1, "LC"], [0, 1], [0, 1, " "]]},
        {"text": "한강은", "entities": [[0, 2, "LC"], [1, 3, "PS"]]},
        {"text": "\ud83d", "entities": []},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + "{\n[]\n"
    assert problems(tmp_path, text) == [
        'line 2: "text" is empty',
        'line 3: "text" is missing or not text',
        'line 4: "entities" is not a list',
        "line 5: entity 1: characters 0 to 3 are not in a text of 2",
        "line 5: entity 2: characters 1 to 1 are not in a text of 2",
        "line 5: entity 3: characters -1 to 1 are not in a text of 2",
        "line 5: entity 4: start and end are not whole numbers",
        "line 5: entity 5: is not [start, end, label]",
        "line 5: entity 6: its label is missing or has white space",
        "line 6: entities overlap: '한강' (0 to 2) and '강은' (1 to 3)",
        'line 7: "text" has half of a surrogate pair',
        "line 8: not JSON (Expecting property name enclosed in double quotes)",
        "line 9: not a JSON object",
    ]


def test_ragged_sentences_a_line(tmp_path: Path) -> None:
    assert problems(tmp_path, SENTENCES * 20 + "눈이 온다\t-\n한 칸\n눈\t-\t-\n") == [
        "line 41: 2 words and 1 tags: a line has as many words as tags, a tab between them",
        "line 42: 1 columns: a line has as many words as tags, a tab between them",
        "line 43: 3 columns: a line has as many words as tags, a tab between them",
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "## nothing but comments\n"])
def test_no_sentences(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="no sentences"):
        read(tmp_path, text)


def test_a_file_that_is_named_twice_is_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("## x-1\t한강\n한\tB-LC\n강\tI-LC\n", encoding="utf-8")
    found = read_sentences([str(path), str(path)])
    assert [(example.id, example.text) for example in found] == [("x-1", "한강"), ("x-1#2", "한강")]
