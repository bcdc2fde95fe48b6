"""What the library reports while it works. Commands and the TUI render the same events.

A function that takes long has a parameter `listen: Listener = ignore` and calls it with events; it never prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Event:
    """Anything that is reported."""


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """How far a stage of work is; the last one of a stage has `done == total` where the total is known.

    Attributes:
        stage: what is being done, such as "reading" or "tokenizing".
        done: units finished so far.
        total: units in all, or None where nobody knows.
        unit: "bytes", "documents", "tokens", "steps", "words", …
    """

    stage: str
    done: int
    total: int | None
    unit: str


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """One sentence a person should read."""

    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """One optimizer step of a training run.

    Attributes:
        step: steps finished since the run began, this one included.
        steps: steps of the whole run.
        loss: mean loss of this step in nats a predicted token.
        average_loss: exponentially weighted mean of `loss`, corrected for its start.
        learning_rate: what this step used.
        gradient_norm: before clipping.
        tokens: real (not padding) tokens consumed since the run began.
        tokens_per_second: over the recent steps.
        seconds_left: to the end of the run at that pace.
        memory_bytes: peak memory of the process, or of the GPU where one trains.
        gpu_utilisation: share of time the GPU was busy (0 to 1), or None without a GPU.
    """

    step: int
    steps: int
    loss: float
    average_loss: float
    learning_rate: float
    gradient_norm: float
    tokens: int
    tokens_per_second: float
    seconds_left: float
    memory_bytes: int
    gpu_utilisation: float | None = None


@dataclass(frozen=True, kw_only=True)
class Validation(Event):
    """Figures on held-out data, by the names that `korformer eval --json` uses."""

    step: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Sample(Event):
    """A text that the model in training wrote."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Saved(Event):
    """Something durable was written."""

    path: Path
    step: int | None = None


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of those who do not want to know."""
