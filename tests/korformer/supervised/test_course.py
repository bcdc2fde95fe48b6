import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from korformer.errors import InputError, UsageError
from korformer.events import Event, Notice, Progress
from korformer.model.config import ModelConfig
from korformer.model.directory import LoadedModel
from korformer.supervised.batches import Window
from korformer.supervised.course import CourseRequest, SupervisedCourse
from korformer.supervised.selection import chosen_examples, fingerprint_of
from korformer.supervised.settings import ExampleSettings, LearningSettings
from korformer.tasks.classify import TASK
from korformer.tasks.korquad import TASK as KORQUAD
from korformer.text.records import DataError
from korformer.text.vocabulary import Vocabulary

Table = Callable[..., str]
Requested = Callable[..., CourseRequest]


@pytest.fixture
def requested(vocabulary: Vocabulary, shaped: Callable[..., ModelConfig], table: Table) -> Requested:
    rows = [(f"바람이 센 날 {number}", "많다" if number % 5 == 0 else "적다") for number in range(25)]

    def make(*, valid: tuple[tuple[str, str], ...] = (("종을 울렸다", "적다"),), **sections: Any) -> CourseRequest:
        return CourseRequest(
            model=shaped(**sections.get("shape", {})),
            vocabulary=vocabulary,
            base=None,
            train=[table("train.tsv", *rows)],
            valid=[table("valid.tsv", *valid)],
            task=TASK.settings(),
            data=ExampleSettings(**sections.get("data", {})),
            training=LearningSettings(**{"batch_size": 4, **sections.get("training", {})}),
        )

    return make


def windows_of(course: SupervisedCourse, step: int) -> list[int]:
    return sorted(window.example for batch in course.passes(step) for window in batch.windows)


def test_an_epoch_sees_every_window_once_each_in_another_order(requested: Requested) -> None:
    course = SupervisedCourse(TASK, requested())
    assert (course.steps, course.eval_every) == (21, 7)
    epochs = [[windows_of(course, step) for step in range(first, first + 7)] for first in (1, 8)]
    for epoch in epochs:
        assert sorted(number for step in epoch for number in step) == list(range(25))
    assert epochs[0] != epochs[1]
    again = SupervisedCourse(TASK, requested())
    assert windows_of(again, 9) == epochs[1][1]  # whatever was asked before
    again.begin(7)
    assert windows_of(again, 9) != epochs[1][1]


@pytest.mark.parametrize(
    ("training", "steps"),
    [({"epochs": 0.5}, 4), ({"epochs": 1.5}, 11), ({"steps": 5}, 5), ({"epochs": 0.001}, 1), ({"budget_tokens": 1}, 1)],
)
def test_how_long_a_run_is(requested: Requested, training: dict[str, Any], steps: int) -> None:
    assert SupervisedCourse(TASK, requested(training=training)).steps == steps


def test_a_budget_ends_with_the_step_that_reaches_it(requested: Requested) -> None:
    course = SupervisedCourse(TASK, requested(training={"budget_tokens": 120}))
    tokens = [sum(course.tokens(batch) for batch in course.passes(step)) for step in range(1, course.steps + 1)]
    assert sum(tokens) >= 120 > sum(tokens[:-1])


def test_a_step_has_no_more_tokens_than_asked_for(requested: Requested) -> None:
    course = SupervisedCourse(TASK, requested(training={"batch_tokens": 30}))
    for step in range(1, course.steps + 1):
        batches = course.passes(step)
        assert sum(course.tokens(batch) for batch in batches) <= 30 or sum(len(b.windows) for b in batches) == 1


def test_fewer_examples_are_a_fixed_choice_and_know_every_label(requested: Requested) -> None:
    course = SupervisedCourse(TASK, requested(data={"max_train": 2}))
    assert course.facts["training_examples"] == 2
    assert course.description is not None
    assert course.description.facts == {"labels": ["많다", "적다"]}
    numbers = list(range(100))
    some = chosen_examples(numbers, 10)
    assert some == sorted(set(some))
    assert some == chosen_examples(numbers, 10) != numbers[:10]
    assert set(chosen_examples(numbers, 5)) < set(some)
    assert chosen_examples(numbers, None) == chosen_examples(numbers, 100) == numbers


def test_figures_come_with_the_loss_and_progress(requested: Requested) -> None:
    course = SupervisedCourse(TASK, requested(valid=(("종", "적다"), ("유리", "많다"))))
    heard = []
    figures = course.validate(heard.append)
    assert list(figures) == ["accuracy", "macro_f1", "validation_loss"]
    assert figures["validation_loss"] == pytest.approx(0.69, abs=0.05)
    assert isinstance(heard[-1], Progress)
    assert heard[-1].stage == "validating"


def test_labels_that_only_validation_has_are_told(requested: Requested) -> None:
    with pytest.raises(DataError, match="'없다' is not in the training data"):
        SupervisedCourse(TASK, requested(valid=(("종", "없다"),)))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"data": {"max_tokens": 128}}, "at most 64"),
        ({"shape": {"max_seq_len": 8, "bucket_size": 4}}, "model.max_seq_len = 8 is too short to read in; at least 16"),
        ({"training": {"layer_mix": True}}, "training.frozen = true"),
        ({"training": {"frozen": True, "lm_weight": 0.5}}, "lm_weight"),
    ],
)
def test_settings_that_do_not_fit_together_are_told(requested: Requested, sections: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SupervisedCourse(TASK, requested(**sections))


def test_validating_on_what_is_trained_on_is_told(requested: Requested) -> None:
    heard: list[Event] = []
    SupervisedCourse(TASK, requested(valid=(("바람이 센 날 3", "적다"), ("종", "적다"))), heard.append)
    (notice,) = heard
    assert isinstance(notice, Notice)
    assert notice.level == "warning"
    assert "1 of 2 windows (50%)" in notice.text
    SupervisedCourse(TASK, requested(), heard.append)
    assert len(heard) == 1


def questions(*answers: int) -> str:
    """A KorQuAD file of one text whose answers are that many characters long."""
    context = "등대지기는 아침이면 유리를 닦고 저녁이면 불을 켰다. " * 8
    asked = [
        {"id": str(n), "question": "왜?", "answers": [{"text": context[:length], "answer_start": 0}]}
        for n, length in enumerate(answers)
    ]
    return json.dumps({"data": [{"title": "t", "paragraphs": [{"context": context, "qas": asked}]}]})


def test_examples_that_fit_into_no_window_are_told(requested: Requested, tmp_path: Path) -> None:
    def course(*answers: int) -> list[Notice]:
        (tmp_path / "q.json").write_text(questions(*answers), encoding="utf-8")
        files = [str(tmp_path / "q.json")]
        request = replace(requested(data={"max_tokens": 32}), train=files, valid=files, task=KORQUAD.settings())
        heard: list[Event] = []
        SupervisedCourse(KORQUAD, request, heard.append)
        return [event for event in heard if isinstance(event, Notice)]

    assert not any("left out" in notice.text for notice in course(4, 5))
    (told,) = [notice for notice in course(4, 190) if "left out" in notice.text]
    assert told.text.startswith("1 of 2 training examples are left out")
    with pytest.raises(InputError, match="nothing can be learnt from its 1 examples"):
        course(190)


def test_the_identity_of_the_data_tells_every_target(requested: Requested) -> None:
    def tagged(tags: np.ndarray) -> Window:
        return Window(example=0, tokens=np.arange(3), target=tags)

    tags = np.zeros(3000, np.int64)
    other = tags.copy()
    other[1500] = 1
    assert fingerprint_of([tagged(tags)], []) == fingerprint_of([tagged(tags.copy())], [])
    assert fingerprint_of([tagged(tags)], []) != fingerprint_of([tagged(other)], [])
    one, again, two = (SupervisedCourse(TASK, requested(valid=(("종", label),))) for label in ("적다", "적다", "많다"))
    assert one.fingerprint == again.fingerprint != two.fingerprint


@pytest.mark.parametrize(
    ("sections", "kept"),
    [({}, True), ({"data": {"max_tokens": 32}}, True), ({"training": {"seed": 5}}, True), ({"rows": 3}, False)],
)
def test_a_model_of_the_same_task_and_labels_keeps_its_head(
    requested: Requested, tmp_path: Path, vocabulary: Vocabulary, sections: dict[str, Any], kept: bool
) -> None:
    first = SupervisedCourse(TASK, requested())
    assert first.description is not None
    with torch.no_grad():
        first.model.heads["classify"].out.weight.fill_(3.0)
    base = LoadedModel(
        model=first.model, vocabulary=vocabulary, path=tmp_path, config_json={"task": first.description.as_json()}
    )
    more = [("종", "보통"), ("길", "적다"), ("불", "많다")][: sections.pop("rows", 0)]
    request = replace(requested(**sections), base=base)
    if more:
        Path(request.train[0]).write_text("".join(f"{text}\t{label}\n" for text, label in more), encoding="utf-8")
    course = SupervisedCourse(TASK, request)
    assert bool((course.model.heads["classify"].out.weight == 3.0).all()) == kept
