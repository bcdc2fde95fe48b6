"""`metrics.jsonl`: what happened in a run, and reading it back without what a resumption undid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from korformer.errors import PathError
from korformer.events import Event, Sample, Step, Validation
from korformer.storage import JsonLines


class MetricsLog:
    """Appends the events of a run to its metrics file.

    Args:
        path: the file; it goes on where it ends.
    """

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path)

    def begin(self, step: int, facts: dict[str, Any]) -> None:
        """Mark that the run begins, or goes on, after `step`; later lines with a higher step replace earlier ones."""
        self._lines.append({"event": "start", "step": step, **facts})

    def __call__(self, event: Event) -> None:
        """Append the event if it is one that curves are made of."""
        if isinstance(event, Step):
            values = {key: value for key, value in vars(event).items() if value is not None}
            self._lines.append({"event": "step", **values})
        elif isinstance(event, Validation):
            self._lines.append({"event": "validation", "step": event.step, **event.metrics})
        elif isinstance(event, Sample):
            self._lines.append({"event": "sample", "step": event.step, "prompt": event.prompt, "text": event.text})

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The events of a run in order, without those after a step that the run went back to.

    A last line that was cut off by a kill is left out.

    Raises:
        PathError: the file cannot be read.
    """
    kept: list[dict[str, Any]] = []
    for line in _lines(path):
        if line.get("event") == "start":
            kept = [old for old in kept if old.get("step", 0) <= line.get("step", 0)]
        kept.append(line)
    return kept


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise PathError(f"cannot read ({error.strerror})", where=str(path)) from error
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict):
            yield value
