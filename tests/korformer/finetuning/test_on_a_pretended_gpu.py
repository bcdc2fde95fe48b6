"""Fine-tuning where the model is on a GPU, without one: every head, every option (see pretended_cuda)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended_cuda import MISSING, OnDevice, pretended_cuda

from korformer import tasks
from korformer.events import ignore
from korformer.finetuning.engine import Engine
from korformer.finetuning.settings import FinetuneSettings
from korformer.model.attention import causal_lsh
from korformer.supervised.course import Course, CourseRequest
from korformer.text.vocabulary import Vocabulary
from korformer.training.engine import StepResult

if MISSING:
    pytest.skip(f"this torch has no {', '.join(MISSING)}", allow_module_level=True)
if torch.cuda.is_available():
    pytest.skip("there is a GPU", allow_module_level=True)

WORDS = ("등대", "바람", "시장", "골목")
CONTEXT = "등대는 섬에 있고 시장은 골목에 있다. 바람은 산에서 온다."
PLAIN = "".join(f"{word}에서 온 바람이 분다.\n{word}은 멀다.\n\n" for word in WORDS * 4)
PAIRS = "sentence1\tsentence2\t{}\n"


def _questions() -> str:
    asked = [
        {"id": word, "question": f"{word}는?", "answers": [{"text": word, "answer_start": CONTEXT.index(word)}]}
        for word in WORDS
    ]
    return json.dumps({"data": [{"title": "길", "paragraphs": [{"context": CONTEXT, "qas": asked}]}]})


def _rows(head: str, row: Callable[[int, str], str]) -> str:
    return head + "".join(row(number, word) for number, word in enumerate(WORDS))


REVIEWS = _rows("", lambda n, word: f"{word}이 좋다\t{n % 2}\n")
TAGGED = "\n".join(f"{word[0]}\tB-LC\n{word[1]}\tI-LC\n이\tO\n \tO\n좋\tO\n" for word in WORDS) + "\n"
DATA = {
    "korquad": _questions(),
    "ner": TAGGED,
    "classify": REVIEWS,
    "several labels": _rows("text\tlabel\n", lambda n, word: f"{word}이 좋다\t{n % 2},{n // 2}\n"),
    "pair": _rows(PAIRS.format("label"), lambda n, word: f"{word}이다\t{WORDS[n // 2]}이다\t{n % 2}\n"),
    "score": _rows(PAIRS.format("score"), lambda n, word: f"{word}이다\t{WORDS[n // 2]}이다\t{n}.5\n"),
    "lm": PLAIN,
}
DECODER = {"causal": True, "attention": "causal_lsh"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "korquad": ("korquad", {}),
    "ner, crf": ("ner", {"ner": {"head": "crf"}}),
    "ner, linear": ("ner", {"ner": {"head": "linear"}}),
    "classify": ("classify", {}),
    "classify, decoder": ("classify", {"model": DECODER}),
    "classify, lm loss": ("classify", {"training": {"lm_weight": 0.5}}),
    "classify, decoder with lm loss": ("classify", {"model": DECODER, "training": {"lm_weight": 0.5}}),
    "classify, frozen": ("classify", {"training": {"frozen": True}}),
    "classify, mix of layers": ("classify", {"training": {"frozen": True, "layer_mix": True}}),
    "several labels": ("classify", {"classify": {"multi_label": True}}),
    "pair": ("pair", {}),
    "score": ("pair", {}),
    "lm": ("lm", {"model": DECODER}),
    "lm, encoder": ("lm", {}),
}


@pytest.fixture(autouse=True)
def _without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal_lsh, "fused_kernel", lambda q: None)


def trained(settings: FinetuneSettings, vocabulary: Vocabulary, data: str, path: Path) -> Any:
    """Two steps and a validation."""
    file = path / ("data.json" if data.startswith("{") else "data.tsv")
    file.write_text(data, encoding="utf-8")
    request = CourseRequest(
        model=settings.model, vocabulary=vocabulary, base=None, train=[str(file)], valid=[str(file)],
        task=settings.task_settings, data=settings.data, training=settings.training, cache=path / "cache",
    )  # fmt: skip
    course: Course = tasks.trainable(settings.task).course(request, ignore)
    engine = Engine(course, settings, path, ignore)
    engine.make()
    steps: list[StepResult] = [engine.advance(step) for step in (1, 2)]
    figures: Mapping[str, float] = course.validate(ignore)
    return course, steps, figures


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_that_of_the_cpu(
    case: str, vocabulary: Vocabulary, settled: Callable[..., FinetuneSettings], tmp_path: Path
) -> None:
    task, sections = CASES[case]
    data = DATA[case if case in DATA else case.split(",", maxsplit=1)[0]]

    def settings(device: str, precision: str) -> FinetuneSettings:
        training = {"device": device, "precision": precision, "learning_rate": 1e-3, **sections.get("training", {})}
        return settled(task, **{**sections, "training": training})

    _, expected, before = trained(settings("cpu", "fp32"), vocabulary, data, tmp_path)
    with pretended_cuda():
        course, steps, figures = trained(settings("cuda", "bf16"), vocabulary, data, tmp_path)
        assert all(isinstance(p, OnDevice) for p in course.module.parameters())
    for ours, cpu in zip(steps, expected, strict=True):
        assert ours.loss == pytest.approx(cpu.loss, rel=0.02)
        assert ours.tokens == cpu.tokens
    assert figures.keys() == before.keys()
    name = "validation_loss" if "validation_loss" in figures else course.headline
    assert figures[name] == pytest.approx(before[name], rel=0.02)
