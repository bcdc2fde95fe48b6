"""Where a run stands between two steps: what every training loop counts, tells, keeps and goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from korformer.errors import InterruptedRun, UsageError
from korformer.events import Listener, Notice, Step
from korformer.training.engine import StepResult
from korformer.training.environment import change_of
from korformer.training.meter import Meter, gpu_utilisation, peak_memory_bytes
from korformer.training.run_directory import LoopState


@dataclass(kw_only=True)
class Standing:
    """The counts of a run.

    Attributes:
        steps: that the run is to have.
        step: steps finished.
        tokens: real (not padding) tokens consumed so far.
        seconds: time spent training, over all sittings.
        unsaved: whether something was done that no save has.
        pending: what is due after the step and not done yet: "validation", "sample".
        meter: pace and mean loss.
    """

    steps: int
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    unsaved: bool = False
    pending: list[str] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)

    def resume(self, loop: LoopState, environment: Mapping[str, str], listen: Listener) -> None:
        """Stand where a saved step stood, and tell so.

        Args:
            loop: what was saved.
            environment: of this sitting; where it differs from the saved one, that is told as a warning.
            listen: hears Notice.
        """
        self.step, self.tokens, self.seconds = loop.step, loop.tokens, loop.seconds
        self.pending = list(loop.pending)
        self.meter.resume(loop.weighted_loss, loop.loss_weight, loop.tokens)
        listen(Notice(text=f"going on after step {self.step:,} of {self.steps:,}"))
        changed = change_of(loop.environment, environment)
        if changed:
            listen(Notice(text=changed, level="warning"))

    def count(self, result: StepResult, seconds: float, device: torch.device) -> Step:
        """Count a finished step that took so many seconds; what there is to tell of it."""
        self.step, self.tokens, self.unsaved = self.step + 1, self.tokens + result.tokens, True
        self.seconds += seconds
        self.meter.add(result.loss, self.tokens)
        return Step(
            step=self.step,
            steps=self.steps,
            loss=result.loss,
            average_loss=self.meter.average_loss,
            learning_rate=result.learning_rate,
            gradient_norm=result.gradient_norm,
            tokens=self.tokens,
            tokens_per_second=self.meter.tokens_per_second,
            seconds_left=self.meter.seconds_per_step * (self.steps - self.step),
            memory_bytes=peak_memory_bytes(device),
            gpu_utilisation=gpu_utilisation(device),
        )

    def loop_state(
        self,
        *,
        sampler: Mapping[str, int],
        corpus: str,
        vocabulary: str,
        environment: Mapping[str, str],
        scaler: Mapping[str, float],
        valid: str = "",
    ) -> LoopState:
        """What a save keeps of it, with what the caller knows."""
        return LoopState(
            step=self.step,
            tokens=self.tokens,
            sampler=sampler,
            weighted_loss=self.meter.weighted_loss,
            loss_weight=self.meter.weight,
            seconds=self.seconds,
            corpus=corpus,
            vocabulary=vocabulary,
            environment=environment,
            valid=valid,
            scaler=scaler,
            pending=self.pending,
        )

    def interrupted(self, signal_number: int, path: Path) -> InterruptedRun:
        """The error that ends a run in `path` after a signal, once it is saved."""
        return InterruptedRun(
            f"stopped after step {self.step:,}" + (", saved" if self.step else ", nothing to save yet"),
            signal_number=signal_number,
            where=str(path),
            hint="The same command goes on from there.",
        )


def require_same_data(loop: LoopState, now: Mapping[str, str], path: Path) -> None:
    """Refuse to go on with other data.

    Args:
        loop: of the saved run.
        now: identities of the data and the vocabulary, in this order, by what a person calls them.
        path: the run's folder.

    Raises:
        UsageError: one of them is another one.
    """
    for (name, identity), before in zip(now.items(), (loop.corpus, loop.vocabulary), strict=True):
        if identity != before:
            raise UsageError(
                f"the run here had another {name}",
                where=str(path),
                hint=f"Give the same {name} to go on with it, or another -o to begin a new run.",
            )
