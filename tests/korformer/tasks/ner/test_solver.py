"""Entities by a model: every entity can be found exactly, whatever the tokens, the length and the normal form."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest
import torch

from korformer.errors import InputError, ModelDirectoryError
from korformer.evaluation.entities import Entity
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.supervised.batches import Window, collate
from korformer.supervised.running import run
from korformer.supervised.task import Reader
from korformer.tasks.ner import TASK
from korformer.tasks.ner.reading import NerExample
from korformer.tasks.ner.solver import NerPrediction, NerSettings, NerSolver
from korformer.tasks.ner.units import entities_of, find_units, forbidden_transitions, tag_names, tags_of
from korformer.text.records import Place, Problems
from korformer.text.special import SPECIAL_TOKENS
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

LABELS = ["DT", "LC", "PS"]
MARKED = [
    [("한도윤", "PS"), "은 ", ("1975년 3월", "DT"), "에 ", ("반달섬 등대", "LC"), "로 왔다."],
    [("한도윤", "PS"), ("반달섬", "LC"), ("등대", "LC"), "🙂뷁 ", ("쀍", "PS"), "이라는 개를 길렀다"],
    ["아무도 오지 않았다."],
    [("  ", "DT"), "빈칸 "],
]


def example(parts: list[Any], number: int, form: str = "NFC") -> NerExample:
    text, entities = "", []
    for part in parts:
        piece, label = part if isinstance(part, tuple) else (part, None)
        piece = unicodedata.normalize(form, piece)
        if label is not None:
            entities.append(Entity(start=len(text), end=len(text) + len(piece), label=label))
        text += piece
    return NerExample(id=str(number), place=Place(file="t", line=number), text=text, entities=tuple(entities))


def examples(form: str = "NFC") -> list[NerExample]:
    return [example(parts, number, form) for number, parts in enumerate(MARKED, 1)]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return train_vocabulary([one.text for one in examples()] * 5, VocabularySettings(size=600))


def solver(vocabulary: Vocabulary, max_tokens: int = 256, **settings: Any) -> NerSolver:
    reader = Reader(vocabulary=vocabulary, max_tokens=max_tokens)
    return NerSolver(NerSettings.model_validate(settings), LABELS, reader)


def perfect(made: NerSolver, windows: list[Window]) -> list[Any]:
    """What a model would give that knows the tags."""
    after, first = forbidden_transitions(len(LABELS))
    chain = (-1e4 * after.astype(np.float32), -1e4 * first.astype(np.float32), np.zeros(len(first), dtype=np.float32))
    return [(10 * np.eye(len(first), dtype=np.float32)[window.target], chain) for window in windows]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("max_tokens", [256, 10, 7])
def test_every_entity_can_be_found_exactly(vocabulary: Vocabulary, form: str, max_tokens: int) -> None:
    made = solver(vocabulary, max_tokens)
    given = examples(form)[:3]
    windows = made.windows(given)
    assert len(windows) == 3 if max_tokens == 256 else len(windows) > 3
    found = made.predictions(given, windows, perfect(made, windows))
    assert [prediction.entities for prediction in found] == [one.entities for one in given]
    assert made.metrics(given, found)["entity_f1"] == 1.0


def test_entities_end_inside_tokens_and_one_character_a_token_loses_them(vocabulary: Vocabulary) -> None:
    given = examples()[:1]
    text, offsets = given[0].text, vocabulary.encode_offsets([given[0].text])[0][1]
    assert (0, 4) in offsets, text  # 한도윤은 is one token
    made = solver(vocabulary, characters_per_token=1)
    windows = made.windows(given)
    (found,) = made.predictions(given, windows, perfect(made, windows))
    assert (found.entities[0].start, found.entities[0].end) == (0, 4)


def test_units_are_the_characters_that_are_no_space() -> None:
    units = find_units("가 나다라마", [(0, 1), (1, 4), (4, 6)], most=2)
    assert units.tokens.tolist() == [0, 1, 1, 2, 2]
    assert units.slots.tolist() == [0, 0, 1, 0, 1]
    assert units.begins.tolist() == [0, 2, 3, 4, 5]
    assert units.ends.tolist() == [1, 3, 4, 5, 6]
    short = find_units("가 나다라마", [(0, 1), (1, 6)], most=2)
    assert short.ends.tolist() == [1, 3, 6]
    spelt = find_units("뷁가", [(0, 1), (0, 1), (0, 1), (1, 2)], most=8)
    assert spelt.tokens.tolist() == [0, 3]


def test_tags_and_entities_are_each_others_inverse() -> None:
    units = find_units("가나다라 마바", [(0, 4), (4, 7)], most=8)
    entities = [
        Entity(start=0, end=2, label="LC"),
        Entity(start=2, end=3, label="LC"),
        Entity(start=3, end=7, label="PS"),
    ]
    tags = tags_of(units, entities, {label: number for number, label in enumerate(LABELS)})
    assert [tag_names(LABELS)[tag] for tag in tags] == ["B-LC", "I-LC", "B-LC", "B-PS", "I-PS", "I-PS"]
    assert entities_of(units, tags.tolist(), LABELS) == entities
    # An I without its B is no entity.
    assert entities_of(units, [4, 4, 0, 3, 6, 0], LABELS) == [Entity(start=3, end=4, label="LC")]


def test_only_sequences_that_make_sense_are_given(vocabulary: Vocabulary) -> None:
    made = solver(vocabulary, head="linear")
    given = examples()[:2]
    windows = made.windows(given)
    source = np.random.default_rng(0)
    chain = perfect(made, windows)[0][1]
    outputs = [(source.normal(size=(len(window.target), 7)).astype(np.float32), chain) for window in windows]
    for window, output, prediction in zip(windows, outputs, made.predictions(given, windows, outputs), strict=True):
        assert prediction.entities == tuple(sorted(prediction.entities))
        assert len(window.target) == len(output[0])
        for one, other in zip(prediction.entities, prediction.entities[1:], strict=False):
            assert one.end <= other.start


@pytest.mark.parametrize("head", ["crf", "linear"])
def test_a_small_model_learns_its_examples(vocabulary: Vocabulary, head: str) -> None:
    made = solver(vocabulary, head=head)
    shape = {
        "dim": 32,
        "depth": 1,
        "heads": 2,
        "max_seq_len": 256,
        "bucket_size": 16,
        "causal": False,
        "attention": "full",
    }
    model = ReformerModel(ModelConfig.model_validate(shape), vocabulary.size, made.heads)
    model.initialise(0)
    for one in model.heads.values():
        if hasattr(one, "reset"):
            one.reset()
    given = examples()[:3]
    windows = made.training_windows(given)
    batch = collate(windows, share_rows=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = None
    for _ in range(60):
        hidden = batch.by_window(
            model(batch.tokens_BT, documents_BT=batch.documents_BT, positions_BT=batch.positions_BT)
        )
        loss = made.loss(model, hidden, batch)
        assert {name: term.count for name, term in loss.terms.items()} == made.counts(windows)
        first = float(loss.mean.detach()) if first is None else first
        optimizer.zero_grad()
        loss.mean.backward()
        optimizer.step()
    assert first == pytest.approx(np.log(7), rel=0.2)
    assert float(loss.mean.detach()) < 0.05 * first
    found = made.predictions(given, windows, run(model, made, windows))
    assert [prediction.entities for prediction in found] == [one.entities for one in given]
    transitions = model.heads["crf"].transitions_KK if head == "crf" else None
    assert transitions is None or float(transitions.abs().max().detach()) > 0


def test_the_loss_of_a_pass_does_not_hang_on_how_windows_share_it(vocabulary: Vocabulary) -> None:
    made = solver(vocabulary)
    shape = {
        "dim": 16,
        "depth": 1,
        "heads": 2,
        "max_seq_len": 256,
        "bucket_size": 16,
        "causal": False,
        "attention": "full",
    }
    model = ReformerModel(ModelConfig.model_validate(shape), vocabulary.size, made.heads)
    model.initialise(0)
    windows = made.training_windows(examples()[:3])

    def summed(groups: list[list[Window]]) -> float:
        total = 0.0
        for group in groups:
            batch = collate(group, share_rows=False)
            with torch.no_grad():
                hidden = model(batch.tokens_BT, documents_BT=batch.documents_BT, positions_BT=batch.positions_BT)
                (term,) = made.loss(model, batch.by_window(hidden), batch).terms.values()
            total += float(term.mean) * term.count
        return total

    assert summed([windows]) == pytest.approx(summed([[window] for window in windows]), rel=1e-5)


def test_what_has_no_characters_has_no_entities_and_is_not_trained_on(vocabulary: Vocabulary) -> None:
    made = solver(vocabulary)
    space = NerExample(id="1", place=Place(file="t"), text="  \n ")
    windows = made.windows([space])
    assert made.training_windows([space]) == []
    assert made.predictions([space], windows, perfect(made, windows)) == [NerPrediction(entities=())]


def test_white_space_at_the_ends_of_entities_is_remarked(vocabulary: Vocabulary) -> None:
    made = solver(vocabulary)
    given = examples()
    told = made.remarks(given, [NerPrediction(entities=one.entities) for one in given])
    assert len(told) == 1
    assert "1 entities of the data begin or end with white space" in told[0]


def test_labels_are_learnt_checked_and_read_with_suspicion(vocabulary: Vocabulary) -> None:
    given = examples()
    settings = NerSettings()
    assert TASK.learn(given, settings) == {"labels": LABELS}
    with pytest.raises(InputError, match="no text of it has an entity"):
        TASK.learn(given[2:3], settings)
    problems = Problems()
    other = [example([("강", "LCC"), "과 ", ("산", "ZZZZ")], 9)]
    solver(vocabulary).check(given + other, problems)
    assert [f"{place}: {what}" for place, what in problems.found] == [
        "t, line 9: the label 'LCC' is not one of the training data; did you mean LC?",
        "t, line 9: the label 'ZZZZ' is not one of the training data (DT, LC, PS)",
    ]
    for facts in ({}, {"labels": []}, {"labels": [1]}, {"labels": ["A", "A"]}, {"labels": "PS"}):
        with pytest.raises(ModelDirectoryError):
            TASK.solver(settings, facts, None)


def test_a_bert_vocabulary_finds_entities_too() -> None:
    letters = sorted({letter for one in examples() for letter in one.text if not letter.isspace()})
    vocabulary = Vocabulary([*SPECIAL_TOKENS, *letters, *[f"##{letter}" for letter in letters]], "bert")
    made = solver(vocabulary)
    given = examples()[:3]
    windows = made.windows(given)
    found = made.predictions(given, windows, perfect(made, windows))
    assert [prediction.entities for prediction in found] == [one.entities for one in given]


def test_one_s_own_text_is_a_line_or_json() -> None:
    problems = Problems()
    place = Place(file="t", line=4)
    plain = TASK.parse(place, "한강은 흐른다.", NerSettings(), problems)
    assert plain == NerExample(place=place, text="한강은 흐른다.")
    record = TASK.parse(place, '{"id": 7, "text": "한강"}', NerSettings(), problems)
    assert record == NerExample(given_id="7", place=place, text="한강")
    assert not problems
    assert TASK.parse(place, "  ", NerSettings(), problems) is None
    assert TASK.parse(place, '{"txt": "한강"}', NerSettings(), problems) is None
    assert len(problems.found) == 2


def test_of_a_long_text_the_part_around_the_first_mistake_is_shown(vocabulary: Vocabulary) -> None:
    made = solver(vocabulary)
    long = example(["바람이 분다. " * 100, ("반달섬", "LC"), "은 멀다. " * 100], 1)
    shown = made.context(long, NerPrediction(entities=()))
    data, found = shown.split("\n")
    assert data.startswith("data:  …")
    assert "바람이 분다. <반달섬:LC>은 멀다." in data
    assert "<" not in found
    assert max(map(len, (data, found))) < 450
    short = examples()[0]
    assert made.context(short, NerPrediction(entities=short.entities)).count("<한도윤:PS>은") == 2
