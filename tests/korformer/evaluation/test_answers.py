"""Exact match and F1 of answers.

The figures in `PAIRS` and `FILES` were computed once with the official evaluate-v1.0.py of KorQuAD 1.0 on the made-up
cases here, and copied in with all their digits. Beside them stand fractions worked out by hand from the definition, and
laws that any such measure obeys; neither needs another implementation.
"""

from __future__ import annotations

import unicodedata
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korformer.evaluation.answers import character_f1, differ_in_form, exact_match, normalised, score_answers

PAIRS = [
    ("등대지기", ("등대지기",), True, 1.0),
    ("등대지기는", ("등대지기",), False, 0.888888888888889),
    ("늙은 등대지기", ("등대지기",), False, 0.8),
    ("", ("등대지기",), False, 0),
    ("", ("'…'",), False, 0),
    ("  ", ("《》",), True, 0),
    ("《등대의 밤》", ("등대의 밤",), True, 1.0),
    ("<등대의밤>", ("〈등대의 밤〉",), False, 1.0),
    ("1975년 3월", ("1975년3월",), False, 1.0),
    ("1,975년", ("1975년",), True, 1.0),
    ("‘하루’", ("하루 (단편)",), False, 0.6666666666666666),
    ("Blue LIGHT", ("blue light",), True, 1.0),
    ("ＢＬＵＥ", ("blue",), False, 0),
    ("İstanbul", ("istanbul",), False, 0.9411764705882353),
    ("가나다라마", ("나라", "가나다", "마바사아자차"), False, 0.7499999999999999),
    ("다나가", ("가나다",), False, 1.0),
    ("약 45~46cm", ("45~46cm",), False, 0.923076923076923),
    ("45 cm", ("45㎝",), False, 0.5714285714285715),
    ("“인용”", ("인용",), False, 0.6666666666666666),
    ("한 줄\n두 줄", ("한 줄 두 줄",), True, 1.0),
    ("하하하", ("하하",), False, 0.8),
    ("가가나나", ("가나가나가나",), False, 0.8),
    ("..", ("등대",), False, 0),
    ("(서울) 대전", ("서울 대전",), True, 1.0),
    ("반달-섬", ("반달섬",), True, 1.0),
    ("\u3000반달\xa0섬", ("반달 섬",), True, 1.0),
]

CONTEXT = (
    "섬마을 등대지기 한도윤은 1975년 3월에 반달섬으로 왔다. "
    "그는 《등대의 밤》이라는 책을 썼고, 불빛은 약 45~46km까지 닿았다."
)
GOLD = {
    "a1": ["한도윤"],
    "a2": ["1975년 3월", "1975년"],
    "a3": ["반달섬"],
    "a4": ["《등대의 밤》"],
    "a5": ["45~46km", "약 45~46km"],
    "a6": ["섬마을 등대지기", "등대지기"],
    "a7": ["불빛"],
}
RIGHT = {name: answers[0] for name, answers in GOLD.items()}
SHUFFLED = dict(zip(RIGHT, [*list(RIGHT.values())[1:], RIGHT["a1"]], strict=True))
FILES = {
    "right": (RIGHT, 100.0, 100.0),
    "empty": (dict.fromkeys(RIGHT, ""), 0.0, 0.0),
    "whole context": (dict.fromkeys(RIGHT, CONTEXT), 0.0, 15.834435883781977),
    "shuffled ids": (SHUFFLED, 0.0, 0.0),
    "missing ids": (
        {name: answer for name, answer in RIGHT.items() if name not in {"a2", "a5", "a7"}},
        57.142857142857146,
        57.142857142857146,
    ),
    "no ids": ({}, 0.0, 0.0),
    "extra ids": ({**RIGHT, "zz": "x", "a99": "등대"}, 100.0, 100.0),
    "punctuation": ({name: f"'{answer}'." for name, answer in RIGHT.items()}, 100.0, 100.0),
    "spaces": ({name: " ".join(answer) for name, answer in RIGHT.items()}, 0.0, 100.0),
    "particles": ({name: f"{answer}은" for name, answer in RIGHT.items()}, 0.0, 88.47025989883134),
    "half": ({name: answer[: len(answer) // 2] for name, answer in RIGHT.items()}, 0.0, 61.74603174603174),
    "reversed": ({name: answer[::-1] for name, answer in RIGHT.items()}, 0.0, 100.0),
    "only punctuation": (dict.fromkeys(RIGHT, "(…)"), 0.0, 0.0),
    "decomposed": (
        {name: unicodedata.normalize("NFD", answer) for name, answer in RIGHT.items()},
        14.285714285714286,
        22.222222222222225,
    ),
    "upper case": ({name: answer.upper() for name, answer in RIGHT.items()}, 100.0, 100.0),
}

texts = st.text(st.sampled_from("가나다라마 .,'\"《》()‘’aAbB12\t"), max_size=12)


@pytest.mark.parametrize(("prediction", "answers", "exact", "f1"), PAIRS)
def test_each_answer_scores_as_the_official_script_has_it(
    prediction: str, answers: tuple[str, ...], exact: bool, f1: float
) -> None:
    assert exact_match(prediction, answers) is exact
    assert character_f1(prediction, answers) == f1


@pytest.mark.parametrize("name", FILES)
def test_each_file_scores_as_the_official_script_has_it(name: str) -> None:
    predictions, exact, f1 = FILES[name]
    scores = score_answers(list(GOLD.values()), [predictions.get(name) for name in GOLD])
    assert (scores.exact_match, scores.mean_f1) == (exact, f1)
    assert sum(scores.answered) == len(set(predictions) & set(GOLD))


@pytest.mark.parametrize(
    ("prediction", "answer", "f1"),
    [
        # 4 characters in common; 5 predicted, 4 wanted: 2 * (4/5 * 4/4) / (4/5 + 4/4) = 8/9.
        ("등대지기는", "등대지기", Fraction(8, 9)),
        # A character counts as often as both have it: 2 of 3 and of 2.
        ("하하하", "하하", Fraction(4, 5)),
        # 2 in common of 4 and of 6.
        ("바람개비", "바람구름하늘", Fraction(4, 10)),
        # Spaces are no characters: 2 in common of 2 and of 2.
        ("가 나", "나가", Fraction(1)),
        ("가", "나", Fraction(0)),
    ],
)
def test_f1_is_what_the_definition_says(prediction: str, answer: str, f1: Fraction) -> None:
    assert character_f1(prediction, [answer]) == pytest.approx(float(f1), abs=1e-15)


@given(texts, st.lists(texts, min_size=1, max_size=3))
def test_laws(prediction: str, answers: list[str]) -> None:
    f1 = character_f1(prediction, answers)
    assert 0 <= f1 <= 1 + 1e-12
    assert f1 == max(character_f1(prediction, [answer]) for answer in answers)
    assert character_f1(prediction, answers[:1]) == pytest.approx(character_f1(answers[0], [prediction]))
    assert exact_match(prediction, answers) == any(exact_match(prediction, [answer]) for answer in answers)
    # Case, ASCII punctuation and the order of characters make no difference to F1.
    assert character_f1(f"{prediction.swapcase()}.!", answers) == f1
    assert character_f1(prediction[::-1], answers) == f1
    # An exact match with anything in it has all characters right.
    if exact_match(prediction, answers) and normalised(prediction):
        assert f1 == 1


@given(st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=8))
def test_a_missing_answer_counts_as_an_empty_one_but_where_nothing_was_right(
    questions: list[tuple[str, list[str]]],
) -> None:
    answers = [wanted for _, wanted in questions]
    scores = score_answers(answers, [None, *(given for given, _ in questions[1:])])
    empty = score_answers(answers, ["", *(given for given, _ in questions[1:])])
    assert scores.mean_f1 == empty.mean_f1
    assert scores.exact == (False, *empty.exact[1:])


def test_an_answer_in_another_normal_form_is_told_and_scored_as_it_stands() -> None:
    decomposed = unicodedata.normalize("NFD", "반달섬")
    assert not exact_match(decomposed, ["반달섬"])
    assert differ_in_form([["반달섬"], ["반달섬"], ["섬"], ["섬"]], [decomposed, "반달섬", "달", None]) == 1
