"""`metrics.jsonl`: what happened in a run, and reading it back without what a resumption undid."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from korformer.errors import PathError
from korformer.events import Event, Sample, Step, Validation
from korformer.storage import JsonLines
from korformer.training.history import History


class MetricsLog:
    """Appends the events of a run to its metrics file.

    Args:
        path: the file; it goes on where it ends.

    Attributes:
        validation: the newest figures on held-out text; empty before there are any.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = JsonLines(path)
        self.validation: Mapping[str, float] = {}

    def begin(self, step: int, facts: dict[str, Any]) -> None:
        """Mark that the run begins, or goes on, after `step`; later lines with a higher step replace earlier ones."""
        self._append({"event": "start", "step": step, **facts})
        history = History(self._path)
        history.refresh()
        self.validation = {name: figure.latest for name, figure in history.figures.items()}

    def __call__(self, event: Event) -> None:
        """Append the event if it is one that curves are made of."""
        if isinstance(event, Step):
            values = {key: value for key, value in vars(event).items() if value is not None}
            self._append({"event": "step", **values})
        elif isinstance(event, Validation):
            self.validation = event.metrics
            self._append({"event": "validation", "step": event.step, **event.metrics})
        elif isinstance(event, Sample):
            self._append({"event": "sample", "step": event.step, "prompt": event.prompt, "text": event.text})

    def place(self, step: int, state: Mapping[str, int]) -> None:
        """Tell where the run stands in its data after `step`: the sampler's state, of each corpus where there are
        several.
        """
        self._append({"event": "data", "step": step, **state})

    def _append(self, record: dict[str, Any]) -> None:
        """Write a line with the time of day, in seconds since 1970."""
        self._lines.append({**record, "time": round(time.time(), 3)})

    def sync(self) -> None:
        """Make sure that what was told so far outlasts a power cut, before a step that builds on it is saved."""
        self._lines.sync()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The events of a run in order, without those after a step that the run went back to, or that it did again there.

    A last line that was cut off by a kill is left out.

    Raises:
        PathError: the file cannot be read.
    """
    kept: list[dict[str, Any]] = []
    for line in _lines(path):
        if line.get("event") == "start":
            step, again = line.get("step", 0), line.get("pending") or ()
            kept = [
                old
                for old in kept
                if old.get("step", 0) <= step and not (old.get("step", 0) == step and old.get("event") in again)
            ]
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
