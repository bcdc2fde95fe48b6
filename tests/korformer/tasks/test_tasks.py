"""A task is a file: it is found, and nothing else has to know of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from korformer import tasks
from korformer.errors import UsageError
from korformer.evaluation.report import EvalRequest
from korformer.events import ignore
from korformer.finetuning.settings import finetune_settings


def test_language_modelling_is_a_task() -> None:
    assert "lm" in tasks.names()


@pytest.mark.parametrize("name", ["llm", "", "../lm", "__init__", "lm.evaluate"])
def test_an_unknown_task_is_refused_with_the_known_ones_named(name: str) -> None:
    with pytest.raises(UsageError, match="this version knows .*lm"):
        tasks.load(name)


def test_a_new_file_is_a_new_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counting.py").write_text(
        "from korformer.evaluation.report import Report\n"
        "def evaluate(request, listen):\n"
        "    return Report(metrics={'examples': len(request.data)})\n"
    )
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    assert "counting" in tasks.names()
    request = EvalRequest(checkpoint=tmp_path, data=["a", "b"])
    assert tasks.load("counting").evaluate(request, ignore).metrics == {"examples": 2}


def test_a_new_file_with_a_task_can_be_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moods.py").write_text(
        "from korformer.tasks.classify import Classify, evaluate\n"
        "class Moods(Classify):\n"
        "    name = 'moods'\n"
        "TASK = Moods()\n"
    )
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    settings = finetune_settings("moods", {"moods": {"multi_label": True}})
    assert settings.task_settings.model_dump()["multi_label"] is True
    assert tasks.trainable("moods").name == "moods"


@pytest.mark.parametrize("name", ["classify", "pair", "lm", "ner", "korquad"])
def test_what_can_be_learnt_has_the_name_of_its_file(name: str) -> None:
    assert tasks.trainable(name).name == name


def test_what_is_only_measured_cannot_be_learnt() -> None:
    with pytest.raises(UsageError, match="not fine-tuned for it.*classify"):
        tasks.trainable("passkey")
