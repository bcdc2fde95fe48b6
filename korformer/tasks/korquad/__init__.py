"""KorQuAD: answers to questions about a text, as a stretch of that text.

The layout is that of KorQuAD 1.0 (`korformer.tasks.korquad.reading`), for long documents too. The figures are those of
the official script (`korformer.evaluation.answers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from korformer.config import Settings
from korformer.evaluation.report import EvalRequest, Report
from korformer.events import Listener, ignore
from korformer.supervised.evaluating import evaluate_task
from korformer.supervised.names import id_of
from korformer.supervised.task import Reader, SupervisedTask
from korformer.tasks.korquad.reading import KorquadExample, read_questions
from korformer.tasks.korquad.solver import KorquadSettings, KorquadSolver
from korformer.text.records import Place, Problems, parse_record, text_field


class Korquad(SupervisedTask[KorquadExample]):
    """Questions with answers in a text."""

    name = "korquad"
    summary = "answer questions with a stretch of a text (KorQuAD 1.0 JSON)"
    settings = KorquadSettings
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({"training": {"epochs": 5.0}})
    own_text = 'JSON lines with "question" and "context"'

    def read(self, sources: Sequence[str], settings: Settings) -> list[KorquadExample]:
        """Questions with gold answers, each checked against its text."""
        return read_questions(sources)

    def read_gold(self, sources: Sequence[str], settings: Settings) -> list[KorquadExample]:
        """The same without the checks that scoring given answers does not need."""
        return read_questions(sources, to_score=True)

    def parse(self, place: Place, line: str, settings: Settings, problems: Problems) -> KorquadExample | None:
        """A JSON line with "question" and "context", and "id" if there is one."""
        record = parse_record(place, line, problems)
        if record is None:
            return None
        question = text_field(place, record, "question", problems)
        context = text_field(place, record, "context", problems)
        if question is None or context is None:
            return None
        return KorquadExample(given_id=id_of(record, "id"), place=place, question=question, context=context)

    def solver(self, settings: Settings, facts: Mapping[str, Any], reader: Reader | None) -> KorquadSolver:
        """The task as a model meets it."""
        assert isinstance(settings, KorquadSettings)
        return KorquadSolver(settings, reader)


TASK = Korquad()


def evaluate(request: EvalRequest, listen: Listener = ignore) -> Report:
    """Measure a model, or a file of answers, on questions; errors as of `evaluate_task`."""
    return evaluate_task(TASK, request, listen)
