"""Tasks: what a model can be measured on. Each module of this package is one, found by its name.

A task module has `evaluate(request: EvalRequest, listen: Listener) -> Report`; adding a task is adding its file.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol, cast

from korformer.config import nearest
from korformer.errors import UsageError
from korformer.evaluation.report import EvalRequest, Report
from korformer.events import Listener


class Task(Protocol):
    """What a task module offers."""

    def evaluate(self, request: EvalRequest, listen: Listener) -> Report:
        """Measure a model directory on data."""


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


def load(name: str) -> Task:
    """The module of a task. Errors as in `check`."""
    check(name)
    return cast(Task, importlib.import_module(f"{__name__}.{name}"))
