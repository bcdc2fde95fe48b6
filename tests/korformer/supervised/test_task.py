from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from korformer.errors import ModelDirectoryError, UsageError
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import LoadedModel
from korformer.model.heads import HeadSpec
from korformer.supervised.predicting import predict
from korformer.supervised.task import TaskDescription, task_of
from korformer.tasks.classify import TASK
from korformer.text.records import DataError, Place
from korformer.text.vocabulary import Vocabulary

DESCRIBED = TaskDescription(name="classify", settings={}, facts={"labels": ["0", "1"]}, max_tokens=32)


@pytest.fixture
def loaded(vocabulary: Vocabulary, shaped: Callable[..., ModelConfig], tmp_path: Path) -> Callable[..., LoadedModel]:
    def make(task: object = DESCRIBED.as_json(), outputs: int = 2) -> LoadedModel:
        model = ReformerModel(shaped(), vocabulary.size, {"classify": HeadSpec(reads="mean", outputs=outputs)})
        model.initialise(0)
        config = {} if task is None else {"task": task}
        return LoadedModel(model=model, vocabulary=vocabulary, path=tmp_path, config_json=config)

    return make


def test_a_description_comes_back_from_config_json(loaded: Callable[..., LoadedModel]) -> None:
    assert task_of(loaded()) == DESCRIBED
    assert task_of(loaded(None)) is None


@pytest.mark.parametrize(
    "value", [[], "classify", {}, {**DESCRIBED.as_json(), "max_tokens": 0}, {**DESCRIBED.as_json(), "facts": []}]
)
def test_a_damaged_description_is_refused(loaded: Callable[..., LoadedModel], value: Any) -> None:
    with pytest.raises(ModelDirectoryError):
        task_of(loaded(value))


def test_a_model_of_another_task_or_shape_is_refused(loaded: Callable[..., LoadedModel]) -> None:
    with pytest.raises(ModelDirectoryError, match="for no task, not classify"):
        TASK.loaded_solver(loaded(None))
    with pytest.raises(ModelDirectoryError, match="for the task ner, not classify"):
        TASK.loaded_solver(loaded({**DESCRIBED.as_json(), "name": "ner"}))
    with pytest.raises(ModelDirectoryError, match="head classify"):
        TASK.loaded_solver(loaded(outputs=3))
    with pytest.raises(ModelDirectoryError, match="unknown key"):
        TASK.loaded_solver(loaded({**DESCRIBED.as_json(), "settings": {"no": 1}}))
    with pytest.raises(UsageError, match="at most 64"):
        TASK.loaded_solver(loaded(), 65)
    with pytest.raises(UsageError, match="at least 16"):
        TASK.loaded_solver(loaded(), 15)


def test_windows_are_as_long_as_in_training_or_as_asked(loaded: Callable[..., LoadedModel]) -> None:
    for asked, expected in ((None, 32), (16, 16), (64, 64)):
        reader = TASK.loaded_solver(loaded(), asked).reader
        assert reader is not None
        assert reader.max_tokens == expected


def test_answers_come_group_by_group(loaded: Callable[..., LoadedModel]) -> None:
    predictor = TASK.predictor(loaded())
    lines = [(Place(file="-", line=number), text) for number, text in enumerate(["바람", " ", "종", '{"txt": 1}'])]
    answers = predict(predictor, [lines[:3], lines[3:]])
    assert [next(answers)["text"], next(answers)["text"]] == ["바람", "종"]
    with pytest.raises(DataError, match="a text a line"):
        next(answers)


def test_an_answer_has_the_id_of_its_line(loaded: Callable[..., LoadedModel]) -> None:
    lines = [(Place(file="-", line=1), '{"id": "k7", "text": "바람"}'), (Place(file="-", line=2), "종")]
    one, other = predict(TASK.predictor(loaded()), [lines])
    assert next(iter(one.items())) == ("id", "k7")
    assert "id" not in other
