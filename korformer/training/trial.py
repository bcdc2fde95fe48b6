"""A few real steps of a run, measured, that leave nothing behind."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from dataclasses import dataclass, field

import torch

from korformer.events import Listener, Progress, ignore
from korformer.model.products import fast_products
from korformer.storage.failures import existing_parent, failure
from korformer.training.engine import Engine
from korformer.training.memory import BYTES
from korformer.training.meter import peak_memory_bytes
from korformer.training.sampling import write_sample

STEPS = 8
"""Steps that are made at most, the first of them to warm up."""
STEP_SECONDS = 20.0
"""No step after the second is begun after this time."""
VALIDATION_TOKENS = 16_384
SAMPLE_TOKENS = 8
PROBE_BYTES = 1 << 25
WRITES_PER_SAVE = 4
"""Times the size of the weights: weights, two moments of the optimizer, and the model that is published."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What was measured.

    Attributes:
        step: seconds of an optimizer step with all of its passes.
        validation: seconds of one look at the held-out text; 0 without.
        sample: seconds of one sample text; 0 without.
        save: seconds of one save.
        tokens_per_second: of the steps.
        peak_bytes: highest memory of the process, or of the GPU, while all of that was done.
        steps: how many steps it was.
    """

    step: float
    validation: float
    sample: float
    save: float
    tokens_per_second: float
    peak_bytes: int
    steps: int


@dataclass
class Trial(Engine):
    """A run of a few steps that leaves nothing behind; of each step two passes stand for all of them."""

    pass_seconds: list[float] = field(default_factory=list)
    told: Listener = ignore

    def measure(self, listen: Listener) -> Pace:
        """Try steps, a look at the held-out text, and a sample text."""
        self.told = listen
        whole, self.passes = self.passes, min(2, self.passes)
        updates: list[float] = []
        began = time.monotonic()
        with fast_products():
            while len(updates) < STEPS and (len(updates) < 2 or time.monotonic() - began < STEP_SECONDS):
                before, started = len(self.pass_seconds), time.monotonic()
                self.advance(len(updates) + 1)
                self._synchronise()
                updates.append(time.monotonic() - started - sum(self.pass_seconds[before:]))
            validation, sample = self._look(), self._write_a_sample()
        listen(Progress(stage="trying", done=STEPS * self.passes, total=STEPS * self.passes, unit="passes"))
        passes = self.pass_seconds[self.passes :]
        # The update is made once a step; fetching belongs to the passes, but is as nothing.
        step_seconds = whole * sum(passes) / len(passes) + sum(updates[1:]) / len(updates[1:])
        return Pace(
            step=step_seconds,
            validation=validation,
            sample=sample,
            save=self._save_seconds(),
            tokens_per_second=whole * self.micro_batch * self.settings.pack_tokens / step_seconds,
            peak_bytes=peak_memory_bytes(self.device),
            steps=len(updates),
        )

    def accumulate(self, *arguments: object, **options: object) -> float:
        started = time.monotonic()
        loss = super().accumulate(*arguments, **options)  # type: ignore[arg-type]
        self._synchronise()
        self.pass_seconds.append(time.monotonic() - started)
        self.told(Progress(stage="trying", done=len(self.pass_seconds), total=STEPS * self.passes + 1, unit="passes"))
        return loss

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _look(self) -> float:
        """Seconds of one look at the held-out text, from a look at less of it."""
        valid = self.data.valid
        if valid is None:
            return 0.0
        whole = min(self.settings.training.eval_tokens, valid.tokens)
        looked = min(whole, VALIDATION_TOKENS)
        started = time.monotonic()
        self.learner.validate(valid, self.data.vocabulary, max_tokens=looked, listen=ignore)
        return (time.monotonic() - started) * whole / looked

    def _write_a_sample(self) -> float:
        """Seconds of one sample text, from a shorter one."""
        training = self.settings.training
        if not self.writes:
            return 0.0
        tokens = min(SAMPLE_TOKENS, training.sample_tokens)
        started = time.monotonic()
        write_sample(
            self.learner.model.eval(), self.data.vocabulary, prompt=training.sample_prompt, tokens=tokens, seed=0
        )
        return (time.monotonic() - started) * training.sample_tokens / tokens

    def _save_seconds(self) -> float:
        """Seconds of writing and hashing what a save holds, from a nameless file on the same disk."""
        size = BYTES * sum(parameter.numel() for parameter in self.learner.module.parameters())
        block = os.urandom(1 << 20)
        started = time.monotonic()
        try:
            with tempfile.TemporaryFile(dir=existing_parent(self.path)) as file:
                for _ in range(PROBE_BYTES // len(block)):
                    file.write(block)
                    hashlib.sha256(block).digest()
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise failure(error, self.path) from error
        return (time.monotonic() - started) * WRITES_PER_SAVE * size / PROBE_BYTES
