"""What a run will cost, told before it starts: a few real steps of the real model, and arithmetic for the rest.

Nothing is written where the run would be. The corpus is sampled where its tokens are not there yet. On a CPU the peak
that the steps reached is the prediction: the run itself does the same again. Where a step is reckoned not to fit, none
is made and the reckoning is told instead.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from korformer.events import Event, Listener, Notice, ignore
from korformer.storage.failures import free_bytes
from korformer.training import memory
from korformer.training.engine import TrainingData
from korformer.training.run_directory import RunDirectory
from korformer.training.settings import RunSettings
from korformer.training.trial import WRITES_PER_SAVE, Pace, Trial


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
        free_disk_bytes: on the disk of the run's folder, with what a run there holds already; None where it does not
            tell.
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
    trial = Trial(at_full_length, planned.data, path, _only_notices(listen))
    trial.make()
    assert trial.fit is not None
    free = memory.free_bytes(trial.device)
    pace = trial.measure(listen) if trial.fit.fits else None
    training, free_disk = settings.training, free_bytes(path)
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
        free_disk_bytes=None if free_disk is None else free_disk + RunDirectory(path).held_bytes(),
        pace=pace,
    )


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
