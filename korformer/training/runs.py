"""Runs on disk, as somebody looks at them who does not train them: which there are, how far they are, how they do.

Nothing here imports torch, so that a list of runs is there at once.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from korformer.config import read_toml
from korformer.errors import KorformerError, PathError
from korformer.storage import is_locked, open_inside
from korformer.training.history import History

State = Literal["running", "finished", "stopped", "new"]

SETTINGS_NAME = "run.toml"
METRICS_NAME = "metrics.jsonl"
RESULTS_NAME = "results.json"
"""What a fine-tuning run writes when it has ended, possibly before its last step."""
DEEPEST = 3
"""Folders below the one that is asked for, in which runs are looked for."""
_HEADER_LIMIT_BYTES = 1 << 24


@dataclass(kw_only=True)
class Run:
    """A run on disk. `refresh` looks again.

    Attributes:
        path: its folder.
        name: how lists call it.
        settings: its `run.toml` as read; empty where that is missing or damaged.
        history: its curves.
        state: running (a process holds its lock), finished (all steps are done), stopped, or new (no step is done).
        parameters: of its model, or None before the first save.
        updated: seconds since 1970 of the latest news.
    """

    path: Path
    name: str
    settings: dict[str, Any]
    history: History
    state: State = "new"
    parameters: int | None = None
    updated: float = 0.0

    @classmethod
    def at(cls, path: Path, name: str | None = None) -> Self:
        """The run in a folder, which may still be empty; look with `refresh`."""
        return cls(
            path=path,
            name=name or path.name or path.resolve().name,
            settings={},
            history=History(path / METRICS_NAME),
        )

    @property
    def objective(self) -> str | None:
        """What the model learns: an objective, or the task that it is fine-tuned for."""
        objective = self.settings.get("objective", self.settings.get("task"))
        return objective if isinstance(objective, str) else None

    @property
    def steps(self) -> int:
        """Steps of the whole run; 0 where nobody knows."""
        training = self.settings.get("training")
        steps = training.get("steps") if isinstance(training, dict) else None
        return steps if type(steps) is int else self.history.steps

    def refresh(self) -> bool:
        """Look again; whether something changed.

        Raises:
            PathError: the metrics cannot be read.
        """
        before = (self.state, self.history.step)
        news = self.history.refresh()
        self.settings = _settings(self.path) or self.settings
        if self.parameters is None:
            self.parameters = _parameters(self.path)
        self.updated = self.history.time or _changed(self.path)
        if is_locked(self.path):
            self.state = "running"
        elif self.history.step == 0:
            self.state = "new"
        else:
            ended = self.history.step >= self.steps or (self.path / RESULTS_NAME).is_file()
            self.state = "finished" if ended else "stopped"
        return news or (self.state, self.history.step) != before

    def facts(self, *, curve: str | None = None) -> dict[str, Any]:
        """What there is to tell, for a JSON object.

        Args:
            curve: name of a curve whose points shall be in it.
        """
        history = self.history
        headline = history.headline
        best = headline.best if headline is not None else None
        facts: dict[str, Any] = {
            "name": self.name,
            "path": str(self.path),
            "objective": self.objective,
            "parameters": self.parameters,
            "state": self.state,
            "step": history.step,
            "steps": self.steps,
            "tokens": history.tokens,
            "loss": history.average_loss.last,
            "tokens_per_second": history.tokens_per_second,
            "figure": headline.name if headline is not None else None,
            "best": best[1] if best is not None else None,
            "best_step": best[0] if best is not None else None,
            "validation": {name: figure.latest for name, figure in history.figures.items()},
            "resumptions": history.resumptions,
            "updated": self.updated or None,
        }
        found = history.curve(curve) if curve is not None else None
        if found is not None:
            points = found.points()
            facts["curve"] = {
                "metric": curve,
                "step": [point.step for point in points],
                "tokens": [point.tokens for point in points],
                "value": [point.value for point in points],
            }
        return facts


def is_run(path: Path) -> bool:
    """Whether a folder holds a run, or what is left of one."""
    return (path / METRICS_NAME).is_file() or (path / SETTINGS_NAME).is_file()


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """The runs that `paths` are or hold, each once, those with the latest news last; runs of one name by their paths.

    Args:
        paths: folders; one that is a run stands for itself, any other for the runs in it, up to `DEEPEST` folders deep.
            Hidden folders and links are passed over there.

    Raises:
        PathError: one is missing, no folder, or unreadable.
    """
    found: dict[Path, Run] = {}
    for path in paths:
        for folder in [path] if is_run(path) else _below(path, DEEPEST):
            run = Run.at(folder, None if folder == path else str(folder.relative_to(path)))
            run.refresh()
            found.setdefault(folder.resolve(), run)
    names = Counter(run.name for run in found.values())
    for run in found.values():
        if names[run.name] > 1:
            run.name = str(run.path)
    return sorted(found.values(), key=lambda run: run.updated)


def _below(path: Path, depth: int) -> Iterator[Path]:
    try:
        folders = sorted(
            folder
            for folder in path.iterdir()
            if not folder.name.startswith(".") and folder.is_dir() and not folder.is_symlink()
        )
    except OSError as error:
        raise PathError(f"cannot be read ({error.strerror})", where=str(path)) from error
    for folder in folders:
        if is_run(folder):
            yield folder
        elif depth > 1:
            try:
                yield from _below(folder, depth - 1)
            except PathError:
                continue  # a folder beside the runs that is not ours to read


def _settings(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path / SETTINGS_NAME)
    except KorformerError:
        return {}


def _changed(path: Path) -> float:
    """When the run was written to last."""
    times = []
    for name in (METRICS_NAME, SETTINGS_NAME):
        try:
            times.append((path / name).stat().st_mtime)
        except OSError:
            continue
    return max(times, default=0.0)


def _parameters(path: Path) -> int | None:
    """Numbers in the run's model file, as its header tells; None where there is none that can be read."""
    try:
        with open_inside(path, "model.safetensors") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size <= _HEADER_LIMIT_BYTES else {}
        return sum(_size(entry["shape"]) for name, entry in header.items() if name != "__metadata__") or None
    except (KorformerError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _size(shape: Iterable[int]) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size


def age(seconds_since_1970: float) -> float:
    """Seconds since then."""
    return max(0.0, time.time() - seconds_since_1970)
