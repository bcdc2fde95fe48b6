"""Two texts and how they belong together: labels (does one follow from the other?) or a score (how alike are they?).

What the data may look like, told file by file:

    genre … score sentence1 sentence2           a tab-separated header line, as KorSTS has it
    sentence1<TAB>sentence2<TAB>gold_label      as KorNLI has it; `premise`, `hypothesis` and `label` too
    first<TAB>second<TAB>label                  no header; a score with pair.kind = "score"
    {"sentence1": …, "sentence2": …, "label": …}    JSON lines with the names of any header; "score" for a number

Whether a label or a score is to be learnt follows from the columns' names. Both texts stand in one window, A and B as
in BERT; of a pair that is too long the longer text is cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from korformer.config import Settings
from korformer.errors import InputError, ModelDirectoryError
from korformer.evaluation.report import EvalRequest, Report
from korformer.events import Listener, ignore
from korformer.supervised.columns import labelled_lines
from korformer.supervised.evaluating import evaluate_task
from korformer.supervised.names import id_of, with_ids
from korformer.supervised.task import Reader, Solver, SupervisedTask
from korformer.tasks.pair.labels import LabelSolver
from korformer.tasks.pair.pairs import PairExample, PairSettings
from korformer.tasks.pair.scores import ScoreScale, ScoreSolver
from korformer.text.records import Place, Problems, parse_record, text_fault

_NAMES = {
    "first": ("sentence1", "premise", "first", "question1"),
    "second": ("sentence2", "hypothesis", "second", "question2"),
    "label": ("gold_label", "label", "is_duplicate"),
    "score": ("score", "similarity"),
    "id": ("guid", "pair_id"),
}
_ORDER = ("first", "second", "label")
_UNSURE = "-"
"""What SNLI and XNLI write where annotators did not agree."""


class Pair(SupervisedTask[PairExample]):
    """Pairs of texts with labels or scores."""

    name = "pair"
    summary = "two texts: inference and other labels, or a score of likeness"
    settings = PairSettings
    own_text = 'two texts a line with a tab between them, or JSON lines {"sentence1": …, "sentence2": …}'

    def read(self, sources: Sequence[str], settings: Settings) -> list[PairExample]:
        """Pairs with labels or scores, from tables or JSON lines."""
        assert isinstance(settings, PairSettings)
        examples: list[PairExample] = []
        problems = Problems()
        for place, line, columns in labelled_lines(sources, _NAMES, lambda line: _wanted(line, settings), problems):
            fields: Mapping[str, Any] | None
            if columns is None:
                record = parse_record(place, line, problems)
                fields = None if record is None else _fields(record)
            else:
                fields = columns.cells(place, line, problems)
            example = None if fields is None else _example(place, fields, settings, problems)
            if example is not None:
                examples.append(example)
        problems.refuse()
        if not examples:
            raise InputError("no examples in it", where=", ".join(sources))
        return with_ids(examples)

    def parse(self, place: Place, line: str, settings: Settings, problems: Problems) -> PairExample | None:
        """Two texts, or a JSON object with them."""
        if line.lstrip().startswith("{"):
            record = parse_record(place, line, problems)
            return None if record is None else _texts(place, _fields(record), problems)
        cells = line.split("\t")
        if len(cells) != 2:
            problems.add(place, f"{len(cells)} texts instead of two with a tab between them")
            return None
        return _texts(place, {"first": cells[0], "second": cells[1]}, problems)

    def learn(self, examples: Sequence[PairExample], settings: Settings) -> dict[str, Any]:
        """The labels, or the range of the scores with their mean and deviation."""
        labels = _labels_of(examples)
        if labels is not None:
            if len(labels) < 2:
                raise InputError("the training data has one label; there is nothing to tell apart")
            return {"labels": labels}
        scale = _scale_of(examples)
        if scale.deviation == 0.0:
            raise InputError("all scores of the training data are the same; there is nothing to tell apart")
        return asdict(scale)

    def scorer(self, examples: Sequence[PairExample], settings: Settings) -> Solver[PairExample, Any]:
        """With the labels of these examples, or the range of their scores."""
        labels = _labels_of(examples)
        return LabelSolver(labels, None) if labels is not None else ScoreSolver(_scale_of(examples), None)

    def solver(self, settings: Settings, facts: Mapping[str, Any], reader: Reader | None) -> Solver[PairExample, Any]:
        """For labels or for scores, as `facts` are."""
        labels = facts.get("labels")
        if isinstance(labels, list) and len(labels) > 1 and all(isinstance(label, str) for label in labels):
            if len(set(labels)) == len(labels):
                return LabelSolver(labels, reader)
        elif labels is None:
            values = [facts.get(name) for name in ("lowest", "highest", "mean", "deviation")]
            numbers = [float(value) for value in values if isinstance(value, int | float)]
            if len(numbers) == len(values) and all(map(math.isfinite, numbers)) and numbers[3] > 0:
                lowest, highest, mean, deviation = numbers
                scale = ScoreScale(lowest=lowest, highest=highest, mean=mean, deviation=deviation)
                return ScoreSolver(scale, reader)
        raise ModelDirectoryError("its config.json names neither the labels nor the scores of its task")


def _labels_of(examples: Sequence[PairExample]) -> list[str] | None:
    """The labels, sorted; None where the examples have scores."""
    if {example.label is None for example in examples} == {True, False}:
        raise InputError("some examples have labels, others scores", hint="Give one kind at a time.")
    return None if examples[0].label is None else sorted({example.label or "" for example in examples})


def _scale_of(examples: Sequence[PairExample]) -> ScoreScale:
    scores = np.array([example.score for example in examples], np.float64)
    lowest, highest, mean, deviation = (
        float(value) for value in (scores.min(), scores.max(), scores.mean(), scores.std())
    )
    return ScoreScale(lowest=lowest, highest=highest, mean=mean, deviation=deviation)


def _wanted(line: str, settings: PairSettings) -> tuple[str, ...]:
    """What a table must have, by its first line: a score where a header names one, or where it is asked for."""
    cells = {cell.strip().lower() for cell in line.split("\t")}
    has_score, has_label = (any(name in cells for name in _NAMES[thing]) for thing in ("score", "label"))
    is_score = settings.kind == "score" or (settings.kind == "auto" and has_score and not has_label)
    return ("first", "second", "score") if is_score else _ORDER


def _fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a JSON object by what they are. There "id" is one, which in the tables of KorSTS is none: it comes
    again with every year.
    """
    fields = {
        thing: next(record[name] for name in known if name in record)
        for thing, known in _NAMES.items()
        if any(name in record for name in known)
    }
    return {**fields, "id": id_of(record, "id", *_NAMES["id"])}


def _texts(place: Place, fields: Mapping[str, Any], problems: Problems) -> PairExample | None:
    """A pair without label."""
    faults = []
    for thing, shown in (("first", "sentence1"), ("second", "sentence2")):
        value = fields.get(thing)
        fault = text_fault(value) if isinstance(value, str) else "is missing" if value is None else "is not text"
        if fault:
            faults.append(f"{shown} {fault}")
    if faults:
        problems.add(place, ", ".join(faults))
        return None
    return PairExample(given_id=fields.get("id", ""), place=place, first=fields["first"], second=fields["second"])


def _example(place: Place, fields: Mapping[str, Any], settings: PairSettings, problems: Problems) -> PairExample | None:
    """A pair with what is to be learnt of it; None where it has none of that, which is noted."""
    pair = _texts(place, fields, problems)
    if pair is None:
        return None
    if settings.kind != "score" and "label" in fields:
        return _with_label(pair, fields["label"], problems)
    if settings.kind != "labels" and "score" in fields:
        return _with_score(pair, fields["score"], problems)
    wanted = {"auto": "a label or a score", "labels": "a label", "score": "a score"}[settings.kind]
    problems.add(place, f"lacks {wanted}")
    return None


def _with_label(pair: PairExample, label: Any, problems: Problems) -> PairExample | None:
    if isinstance(label, bool) or not isinstance(label, str | int) or not str(label).strip():
        problems.add(pair.place, "the label is empty, or neither text nor a whole number")
        return None
    return None if str(label).strip() == _UNSURE else replace(pair, label=str(label).strip())


def _with_score(pair: PairExample, value: Any, problems: Problems) -> PairExample | None:
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):  # the last: a whole number beyond what a float holds
        score = math.nan
    if not math.isfinite(score):
        problems.add(pair.place, f"the score {str(value)[:40]!r} is not a number")
        return None
    return replace(pair, score=score)


TASK = Pair()


def evaluate(request: EvalRequest, listen: Listener = ignore) -> Report:
    """Figures of a fine-tuned model on labelled pairs; errors as of `evaluate_task`."""
    return evaluate_task(TASK, request, listen)
