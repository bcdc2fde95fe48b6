"""A fine-tuned model on a person's own text: lines in, JSON objects out, as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from korformer.config import build
from korformer.supervised.running import run
from korformer.supervised.task import SupervisedTask, task_of
from korformer.text.records import Place, Problems

if TYPE_CHECKING:
    from korformer.model.directory import LoadedModel

Line = tuple[Place, str]


class Predictor(Protocol):
    """What answers lines of text."""

    def __call__(self, lines: list[Line]) -> list[dict[str, Any]]:
        """A JSON object for each line.

        Raises:
            DataError: a line cannot be used; none of them was answered.
        """


class SupervisedPredictor:
    """Predictions of a task with labelled examples.

    Args:
        task: which.
        loaded: a model that was fine-tuned for it.
        max_tokens: of a window; as in its training where it is not given.
        options: settings of the task that are to be other than in its training.

    Raises:
        ModelDirectoryError, UsageError: as of `SupervisedTask.loaded_solver`.
    """

    def __init__(
        self, task: SupervisedTask[Any], loaded: LoadedModel, max_tokens: int | None, options: Mapping[str, Any]
    ) -> None:
        self._task = task
        self._model = loaded.model
        self._solver = task.loaded_solver(loaded, max_tokens, options)
        described = task_of(loaded)
        assert described is not None
        self._settings = build(task.settings, {**described.settings, **options}, where="--set")

    def __call__(self, lines: list[Line]) -> list[dict[str, Any]]:
        """A JSON object for each line, as `Solver.describe` makes it, with "id" in front where the line gives one."""
        problems = Problems()
        parsed = [self._task.parse(place, line, self._settings, problems) for place, line in lines]
        problems.refuse(f"One's own text for {self._task.name} is {self._task.own_text}.")
        examples = [example for example in parsed if example is not None]
        windows = self._solver.windows(examples)
        predictions = self._solver.predictions(examples, windows, run(self._model, self._solver, windows))
        return [
            {**({"id": example.given_id} if example.given_id else {}), **self._solver.describe(example, prediction)}
            for example, prediction in zip(examples, predictions, strict=True)
        ]


def predict(predictor: Predictor, groups: Iterable[list[Line]]) -> Iterator[dict[str, Any]]:
    """Answers to groups of lines, each as soon as its group is done; lines of white space are passed over."""
    for group in groups:
        lines = [(place, line) for place, line in group if line.strip()]
        if lines:
            yield from predictor(lines)
