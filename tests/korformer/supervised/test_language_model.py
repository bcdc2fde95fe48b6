from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from korformer.config import build
from korformer.errors import UsageError
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import LoadedModel
from korformer.objectives import objective_named
from korformer.supervised.course import CourseRequest
from korformer.supervised.language_model import LmCourse, LmPredictor, LmTaskSettings
from korformer.supervised.settings import ExampleSettings, LearningSettings
from korformer.text.records import Place
from korformer.text.vocabulary import Vocabulary

DECODER = {"causal": True, "attention": "causal_lsh", "segments": 0}


@pytest.fixture
def request_of(
    vocabulary: Vocabulary, shaped: Callable[..., ModelConfig], tmp_path: Path
) -> Callable[..., CourseRequest]:
    text = tmp_path / "text.txt"
    text.write_text("바람이 센 날에는 종을 울렸다.\n\n" * 20, encoding="utf-8")

    def make(*, base: str | None = None, causal: bool = True, data: Any = None, training: Any = None) -> CourseRequest:
        config = shaped(**DECODER) if causal else shaped()
        loaded = None
        if base is not None:
            json = {"objective": base, "training": {"objective": {"fim_rate": 0.5} if base == "ar" else {}}}
            loaded = LoadedModel(
                model=ReformerModel(config, vocabulary.size), vocabulary=vocabulary, path=tmp_path, config_json=json
            )
        return CourseRequest(
            model=config,
            vocabulary=vocabulary,
            base=loaded,
            train=[str(text)],
            valid=[str(text)],
            task=LmTaskSettings(),
            data=data or ExampleSettings(max_tokens=32),
            training=training or LearningSettings(batch_tokens=64),
            cache=tmp_path / "cache",
        )

    return make


def test_a_step_has_as_many_tokens_as_are_asked_for(request_of: Callable[..., CourseRequest]) -> None:
    course = LmCourse(request_of())
    (packs,) = course.passes(1)
    assert packs.tokens.shape == (2, 32)
    assert course.headline == "bits_per_character"
    split = LmCourse(request_of(training=LearningSettings(batch_tokens=128, pass_tokens=40)))
    assert [packs.tokens.shape for packs in split.passes(1)] == [(1, 32)] * 4


def test_an_encoder_guesses_hidden_tokens(request_of: Callable[..., CourseRequest]) -> None:
    course = LmCourse(request_of(base="mlm", causal=False))
    assert course.objective == "mlm"
    figures = course.validate(lambda _: None)
    assert next(iter(figures)) == course.headline == "masked_accuracy"


def test_it_goes_on_with_the_objective_of_its_base(request_of: Callable[..., CourseRequest]) -> None:
    course = LmCourse(request_of(base="ar"))
    assert course.training["objective"]["fim_rate"] == 0.5


def test_it_keeps_what_its_base_learnt_of_sentence_pairs(request_of: Callable[..., CourseRequest]) -> None:
    request = request_of(base="mlm", causal=False)
    assert request.base is not None
    section = {"sentence_pair": "nsp"}
    learner = objective_named("mlm").learner(
        request.model, build(objective_named("mlm").settings, section), request.vocabulary
    )
    learner.model.initialise(5)
    trained = {name: value.clone() for name, value in learner.model.lm.named_parameters()}
    assert any(name.startswith("heads.nsp") for name in trained)
    json = {"objective": "mlm", "training": {"objective": section}}
    base = replace(request.base, model=learner.model, config_json=json)
    course = LmCourse(replace(request, base=base))
    kept = dict(course.model.lm.named_parameters())
    assert all(torch.equal(kept[name], value) for name, value in trained.items())


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"base": "rtd", "causal": False}, "objective rtd"),
        ({"training": LearningSettings(frozen=True)}, "training.frozen"),
        ({"data": ExampleSettings(max_train=5)}, "data.max_train"),
        ({"data": ExampleSettings(max_tokens=128)}, "at most 64"),
    ],
)
def test_what_does_not_fit_is_refused(
    request_of: Callable[..., CourseRequest], how: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        LmCourse(request_of(**how))


def test_lines_have_a_probability(vocabulary: Vocabulary, shaped: Callable[..., ModelConfig], tmp_path: Path) -> None:
    model = ReformerModel(shaped(**DECODER), vocabulary.size)
    model.initialise(0)
    predictor = LmPredictor(LoadedModel(model=model, vocabulary=vocabulary, path=tmp_path))
    place = Place(file="-", line=1)
    (answer,) = predictor([(place, "바람이 센 날")])
    assert answer["tokens"] == len(vocabulary.encode("바람이 센 날")) + 1
    assert answer["perplexity"] == pytest.approx(vocabulary.size, rel=0.5)
    with pytest.raises(UsageError, match="encoder"):
        LmPredictor(LoadedModel(model=ReformerModel(shaped(), vocabulary.size), vocabulary=vocabulary, path=tmp_path))
