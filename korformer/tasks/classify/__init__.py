"""Classes of texts: NSMC and anything like it, one label a text or several, texts of any length.

What the data may look like, told file by file:

    id<TAB>document<TAB>label       a header line, as NSMC has it; `text` or `sentence` for `document`, any order
    text<TAB>label                  no header
    {"text": …, "label": …}         JSON lines; {"text": …, "labels": […]} where a text may have several labels

A text longer than the model's window is read in several windows, which all learn its label; its probabilities are the
mean of theirs (of logarithms, by tokens).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from korformer.config import Settings
from korformer.errors import InputError, ModelDirectoryError
from korformer.evaluation.report import EvalRequest, Report
from korformer.events import Listener, ignore
from korformer.supervised.columns import Columns, labelled_lines
from korformer.supervised.evaluating import evaluate_task
from korformer.supervised.names import id_of, with_ids
from korformer.supervised.task import Reader, SupervisedTask
from korformer.tasks.classify.solver import (
    MOST_LABELS,
    ClassifyExample,
    ClassifySettings,
    ClassifySolver,
    record_labels,
)
from korformer.text.records import Place, Problems, parse_record, text_fault

_NAMES = {"text": ("document", "text", "sentence", "title"), "label": ("label", "labels"), "id": ("id", "guid")}
_EMPTY = "the text is empty"


class Classify(SupervisedTask[ClassifyExample]):
    """Classification of texts."""

    name = "classify"
    summary = "classes of texts: one label or several, long documents too"
    settings = ClassifySettings
    own_text = 'a text a line, or JSON lines {"text": …}'
    fixed = frozenset({"multi_label"})

    def read(self, sources: Sequence[str], settings: Settings) -> list[ClassifyExample]:
        """Texts with labels, from tables or JSON lines."""
        assert isinstance(settings, ClassifySettings)
        examples: list[ClassifyExample] = []
        problems = Problems()
        for place, line, columns in labelled_lines(sources, _NAMES, lambda _: ("text", "label"), problems):
            example = (
                self._record(place, line, settings, problems, labelled=True)
                if columns is None
                else self._row(place, line, columns, settings, problems)
            )
            if example is not None:
                examples.append(example)
        empty = any(what == _EMPTY for _, what in problems.found)
        way = " `--set classify.empty=skip` leaves empty texts out, `keep` takes them as they are." if empty else ""
        problems.refuse(f"Mend the data; nothing was done with it.{way}")
        if not examples:
            raise InputError("no examples in it", where=", ".join(sources))
        return with_ids(examples)

    def _row(
        self, place: Place, line: str, columns: Columns, settings: ClassifySettings, problems: Problems
    ) -> ClassifyExample | None:
        cells = columns.cells(place, line, problems)
        if cells is None:
            return None
        raw = cells["label"].strip()
        labels = tuple(part.strip() for part in raw.split(settings.separator)) if settings.multi_label else (raw,)
        if settings.multi_label and not raw:
            labels = ()
        elif not all(labels):
            problems.add(place, "the label is empty")
            return None
        return self._example(place, cells.get("id", ""), cells["text"], labels, settings, problems)

    def _record(
        self, place: Place, line: str, settings: ClassifySettings, problems: Problems, *, labelled: bool
    ) -> ClassifyExample | None:
        record = parse_record(place, line, problems)
        if record is None:
            return None
        text = next((record[name] for name in _NAMES["text"] if name in record), None)
        if not isinstance(text, str):
            problems.add(place, 'lacks "text"' if text is None else '"text" is not text')
            return None
        labels: tuple[str, ...] | None = None
        if labelled:
            found = record_labels(record, settings)
            if isinstance(found, str):
                problems.add(place, f"it {found}")
                return None
            labels = found
        return self._example(place, id_of(record, *_NAMES["id"]), text, labels, settings, problems)

    def _example(
        self,
        place: Place,
        name: str,
        text: str,
        labels: tuple[str, ...] | None,
        settings: ClassifySettings,
        problems: Problems,
    ) -> ClassifyExample | None:
        fault = text_fault(text)
        if fault == "is empty" and settings.empty != "refuse":
            if settings.empty == "skip":
                return None
        elif fault:
            problems.add(place, f"the text {fault}")
            return None
        return ClassifyExample(given_id=name, place=place, text=text, labels=labels)

    def parse(self, place: Place, line: str, settings: Settings, problems: Problems) -> ClassifyExample | None:
        """A text, or a JSON object with one."""
        assert isinstance(settings, ClassifySettings)
        if line.lstrip().startswith("{"):
            return self._record(place, line, settings, problems, labelled=False)
        return self._example(place, "", line, None, settings, problems)

    def learn(self, examples: Sequence[ClassifyExample], settings: Settings) -> dict[str, Any]:
        """The labels, in the order of numbers where all are some."""
        labels = _labels_of(examples)
        assert isinstance(settings, ClassifySettings)
        least = 1 if settings.multi_label else 2
        if len(labels) < least:
            raise InputError(
                f"the training data has {len(labels)} label{'s' * (len(labels) != 1)}; there is nothing to tell apart",
                hint=f"Give examples of at least {least}.",
            )
        if len(labels) > MOST_LABELS:
            raise InputError(
                f"the training data has {len(labels):,} labels, more than {MOST_LABELS:,}",
                hint="Are text and label in the right columns? Name them in a header line: text, label.",
            )
        return {"labels": labels}

    def scorer(self, examples: Sequence[ClassifyExample], settings: Settings) -> ClassifySolver:
        """With the labels of these examples, however many."""
        assert isinstance(settings, ClassifySettings)
        return ClassifySolver(settings, _labels_of(examples), None)

    def solver(self, settings: Settings, facts: Mapping[str, Any], reader: Reader | None) -> ClassifySolver:
        """With the labels of `facts`."""
        assert isinstance(settings, ClassifySettings)
        labels = facts.get("labels")
        if (
            not isinstance(labels, list)
            or not 0 < len(labels) <= MOST_LABELS
            or not all(isinstance(label, str) for label in labels)
            or len(set(labels)) != len(labels)
        ):
            raise ModelDirectoryError("its config.json does not name the labels of its task")
        return ClassifySolver(settings, labels, reader)


def _labels_of(examples: Sequence[ClassifyExample]) -> list[str]:
    return sorted({label for example in examples for label in example.labels or ()}, key=_label_order)


def _label_order(label: str) -> tuple[float, str]:
    try:
        number = float(label)
    except ValueError:
        number = math.inf
    return (number if math.isfinite(number) else math.inf), label


TASK = Classify()


def evaluate(request: EvalRequest, listen: Listener = ignore) -> Report:
    """Figures of a fine-tuned model on labelled texts; errors as of `evaluate_task`."""
    return evaluate_task(TASK, request, listen)
