"""The training loop: step, look, sample, save, and stop in order.

Everything random is keyed by seed and step, and the sampler's place is saved with the weights, so a run that is
stopped anywhere and resumed does exactly what an uninterrupted one does.
"""

from __future__ import annotations

import math
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch

from korformer.data.packing import Packs, PackSampler
from korformer.data.store import TokenStore
from korformer.errors import DivergedError, InterruptedRun, ResourceError, UsageError
from korformer.evaluation.language_model import validate
from korformer.events import Event, Listener, Notice, Sample, Saved, Step, Validation, ignore
from korformer.model.backbone import ReformerModel, TrainingDraw
from korformer.model.directory import load_parameters, parameters_to_save, publish, write_description
from korformer.model.products import fast_products
from korformer.objectives import objective_named
from korformer.randomness import seed_of
from korformer.storage import check_writable, lock_directory, require_free
from korformer.text.vocabulary import Vocabulary
from korformer.training.allocator import keep_freed_memory
from korformer.training.card import model_card
from korformer.training.interrupt import StopRequest, stop_on_signal
from korformer.training.memory import choose_reversible
from korformer.training.meter import Meter, gpu_utilisation, peak_memory_bytes
from korformer.training.metrics import MetricsLog
from korformer.training.optimizer import learning_rate, make_optimizer, optimizer_tensors, restore_optimizer
from korformer.training.precision import MixedPrecision, choose_precision
from korformer.training.run_directory import LoopState, RunDirectory
from korformer.training.sampling import write_sample
from korformer.training.settings import RunSettings


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What a run trains on.

    Attributes:
        store: the training text as tokens.
        valid: held-out text as tokens, or None.
        vocabulary: of both.
        sources: names of the corpus files, for the model card.
    """

    store: TokenStore
    valid: TokenStore | None
    vocabulary: Vocabulary
    sources: tuple[str, ...] = ()


def pretrain(
    settings: RunSettings, data: TrainingData, path: Path, *, resume: bool = True, listen: Listener = ignore
) -> Path:
    """Train a model, or go on training it; the run directory is a model directory afterwards.

    Args:
        settings: the run's settings.
        data: what to train on.
        path: the run's folder; made where it is missing.
        resume: go on with the run found there; where it is False, one found there is refused.
        listen: hears Step, Validation, Sample, Saved and Notice.

    Raises:
        UsageError: another run is there, or it is being trained by another process.
        PathError, ResourceError: it cannot be written, memory or disk run out.
        DivergedError: loss or gradient are not finite; the last saved step stays.
        InterruptedRun: a signal ended it after a save.
    """
    check_writable(path)
    with lock_directory(path), stop_on_signal() as stop:
        trainer = Trainer(settings, data, path, listen)
        try:
            trainer.prepare(resume=resume)
            trainer.run(stop)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise _out_of_memory(settings, trainer.step) from error
        except RuntimeError as error:
            if "not enough memory" in str(error) or "can't allocate memory" in str(error):
                raise _out_of_memory(settings, trainer.step) from error
            raise
        finally:
            trainer.close()
    return path


def _out_of_memory(settings: RunSettings, step: int) -> ResourceError:
    return ResourceError(
        f"out of memory after step {step}; what was saved is intact",
        hint=f"Set training.reversible=always, or halve training.batch_size (now {settings.training.batch_size}) and "
        "double training.accumulate, or shorten data.pack_tokens.",
    )


@dataclass
class Trainer:
    """One run in progress."""

    settings: RunSettings
    data: TrainingData
    path: Path
    listen: Listener
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    log: MetricsLog | None = None
    stop: StopRequest = field(default_factory=StopRequest)

    def prepare(self, *, resume: bool) -> None:
        """Make model, optimizer and sampler, and bring them to where the run stands."""
        training = self.settings.training
        if training.threads is not None:
            torch.set_num_threads(training.threads)
        self.device = choose_device(training.device)
        self.arithmetic = MixedPrecision(choose_precision(training.precision, self.device), self.device)
        self.run_directory = RunDirectory(self.path)
        if self.run_directory.holds_run():
            if not resume:
                raise UsageError("holds a run already", where=str(self.path), hint="Choose another -o, or resume it.")
            self.run_directory.check_settings(self.settings)
        self.data.store.require_vocabulary(self.data.vocabulary.fingerprint)
        self.objective = objective_named(self.settings.objective)
        self.model = ReformerModel(self.settings.model, self.data.vocabulary.size)
        self.model.initialise(seed_of("weights", training.seed))
        self.model.to(self.device)
        tokens = training.batch_size * self.settings.pack_tokens
        self.reversible = choose_reversible(training.reversible, self.settings.model, tokens, self.device)
        if self.device.type == "cpu" and not self.reversible:
            keep_freed_memory()
        self.optimizer = make_optimizer(self.model, training)
        self.sampler = PackSampler(
            self.data.store,
            pack_tokens=self.settings.pack_tokens,
            seed=training.seed,
            shuffle=self.settings.data.shuffle,
        )
        self.meter = Meter()
        # Every save holds weights and two moments of the optimizer; publishing holds the weights once more.
        weights_bytes = 4 * sum(parameter.numel() for parameter in self.model.lm.parameters())
        require_free(self.path, (3 * (training.keep + 1) + 1) * weights_bytes)
        self._resume()
        self.run_directory.begin(self.settings)
        write_description(
            self.path,
            self.model,
            self.data.vocabulary,
            objective=self.settings.objective,
            training={"pack_tokens": self.settings.pack_tokens},
        )
        self.log = MetricsLog(self.run_directory.metrics_path)
        self.log.begin(self.step, {"environment": self.environment})

    @property
    def environment(self) -> dict[str, str]:
        """What a bit-exact repetition needs to be the same."""
        return {
            "torch": torch.__version__,
            "threads": str(torch.get_num_threads()),
            "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
            "device": str(self.device),
            "precision": self.arithmetic.precision,
            "reversible layers": "yes" if self.reversible else "no",
        }

    def _resume(self) -> None:
        saved = self.run_directory.newest()
        if saved is None:
            return
        loop = saved.loop
        identities = {"corpus": self.data.store.fingerprint, "vocabulary": self.data.vocabulary.fingerprint}
        for name, now in identities.items():
            if getattr(loop, name) != now:
                raise UsageError(
                    f"the run here was trained with another {name}",
                    where=str(self.path),
                    hint=f"Give the same {name} to go on with it, or another -o to begin a new run.",
                )
        load_parameters(self.model, saved.model, where=str(self.path))
        restore_optimizer(self.model, self.optimizer, saved.optimizer)
        self.arithmetic.restore(loop.scaler)
        if self.settings.training.reversible == "auto":  # as before, so that the run goes on bit for bit
            self.reversible = loop.environment.get("reversible layers", "no") == "yes"
        self.sampler.restore(loop.sampler)
        self.step, self.tokens, self.seconds = loop.step, loop.tokens, loop.seconds
        self.meter.resume(loop.weighted_loss, loop.loss_weight, loop.tokens)
        self.listen(Notice(text=f"going on after step {self.step:,} of {self.settings.training.steps:,}"))
        changed = [name for name, now in self.environment.items() if loop.environment.get(name, now) != now]
        if changed:
            self.listen(
                Notice(
                    text=f"{' and '.join(changed)} changed since the save: the run goes on, but not bit for bit "
                    "as it would have",
                    level="warning",
                )
            )

    def run(self, stop: StopRequest) -> None:
        """Train to the last step."""
        training = self.settings.training
        if self.step >= training.steps:
            self.listen(Notice(text=f"all {training.steps:,} steps are done; raise training.steps to go on"))
            self._publish()
            return
        self.stop = stop
        with fast_products():
            self._train()

    def _train(self) -> None:
        training = self.settings.training
        while self.step < training.steps:
            self._train_step()
            last = self.step == training.steps
            paused = time.monotonic()
            if self.data.valid is not None and (last or self.step % training.eval_every == 0):
                self._validate()
            if training.sample_every and (last or self.step % training.sample_every == 0):
                self._sample()
            if last or self.step % training.save_every == 0:
                self.save()
            self.meter.skip(time.monotonic() - paused)

    def _train_step(self) -> None:
        """One optimizer step: fetch, accumulate, check, update."""
        training = self.settings.training
        began = time.monotonic()
        place = self.sampler.state()
        batches = [self.sampler.next_packs(training.batch_size) for _ in range(training.accumulate)]
        predicted = sum(self.objective.predicted(packs) for packs in batches)
        step = self.step + 1
        rate = learning_rate(step, training)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        loss = 0.0
        for number, packs in enumerate(batches):
            if self.stop:
                self.optimizer.zero_grad(set_to_none=True)
                self.sampler.restore(place)
                self._stop()
            loss += self._accumulate(packs, step, number, predicted)
        self.arithmetic.unscale(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.lm.parameters(), training.clip or math.inf))
        overflowed = self.arithmetic.overflowed(norm)
        if not (math.isfinite(loss) and (math.isfinite(norm) or overflowed)):
            raise DivergedError(
                f"training diverged at step {step}: loss {loss:.4g}, gradient norm {norm:.4g}; "
                f"the last saved step is intact",
                where=str(self.path),
                hint="Lower training.learning_rate or raise training.warmup_steps, and resume.",
            )
        self.arithmetic.step(self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        if overflowed:
            self.listen(
                Notice(
                    text=f"step {step} changed nothing: its gradient overflowed in fp16; "
                    f"the loss is scaled by {self.arithmetic.loss_scale:g} from now on"
                )
            )
        self.step, self.tokens = step, self.tokens + predicted
        self.seconds += time.monotonic() - began
        self.meter.add(loss, self.tokens)
        self._tell(
            Step(
                step=step,
                steps=training.steps,
                loss=loss,
                average_loss=self.meter.average_loss,
                learning_rate=rate,
                gradient_norm=norm,
                tokens=self.tokens,
                tokens_per_second=self.meter.tokens_per_second,
                seconds_left=self.meter.seconds_per_step * (training.steps - step),
                memory_bytes=peak_memory_bytes(self.device),
                gpu_utilisation=gpu_utilisation(self.device),
            )
        )

    def _accumulate(self, packs: Packs, step: int, number: int, predicted: int) -> float:
        """Forward and backward of one micro-batch, weighted by its share of the step's predicted tokens."""
        training = self.settings.training
        first = number * training.batch_size
        draw = TrainingDraw(seed=training.seed, step=step, samples=range(first, first + len(packs.tokens)))
        with self.arithmetic.autocast():
            batch = self.objective.loss(
                self.model, packs, self.settings.objective_settings, draw, reversible=self.reversible
            )
        share = batch.predicted / max(1, predicted)
        self.arithmetic.scaled(batch.mean * share).backward()
        return float(batch.mean.detach()) * share

    def _validate(self) -> None:
        assert self.data.valid is not None
        result = validate(
            self.model,
            self.data.vocabulary,
            self.data.valid,
            max_tokens=self.settings.training.eval_tokens,
            listen=self._listen_and_stop,
        )
        self._tell(Validation(step=self.step, metrics=result.metrics()))

    def _sample(self) -> None:
        training = self.settings.training
        text = write_sample(
            self.model.eval(),
            self.data.vocabulary,
            prompt=training.sample_prompt,
            tokens=training.sample_tokens,
            seed=seed_of("sample", training.seed, self.step),
        )
        self._tell(Sample(step=self.step, prompt=training.sample_prompt, text=text))

    def save(self) -> None:
        """Write the step and publish it as the run's model."""
        loop = LoopState(
            step=self.step,
            tokens=self.tokens,
            sampler=self.sampler.state(),
            weighted_loss=self.meter.weighted_loss,
            loss_weight=self.meter.weight,
            seconds=self.seconds,
            corpus=self.data.store.fingerprint,
            vocabulary=self.data.vocabulary.fingerprint,
            environment=self.environment,
            scaler=self.arithmetic.state(),
        )
        model = parameters_to_save(self.model)
        optimizer = optimizer_tensors(self.model, self.optimizer)
        self.run_directory.save(model, optimizer, loop, keep=self.settings.training.keep)
        self._publish()
        self._tell(Saved(path=self.path, step=self.step))

    def _publish(self) -> None:
        card = model_card(self.settings, self.data.sources, self.run_directory.metrics_path, self.step, self.tokens)
        publish(self.path, parameters_to_save(self.model), card)

    def _listen_and_stop(self, event: Event) -> None:
        """A listener for work between two steps that may take long."""
        self.listen(event)
        if self.stop:
            self._stop()

    def _stop(self) -> NoReturn:
        assert self.stop.signal_number is not None
        if self.step:
            self.save()
        raise InterruptedRun(
            f"stopped after step {self.step:,}" + (", saved" if self.step else ", nothing to save yet"),
            signal_number=self.stop.signal_number,
            where=str(self.path),
            hint="The same command goes on from there.",
        )

    def _tell(self, event: Event) -> None:
        if self.log is not None:
            self.log(event)
        self.listen(event)

    def close(self) -> None:
        """Close what is open."""
        if self.log is not None:
            self.log.close()


def choose_device(wanted: str) -> torch.device:
    """The device to train on.

    Raises:
        UsageError: a GPU is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "no CUDA device is available", where="training.device", hint="`korformer doctor` tells why; or use cpu."
        )
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)
