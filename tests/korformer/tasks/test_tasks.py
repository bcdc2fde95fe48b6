"""A task is a file: it is found, and nothing else has to know of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from korformer import tasks
from korformer.errors import UsageError
from korformer.evaluation.report import EvalRequest
from korformer.events import ignore


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
