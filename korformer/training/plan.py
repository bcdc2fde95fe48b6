"""What a run will cost, told before it starts: a few real steps of the real model, and arithmetic for the rest.

Nothing is written where the run would be. The corpus is sampled where its tokens are not there yet. On a CPU the peak
that the steps reached is the prediction: the run itself does the same again. Where a step is reckoned not to fit, none
is made and the reckoning is told instead.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from korformer.errors import PathError
from korformer.events import Event, Listener, Notice, Progress, ignore
from korformer.model.products import fast_products
from korformer.storage.failures import existing_parent, free_bytes
from korformer.training import memory
from korformer.training.loop import Trainer, TrainingData
from korformer.training.meter import peak_memory_bytes
from korformer.training.sampling import write_sample
from korformer.training.settings import RunSettings

STEPS = 3
"""Steps that are made at most, the first of them to warm up."""
STEP_SECONDS = 30.0
"""No further step is begun after this time."""
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


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will take.

    Attributes:
        settings: the run's.
        parameters: numbers that are trained, by part of the model.
        device, precision, threads: what it trains on.
        fit: sequences of a pass, passes of a step, and the memory that was reckoned for them.
        free_bytes: memory that is free on the device.
        corpora: tokens of the training text, by corpus; of one without a name under "".
        shares: of the sequences, by corpus.
        corpus_exact: whether that was counted and not estimated.
        tokenizing_seconds: to tokenize what is not tokenized yet.
        store_bytes: that its tokens will take on disk.
        run_bytes: that the run's folder will take.
        free_disk_bytes: on the disk of the run's folder, or None where it does not tell.
        pace: measured, or None where no step was made.
    """

    settings: RunSettings
    parameters: Mapping[str, int]
    device: str
    precision: str
    threads: int
    fit: memory.Fit
    free_bytes: int
    corpora: Mapping[str, int]
    shares: Mapping[str, float]
    corpus_exact: bool
    tokenizing_seconds: float
    store_bytes: int
    run_bytes: int
    free_disk_bytes: int | None
    pace: Pace | None

    @property
    def step_tokens(self) -> int:
        """Tokens of an optimizer step."""
        return self.fit.micro_batch * self.fit.passes * self.settings.pack_tokens

    @property
    def epochs(self) -> dict[str, float]:
        """How often the run goes through the text of each corpus."""
        tokens = self.settings.training.steps * self.step_tokens
        return {name: tokens * self.shares[name] / max(1, size) for name, size in self.corpora.items()}

    @property
    def peak_bytes(self) -> int:
        """Highest memory of the run."""
        return self.pace.peak_bytes if self.pace is not None else self.fit.memory.peak

    @property
    def fits_on_disk(self) -> bool:
        """Whether there is room for the run's folder."""
        return self.free_disk_bytes is None or self.run_bytes <= self.free_disk_bytes

    def seconds(self) -> dict[str, float]:
        """How long the run will take, by what it does; empty where no step was made."""
        if self.pace is None:
            return {}
        training, pace = self.settings.training, self.pace
        return {
            "tokenizing": self.tokenizing_seconds,
            "training": training.steps * pace.step,
            "validation": _times(training.steps, training.eval_every) * pace.validation,
            "samples": _times(training.steps, training.sample_every) * pace.sample,
            "saving": _times(training.steps, training.save_every) * pace.save,
        }


@dataclass(frozen=True, kw_only=True)
class PlannedData:
    """The text of a planned run.

    Attributes:
        data: its tokens, or those of a sample.
        corpora: tokens of the whole training text, by corpus.
        shares: of the sequences, by corpus.
        exact: whether that was counted and not estimated.
        tokenizing_seconds, store_bytes: see `Plan`.
    """

    data: TrainingData
    corpora: Mapping[str, int]
    shares: Mapping[str, float]
    exact: bool
    tokenizing_seconds: float
    store_bytes: int


def plan(settings: RunSettings, planned: PlannedData, path: Path, *, listen: Listener = ignore) -> Plan:
    """Make the model, try a few steps, and reckon the rest.

    Args:
        settings: the run's.
        planned: its text.
        path: the run's folder, which is only looked at.
        listen: hears Progress (stage "trying", unit "passes"), and Notices of the trainer.

    Raises:
        UsageError: the settings do not fit this machine. DivergedError: the loss is not finite.
        ResourceError: memory ran out all the same.
    """
    at_full_length = settings.model_copy(update={"data": settings.data.model_copy(update={"warmup_lengths": ()})})
    trial = _Trial(at_full_length, planned.data, path, _only_notices(listen))
    trial.make()
    assert trial.fit is not None
    free = memory.free_bytes(trial.device)
    pace = trial.measure(listen) if trial.fit.fits else None
    training = settings.training
    weights_bytes = memory.BYTES * sum(parameter.numel() for parameter in trial.learner.module.parameters())
    return Plan(
        settings=settings,
        parameters=_parts(trial.learner.module),
        device=str(trial.device),
        precision=trial.arithmetic.precision,
        threads=torch.get_num_threads(),
        fit=trial.fit,
        free_bytes=free,
        corpora=planned.corpora,
        shares=planned.shares,
        corpus_exact=planned.exact,
        tokenizing_seconds=planned.tokenizing_seconds,
        store_bytes=planned.store_bytes,
        # Every save holds weights and two moments; one more is written before an old one goes.
        run_bytes=((WRITES_PER_SAVE - 1) * (training.keep + 1) + 1) * weights_bytes,
        free_disk_bytes=free_bytes(path),
        pace=pace,
    )


@dataclass
class _Trial(Trainer):
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
            while self.step < STEPS and (self.step < 2 or time.monotonic() - began < STEP_SECONDS):
                before, started = len(self.pass_seconds), time.monotonic()
                self._train_step(self.sampler.state())
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
            steps=self.step,
        )

    def _accumulate(self, *arguments: object, **options: object) -> float:
        started = time.monotonic()
        loss = super()._accumulate(*arguments, **options)  # type: ignore[arg-type]
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
        if not self._writes:
            return 0.0
        tokens = min(SAMPLE_TOKENS, training.sample_tokens)
        started = time.monotonic()
        write_sample(
            self.learner.model.eval(), self.data.vocabulary, prompt=training.sample_prompt, tokens=tokens, seed=0
        )
        return (time.monotonic() - started) * training.sample_tokens / tokens

    def _save_seconds(self) -> float:
        """Seconds of writing and hashing what a save holds, from a nameless file on the same disk."""
        size = memory.BYTES * sum(parameter.numel() for parameter in self.learner.module.parameters())
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
            raise PathError(f"cannot be written ({error.strerror})", where=str(self.path)) from error
        return (time.monotonic() - started) * WRITES_PER_SAVE * size / PROBE_BYTES


def _times(steps: int, every: int) -> int:
    """How often something happens that is due every so many steps and after the last one."""
    return -(-steps // every) if every else 0


def _parts(module: torch.nn.Module) -> dict[str, int]:
    """Numbers that are trained: embedding, positions, attention, feed-forward, norms, output and other heads."""
    parts: dict[str, int] = {}
    for name, parameter in module.named_parameters():
        words = name.split(".")
        if "token_emb" in words:
            part = "embedding"
        elif any(word in ("pos_emb", "layer_pos_emb") for word in words):
            part = "positions"
        elif any(word in ("toqk", "tov", "to_out") for word in words):
            part = "attention"
        elif any(word in ("w1", "w2") for word in words):
            part = "feed-forward"
        elif "norm" in words or words[-1] == "g":
            part = "norms"
        else:
            part = "output and heads"
        parts[part] = parts.get(part, 0) + parameter.numel() * parameter.requires_grad
    return {part: count for part, count in parts.items() if count}


def _only_notices(listen: Listener) -> Listener:
    def hear(event: Event) -> None:
        if isinstance(event, Notice):
            listen(event)

    return hear


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for what is thrown away afterwards."""
    with tempfile.TemporaryDirectory(prefix="korformer-") as folder:
        yield Path(folder)
