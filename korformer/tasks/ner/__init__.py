"""Named entities: persons, places, dates and the like, found in a text.

Layouts of data are those of `korformer.tasks.ner.reading`. The headline is F1 of whole entities, strictly
(`korformer.evaluation.entities`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

from korformer.config import Settings
from korformer.errors import InputError, ModelDirectoryError
from korformer.evaluation.report import EvalRequest, Report
from korformer.events import Listener, ignore
from korformer.supervised.evaluating import evaluate_task
from korformer.supervised.task import Reader, SupervisedTask
from korformer.tasks.ner.reading import NerExample, read_record, read_sentences
from korformer.tasks.ner.solver import NerSettings, NerSolver
from korformer.text.records import Place, Problems, parse_record, text_fault

MOST_LABELS = 1000


class Ner(SupervisedTask[NerExample]):
    """Texts with their named entities."""

    name = "ner"
    summary = "find named entities (KLUE, Naver, KMOU, CoNLL, JSON lines)"
    settings = NerSettings
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({"training": {"epochs": 5.0}})
    own_text = 'a text a line, or JSON lines with "text"'

    def read(self, sources: Sequence[str], settings: Settings) -> list[NerExample]:
        """Sentences with their entities."""
        assert isinstance(settings, NerSettings)
        return read_sentences(sources, layout=settings.layout, lenient=settings.lenient)

    def parse(self, place: Place, line: str, settings: Settings, problems: Problems) -> NerExample | None:
        """A line of text, or a JSON line with "text", and "id" if there is one."""
        if line.startswith("{"):
            record = parse_record(place, line, problems)
            example = read_record(place, record, problems) if record is not None else None
            return None if example is None else replace(example, entities=())
        fault = text_fault(line)
        if fault is not None:
            problems.add(place, f"the text {fault}")
            return None
        return NerExample(place=place, text=line)

    def learn(self, examples: Sequence[NerExample], settings: Settings) -> dict[str, Any]:
        """The labels, sorted."""
        labels = _labels_of(examples)
        if not labels:
            raise InputError("no text of it has an entity", where=examples[0].place.file if examples else None)
        if len(labels) > MOST_LABELS:
            raise InputError(f"{len(labels):,} labels are more than {MOST_LABELS:,}", where=examples[0].place.file)
        return {"labels": labels}

    def scorer(self, examples: Sequence[NerExample], settings: Settings) -> NerSolver:
        """With the labels of these examples, if there are any."""
        assert isinstance(settings, NerSettings)
        return NerSolver(settings, _labels_of(examples), None)

    def solver(self, settings: Settings, facts: Mapping[str, Any], reader: Reader | None) -> NerSolver:
        """The task as a model meets it."""
        assert isinstance(settings, NerSettings)
        labels = facts.get("labels")
        if not isinstance(labels, list) or not labels or len(labels) > MOST_LABELS:
            raise ModelDirectoryError("its config.json does not have the labels of its entities")
        if not all(isinstance(label, str) and label for label in labels) or len(set(labels)) < len(labels):
            raise ModelDirectoryError("the labels of entities in its config.json are no names, or not different")
        return NerSolver(settings, labels, reader)


def _labels_of(examples: Sequence[NerExample]) -> list[str]:
    return sorted({entity.label for example in examples for entity in example.entities})


TASK = Ner()


def evaluate(request: EvalRequest, listen: Listener = ignore) -> Report:
    """Measure a model, or a file of predictions, on texts with entities; errors as of `evaluate_task`."""
    return evaluate_task(TASK, request, listen)
