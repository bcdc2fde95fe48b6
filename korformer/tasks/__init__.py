"""Tasks: what a model can be measured on and fine-tuned for. Each module of this package is one, found by its name.

A task module has `evaluate(request: EvalRequest, listen: Listener) -> Report`. One that a model can be fine-tuned for
has a `TASK` beside it, a `Trainable`: for labelled examples a `korformer.supervised.task.SupervisedTask`. Adding a task
is adding its file.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

from korformer.config import Settings, nearest
from korformer.errors import UsageError
from korformer.evaluation.report import EvalRequest, Report
from korformer.events import Listener

if TYPE_CHECKING:
    from korformer.model.directory import LoadedModel
    from korformer.supervised.course import Course, CourseRequest
    from korformer.supervised.predicting import Predictor


PLAIN_TEXT_ONLY = ("--weights", "--document", "--errors", "--context")
"""Options of `korformer eval` that only say how plain text is read."""


class Task(Protocol):
    """What a task module offers."""

    def evaluate(self, request: EvalRequest, listen: Listener) -> Report:
        """Measure a model directory on data."""


class Trainable(Protocol):
    """What a task offers to be learnt and used.

    Attributes:
        name: of its file and its section of the configuration.
        summary: one line for lists.
        settings: of that section.
        recipe: the task's own defaults of the sections `data` and `training`.
    """

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def settings(self) -> type[Settings]: ...
    @property
    def recipe(self) -> Mapping[str, Mapping[str, Any]]: ...

    def course(self, request: CourseRequest, listen: Listener) -> Course:
        """What a fine-tuning run learns."""

    def predictor(
        self, loaded: LoadedModel, max_tokens: int | None = None, options: Mapping[str, Any] = MappingProxyType({})
    ) -> Predictor:
        """A fine-tuned model that takes one's own text; settings as of `SupervisedTask.loaded_solver`."""


def names() -> list[str]:
    """The tasks there are, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def check(name: str) -> None:
    """Refuse a task that there is not, without importing any.

    Raises:
        UsageError: there is no such task; the known ones are named.
    """
    known = names()
    if name not in known:
        guess = nearest(name, known)
        raise UsageError(
            f"unknown task {name!r}; this version knows {', '.join(known)}",
            where="--task",
            hint=f"Did you mean {guess}?" if guess else None,
        )


def needs_data(name: str) -> bool:
    """Whether a task measures on data that it is given. Errors as in `check`."""
    return bool(getattr(load(name), "NEEDS_DATA", True))


def options_without_use(name: str) -> frozenset[str]:
    """Options of `korformer eval` that a task has no use for: a module's own `WITHOUT_USE`, or those that only say how
    plain text is read. Errors as in `check`.
    """
    return frozenset(getattr(load(name), "WITHOUT_USE", PLAIN_TEXT_ONLY))


def load(name: str) -> Task:
    """The module of a task. Errors as in `check`."""
    check(name)
    return cast(Task, importlib.import_module(f"{__name__}.{name}"))


def trainable(name: str) -> Trainable:
    """What a task offers to fine-tuning.

    Raises:
        UsageError: there is no such task, or models are measured on it only.
    """
    task = getattr(load(name), "TASK", None)
    if task is None:
        known = [other for other in names() if hasattr(load(other), "TASK")]
        raise UsageError(
            f"models are measured on {name!r} and not fine-tuned for it",
            where="--task",
            hint=f"There are: {', '.join(known)}.",
        )
    return cast(Trainable, task)
