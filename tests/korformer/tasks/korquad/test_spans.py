"""Windows and spans: every answer can be given exactly, and what is given is the likeliest."""

from __future__ import annotations

import itertools
import random
import unicodedata

import numpy as np
import pytest
import torch

from korformer.supervised.batches import Window, collate
from korformer.supervised.task import Reader
from korformer.tasks.korquad.reading import Answer, KorquadExample
from korformer.tasks.korquad.solver import KorquadSettings, KorquadSolver
from korformer.tasks.korquad.spans import SpanScores, best_spans, outputs_of, span_loss, span_scores
from korformer.tasks.korquad.windows import NO_CUT, SpanTarget
from korformer.text.records import Place
from korformer.text.special import CLS_ID, SEP_ID, SPECIAL_TOKENS
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

TEXT = (
    "섬마을 등대지기 한도윤은 1975년 3월에 반달섬으로 왔다. 반달섬의 등대는 《오래된 등대》라고 불린다.\n\n"
    "한도윤은 🙂뷁쀍이라는 이름의 개를 길렀다. 등대지기는 안개가 낀 날에도 불을 켰고, 불빛은 45~46km까지 닿았다."
)
ANSWERS = [
    "한도윤",
    "1975년 3월",
    "반달섬",
    "등대지기",
    "《오래된 등대》",
    "오래된 등대",
    "뷁쀍",
    "개",
    "45~46km",
    "46",
    "안개가 낀 날",
]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    # Few texts again and again: words become tokens with their particles.
    return train_vocabulary([TEXT] * 5, VocabularySettings(size=640))


def example(answer: str, text: str = TEXT, start: int | None = None) -> KorquadExample:
    found = text.index(answer) if start is None else start
    return KorquadExample(
        id=answer,
        place=Place(file="t"),
        question="무엇인가?",
        context=text,
        answers=(Answer(text=answer, start=found),),
    )


def solver(vocabulary: Vocabulary, max_tokens: int = 512, **settings: int | None) -> KorquadSolver:
    reader = Reader(vocabulary=vocabulary, max_tokens=max_tokens)
    return KorquadSolver(KorquadSettings.model_validate(settings), reader)


def perfect(windows: list[Window], longest_cut: int) -> torch.Tensor:
    """What a head would give that knows the targets, (W, L, O)."""
    scores = torch.zeros(len(windows), max(map(len, windows)), outputs_of(longest_cut))
    for row, window in zip(scores, windows, strict=True):
        target: SpanTarget = window.target
        row[target.start, 0] = row[target.end, 1] = 30.0
        if target.cut_start != NO_CUT:
            row[target.start, 2 + target.cut_start] = 30.0
        if target.cut_end != NO_CUT:
            row[target.end, 2 + longest_cut + 1 + target.cut_end] = 30.0
    return scores


def answered(solver: KorquadSolver, examples: list[KorquadExample]) -> list[str | None]:
    windows = solver.windows(examples)
    batch = collate(windows, share_rows=False)
    scores = span_scores(perfect(windows, solver.settings.longest_cut), batch)
    settings = solver.settings
    spans = best_spans(scores, batch, longest_tokens=settings.max_answer_tokens, n_best=settings.n_best)
    return [prediction.text for prediction in solver.predictions(examples, windows, spans)]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("max_tokens", [512, 64, 40])
def test_every_answer_can_be_given_exactly(vocabulary: Vocabulary, form: str, max_tokens: int) -> None:
    text = unicodedata.normalize(form, TEXT)
    examples = [example(unicodedata.normalize(form, answer), text) for answer in ANSWERS]
    made = solver(vocabulary, max_tokens)
    assert answered(made, examples) == [unicodedata.normalize(form, answer) for answer in ANSWERS]
    assert made.metrics(examples, made.predictions(examples, *_perfectly(made, examples)))["exact_match"] == 100.0


def _perfectly(made: KorquadSolver, examples: list[KorquadExample]) -> tuple[list[Window], list[object]]:
    windows = made.windows(examples)
    batch = collate(windows, share_rows=False)
    scores = span_scores(perfect(windows, made.settings.longest_cut), batch)
    return windows, list(best_spans(scores, batch, longest_tokens=30, n_best=5))


def test_some_answers_are_only_parts_of_their_tokens(vocabulary: Vocabulary) -> None:
    targets = {one.id: window.target for one in map(example, ANSWERS) for window in solver(vocabulary).windows([one])}
    assert targets["한도윤"].cut_end == 1  # 은
    assert targets["한도윤"].cut_start == 0  # the space before it does not count
    assert targets["반달섬"].cut_end == 2  # 으로
    assert sum(target.cut_end > 0 for target in targets.values()) >= 3
    # Without cuts the particle stays.
    given = answered(solver(vocabulary, longest_cut=0), [example("한도윤")])
    assert given == ["한도윤은"]


def test_an_answer_that_several_tokens_spell_byte_by_byte(vocabulary: Vocabulary) -> None:
    _, offsets = vocabulary.encode_offsets([TEXT + " 괡"])[0]
    assert offsets[-1] == offsets[-2]
    assert answered(solver(vocabulary), [example("괡", TEXT + " 괡")]) == ["괡"]


def test_a_bert_vocabulary_answers_too() -> None:
    words = sorted({*TEXT.replace("\n", " ")})
    vocabulary = Vocabulary(
        [*SPECIAL_TOKENS, *[word for word in words if word.strip()], *[f"##{word}" for word in words if word.strip()]],
        "bert",
    )
    examples = [example(answer) for answer in ANSWERS]
    assert answered(solver(vocabulary), examples) == ANSWERS


def test_a_window_is_a_question_and_a_text(vocabulary: Vocabulary) -> None:
    (window,) = solver(vocabulary).windows([example("반달섬")])
    question, text = vocabulary.encode("무엇인가?"), vocabulary.encode(TEXT)
    assert window.tokens.tolist() == [CLS_ID, *question, SEP_ID, *text, SEP_ID]
    assert window.segments is not None
    assert window.segments.tolist() == [0] * (2 + len(question)) + [1] * (len(text) + 1)


@pytest.mark.parametrize(("max_tokens", "stride"), [(44, None), (44, 10), (40, 7), (36, 1)])
def test_windows_cover_the_text_only_where_it_does_not_fit(
    vocabulary: Vocabulary, max_tokens: int, stride: int | None
) -> None:
    made = solver(vocabulary, max_tokens, doc_stride=stride)
    windows = made.windows([example("반달섬"), example("개", "개가 짖었다.")])
    long = [window for window in windows if window.example == 0]
    assert len(windows) == len(long) + 1
    assert all(len(window) == max_tokens for window in long)
    begins = [int(window.origin.begins[0]) for window in long]
    assert begins == sorted(begins)
    shown = {place for window in long for place in zip(window.origin.begins, window.origin.ends, strict=True)}
    (whole,) = solver(vocabulary).windows([example("반달섬")])
    assert shown == set(zip(whole.origin.begins, whole.origin.ends, strict=True))
    kinds = [window.target.has_answer for window in long]
    assert True in kinds
    assert False in kinds


def test_training_takes_windows_with_the_answer_and_some_without(vocabulary: Vocabulary) -> None:
    examples = [example("반달섬"), example("46", start=TEXT.index("46"))]
    for impossible in (0, 1, 3):
        made = solver(vocabulary, 32, doc_stride=3, impossible_windows=impossible)
        windows = made.training_windows(examples)
        for number in range(2):
            kinds = [window.target.has_answer for window in windows if window.example == number]
            assert kinds.count(True) == sum(
                window.target.has_answer for window in made.windows(examples) if window.example == number
            )
            assert kinds.count(False) == impossible


def test_a_question_longer_than_the_window_loses_its_end(vocabulary: Vocabulary) -> None:
    long = KorquadExample(
        id="q",
        place=Place(file="t"),
        question="등대는 " * 200,
        context=TEXT,
        answers=(Answer(text="반달섬", start=23),),
    )
    assert max(map(len, solver(vocabulary, 32).windows([long]))) == 32
    short = solver(vocabulary, max_question_tokens=5).windows([long])[0]
    assert short.tokens.tolist().index(SEP_ID) == 6


def naive(scores: SpanScores, window: Window, longest: int) -> dict[tuple[int, int], float]:
    """Every span with its probability, by the definition."""
    stretch = window.origin
    found: dict[tuple[int, int], float] = {}
    size = len(stretch.begins)
    for first, last in itertools.product(range(size), repeat=2):
        if not first <= last < first + longest:
            continue
        one, other = stretch.first + first, stretch.first + last
        for front, back in itertools.product(range(scores.cut_start_WLC.shape[2]), repeat=2):
            if (
                front >= stretch.ends[first] - stretch.begins[first]
                or back >= stretch.ends[last] - stretch.begins[last]
            ):
                continue
            begin, end = int(stretch.begins[first]) + front, int(stretch.ends[last]) - back
            if begin < end:
                total = (
                    scores.start_WL[0, one]
                    + scores.end_WL[0, other]
                    + scores.cut_start_WLC[0, one, front]
                    + scores.cut_end_WLC[0, other, back]
                )
                found[begin, end] = max(found.get((begin, end), 0.0), float(total.exp()))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_best_spans_are_the_likeliest_of_all(vocabulary: Vocabulary, seed: int) -> None:
    text = TEXT[seed * 5 : seed * 5 + 25]
    (window,) = solver(vocabulary).windows(
        [KorquadExample(id="q", place=Place(file="t"), question="왜?", context=text)]
    )
    batch = collate([window], share_rows=False)
    numbers = torch.randn(1, len(window), outputs_of(2), generator=torch.Generator().manual_seed(seed)) * 3
    scores = span_scores(numbers, batch)
    (found,) = best_spans(scores, batch, longest_tokens=3, n_best=4)
    expected = sorted(naive(scores, window, 3).items(), key=lambda item: -item[1])
    assert [(span.begin, span.end) for span in found] == [span for span, _ in expected[: len(found)]]
    assert [span.probability for span in found] == pytest.approx(
        [chance for _, chance in expected[: len(found)]], rel=1e-4
    )
    assert len(found) == 4


def test_probabilities_of_the_ends_add_up_and_leave_the_question_out(vocabulary: Vocabulary) -> None:
    windows = solver(vocabulary, 40).windows([example("반달섬")])
    batch = collate(windows, share_rows=False)
    numbers = torch.randn(len(windows), 40, outputs_of(8), generator=torch.Generator().manual_seed(0))
    scores = span_scores(numbers, batch)
    assert scores.start_WL.exp().sum(dim=1).tolist() == pytest.approx([1.0] * len(windows), abs=1e-5)
    first = windows[0].origin.first
    assert float(scores.start_WL[:, 1:first].exp().max()) == 0.0
    assert float(scores.end_WL[:, -1].exp().max()) == 0.0  # the last [SEP]


def test_the_loss_is_small_where_the_head_knows_and_large_where_not(vocabulary: Vocabulary) -> None:
    made = solver(vocabulary, 40)
    windows = made.windows([example(answer) for answer in ANSWERS])
    batch = collate(windows, share_rows=False)
    knows = span_loss(span_scores(perfect(windows, 8), batch), batch)
    guesses = span_loss(span_scores(torch.zeros(len(windows), 40, outputs_of(8)), batch), batch)
    assert float(knows) < 1e-6
    assert float(guesses) > 3


def test_a_window_that_says_not_here_gives_way(vocabulary: Vocabulary) -> None:
    """The same span scores, but one window puts nearly all on [CLS]."""
    source = random.Random(1)
    made = solver(vocabulary, 40, doc_stride=10)
    examples = [example("반달섬")]
    windows = made.windows(examples)
    sure = source.randrange(len(windows))
    outputs = []
    for number, window in enumerate(windows):
        numbers = torch.zeros(1, len(window), outputs_of(8))
        place = window.origin.first + int(np.flatnonzero(window.origin.ends > window.origin.begins)[0])
        numbers[0, place, :2] = 10.0
        if number != sure:
            numbers[0, 0, :2] = 20.0
        batch = collate([window], share_rows=False)
        outputs += best_spans(span_scores(numbers, batch), batch, longest_tokens=30, n_best=5)
    (prediction,) = made.predictions(examples, windows, outputs)
    begins = windows[sure].origin.begins
    assert prediction.candidates[0].start == int(begins[windows[sure].origin.ends > begins][0])
    chances = [candidate.probability for candidate in prediction.candidates]
    assert chances == sorted(chances, reverse=True)
    # Both ends are sure, the two cuts are guessed: 1/9 each.
    assert 0.9 / 81 < chances[0] <= 1 / 81


@pytest.mark.parametrize("text", ["한도윤", "왔다.", "개", "한도윤은 1975년"])
def test_a_text_with_fewer_spans_than_are_wanted_gives_those_it_has(vocabulary: Vocabulary, text: str) -> None:
    (window,) = solver(vocabulary).windows(
        [KorquadExample(id="q", place=Place(file="t"), question="왜?", context=text)]
    )
    batch = collate([window], share_rows=False)
    numbers = torch.randn(1, len(window), outputs_of(8), generator=torch.Generator().manual_seed(0))
    scores = span_scores(numbers, batch)
    (found,) = best_spans(scores, batch, longest_tokens=30, n_best=10_000)
    assert {(span.begin, span.end) for span in found} == set(naive(scores, window, 30))
