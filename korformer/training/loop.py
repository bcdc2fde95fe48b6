"""The training loop: step, look, sample, save, and stop in order.

Everything random is keyed by seed and step, and the sampler's place is saved with the weights, so a run that is
stopped anywhere and resumed does exactly what an uninterrupted one does.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch

from korformer.data.mixing import Mixture, sampler_of
from korformer.data.packing import Packs
from korformer.data.store import TokenStore
from korformer.errors import DivergedError, InterruptedRun, UsageError
from korformer.events import Event, Listener, Notice, Sample, Saved, Step, Validation, ignore
from korformer.model.backbone import TrainingDraw
from korformer.model.directory import load_parameters, parameters_to_save, publish, write_description
from korformer.model.products import fast_products
from korformer.objectives import objective_named
from korformer.randomness import seed_of
from korformer.storage import check_writable, lock_directory, require_free
from korformer.text.vocabulary import Vocabulary
from korformer.training.allocator import keep_freed_memory
from korformer.training.card import model_card
from korformer.training.distributed import ALONE, Group, LostProcessError
from korformer.training.environment import change_of, environment
from korformer.training.fitting import as_before, fit_of, out_of_memory, warning_of
from korformer.training.interrupt import StopRequest, stop_on_signal
from korformer.training.lengths import StepShape, length_at, length_problems, step_shape
from korformer.training.memory import Fit
from korformer.training.meter import Meter, gpu_utilisation, peak_memory_bytes
from korformer.training.metrics import MetricsLog
from korformer.training.optimizer import learning_rate, make_optimizer, optimizer_tensors, restore_optimizer
from korformer.training.precision import MixedPrecision, choose_precision
from korformer.training.run_directory import LoopState, RunDirectory
from korformer.training.sampling import write_sample
from korformer.training.settings import RunSettings
from korformer.training.sharing import choose_device, divided, require_same, set_threads, shared_step


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What a run trains on.

    Attributes:
        store: the training text as tokens, or several corpora with their weights.
        valid: held-out text as tokens, or None.
        vocabulary: of both.
        sources: names of the corpus files, for the model card.
    """

    store: TokenStore | Mixture
    valid: TokenStore | None
    vocabulary: Vocabulary
    sources: tuple[str, ...] = ()


def pretrain(
    settings: RunSettings,
    data: TrainingData,
    path: Path,
    *,
    resume: bool = True,
    listen: Listener = ignore,
    group: Group = ALONE,
) -> Path:
    """Train a model, or go on training it; the run directory is a model directory afterwards.

    Args:
        settings: the run's settings.
        data: what to train on.
        path: the run's folder; made where it is missing.
        resume: go on with the run found there; where it is False, one found there is refused.
        listen: hears Step, Validation, Sample, Saved and Notice; in the first process only.
        group: the processes that train together, all of which call this.

    Raises:
        UsageError: another run is there, or it is being trained by another process.
        PathError, ResourceError: it cannot be written, memory or disk run out.
        DivergedError: loss or gradient are not finite; the last saved step stays.
        InterruptedRun: a signal ended it after a save.
    """
    group.first(lambda: check_writable(path))
    with ExitStack() as held, stop_on_signal() as stop:
        group.first(lambda: held.enter_context(lock_directory(path)))
        trainer = Trainer(settings, data, path, listen if group.leads else ignore, group)
        try:
            trainer.prepare(resume=resume)
            trainer.run(stop)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise out_of_memory(settings, trainer.step, trainer.fit) from error
        except RuntimeError as error:
            if "not enough memory" in str(error) or "can't allocate memory" in str(error):
                raise out_of_memory(settings, trainer.step, trainer.fit) from error
            raise
        finally:
            trainer.close()
    return path


@dataclass
class Trainer:
    """One run in progress."""

    settings: RunSettings
    data: TrainingData
    path: Path
    listen: Listener
    group: Group = ALONE
    step: int = 0
    unsaved: bool = False
    tokens: int = 0
    seconds: float = 0.0
    pending: list[str] = field(default_factory=list)
    fit: Fit | None = None
    log: MetricsLog | None = None
    stop: StopRequest = field(default_factory=StopRequest)

    def prepare(self, *, resume: bool) -> None:
        """Make model, optimizer and sampler, and bring them to where the run stands."""
        training, group = self.settings.training, self.group
        set_threads(training.threads, group)
        self.run_directory = RunDirectory(self.path)
        group.first(lambda: self._check(resume=resume))
        require_same(
            group,
            {
                "corpus": self.data.store.fingerprint,
                "vocabulary": self.data.vocabulary.fingerprint,
                "configuration": self.settings.model_dump_json(),
            },
        )
        self.make()
        self._resume()
        group.first(self._open)

    def make(self) -> None:
        """Make model, optimizer and sampler as a new run has them; nothing of it is on disk."""
        training, group = self.settings.training, self.group
        self.device = choose_device(training.device, group)
        precision = group.first(lambda: choose_precision(training.precision, self.device))
        self.arithmetic = MixedPrecision(precision, self.device)
        objective = objective_named(self.settings.objective)
        self.learner = objective.learner(self.settings.model, self.settings.objective_settings, self.data.vocabulary)
        self.learner.initialise(seed_of("weights", training.seed))
        self.learner.module.to(self.device)
        self.fit = fit_of(self.settings, self.learner, self.device, precision, group)
        self.micro_batch, self.passes, self.reversible = self.fit.micro_batch, self.fit.passes, self.fit.reversible
        warning = warning_of(self.settings, self.fit, self.device)
        if warning is not None:
            self.listen(Notice(text=warning, level="warning"))
        if self.device.type == "cpu" and not self.reversible:
            keep_freed_memory()
        self.optimizer = make_optimizer(self.learner.module, training)
        self.sampler = sampler_of(
            self.data.store,
            self.learner.sampler,
            pack_tokens=self.settings.pack_tokens,
            seed=training.seed,
            shuffle=self.settings.data.shuffle,
            rank=group.rank,
            world_size=group.world_size,
        )
        self.meter = Meter()

    def _check(self, *, resume: bool) -> None:
        """Refuse what would not be this run."""
        if self.run_directory.holds_run():
            if not resume:
                raise UsageError("holds a run already", where=str(self.path), hint="Choose another -o, or resume it.")
            self.run_directory.check_settings(self.settings)
        self.data.store.require_vocabulary(self.data.vocabulary.fingerprint)
        sizes = divided(self.settings.training.batch_size, self.settings.training.accumulate, self.group.world_size)
        problems = length_problems(
            self.settings.data.warmup_lengths,
            pack_tokens=self.settings.pack_tokens,
            step_sequences=math.prod(sizes),
        )
        if problems:
            raise UsageError("; ".join(problems), where=f"{self.group.world_size} processes")

    def _open(self) -> None:
        """Bring the run directory to where the run stands."""
        # Every save holds weights and two moments of the optimizer; publishing holds the weights once more.
        weights_bytes = 4 * sum(parameter.numel() for parameter in self.learner.module.parameters())
        require_free(self.path, (3 * (self.settings.training.keep + 1) + 1) * weights_bytes)
        self.run_directory.begin(self.settings)
        write_description(
            self.path,
            self.learner.model,
            self.data.vocabulary,
            objective=self.settings.objective,
            training={
                "pack_tokens": self.settings.pack_tokens,
                "objective": self.settings.objective_settings.model_dump(mode="json"),
            },
        )
        self.log = MetricsLog(self.run_directory.metrics_path)
        self.log.begin(self.step, {"environment": self.environment, "pending": self.pending})
        if self.step:
            self._publish()  # a kill may have come between a save and its publication

    @property
    def environment(self) -> dict[str, str]:
        """What a bit-exact repetition needs to be the same."""
        return environment(
            device=self.device,
            precision=self.arithmetic.precision,
            reversible=self.reversible,
            micro_batch=self.micro_batch,
            processes=self.group.world_size,
        )

    def _resume(self) -> None:
        saved = shared_step(self.group, self.run_directory)
        if saved is None:
            return
        loop = saved.loop
        identities = {"corpus": self.data.store.fingerprint, "vocabulary": self.data.vocabulary.fingerprint}
        for name, now in identities.items():
            if getattr(loop, name) != now:
                raise self.group.in_all(
                    UsageError(
                        f"the run here was trained with another {name}",
                        where=str(self.path),
                        hint=f"Give the same {name} to go on with it, or another -o to begin a new run.",
                    )
                )
        load_parameters(self.learner.module, saved.model, where=str(self.path))
        restore_optimizer(self.learner.module, self.optimizer, saved.optimizer)
        self.arithmetic.restore(loop.scaler)
        if self.settings.training.reversible == "auto":  # as before, so that the run goes on bit for bit
            self.reversible = loop.environment.get("reversible layers", "no") == "yes"
        chosen = (self.micro_batch, self.passes)
        self.micro_batch, self.passes = as_before(self.settings, loop.environment, chosen, self.group)
        self.sampler.restore(loop.sampler)
        self.step, self.tokens, self.seconds = loop.step, loop.tokens, loop.seconds
        self.pending = list(loop.pending)
        self.meter.resume(loop.weighted_loss, loop.loss_weight, loop.tokens)
        self.listen(Notice(text=f"going on after step {self.step:,} of {self.settings.training.steps:,}"))
        changed = change_of(loop.environment, self.environment)
        if changed:
            self.listen(Notice(text=changed, level="warning"))

    def run(self, stop: StopRequest) -> None:
        """Train to the last step."""
        training = self.settings.training
        if self.step >= training.steps:
            self.listen(Notice(text=f"all {training.steps:,} steps are done; raise training.steps to go on"))
        self.stop = stop
        with fast_products():
            self._train()

    def _train(self) -> None:
        training = self.settings.training
        self._do_pending()
        if self.unsaved:
            self.save()
        while self.step < training.steps:
            self._train_step_or_save()
            paused = time.monotonic()
            self.pending = self._due()
            self._do_pending()
            if self.step == training.steps or self.step % training.save_every == 0:
                self.save()
            self.meter.skip(time.monotonic() - paused)

    def _due(self) -> list[str]:
        """What comes after this step besides a save, in its order."""
        training = self.settings.training
        last = self.step == training.steps
        due = []
        if self.data.valid is not None and (last or self.step % training.eval_every == 0):
            due.append("validation")
        if self._writes and (last or self.step % training.sample_every == 0):
            due.append("sample")
        return due

    def _do_pending(self) -> None:
        """Do what is due; where a signal cuts it short, the rest is saved as still to be done."""
        work = {"validation": self._validate, "sample": self._sample}
        while self.pending:
            self.group.first(work[self.pending[0]])
            self.pending, self.unsaved = self.pending[1:], True

    def _train_step_or_save(self) -> None:
        """One optimizer step; where another process is lost in it, the first one keeps what was done before."""
        place = self.sampler.state()
        try:
            self._train_step(place)
        except LostProcessError:
            if self.group.leads and self.unsaved:
                self.sampler.restore(place)
                self._write()
            raise

    def _train_step(self, place: Mapping[str, int]) -> None:
        """One optimizer step: fetch, accumulate, check, update. `place` is where the sampler stands before it."""
        training = self.settings.training
        began = time.monotonic()
        step = self.step + 1
        shape = self._shape(step)
        self.sampler.pack_tokens = shape.pack_tokens
        batches = [self.sampler.next_packs(shape.rows) for _ in range(shape.passes)]
        counts: Counter[str] = Counter(tokens=0)
        for number, packs in enumerate(batches):
            counts["tokens"] += packs.real_tokens
            counts.update(
                {f"of {name}": n for name, n in self.learner.predicted(packs, self._draw(packs, step, number)).items()}
            )
        counted = self.group.sum(counts)
        tokens = int(counted.pop("tokens"))
        totals = {name.removeprefix("of "): int(count) for name, count in counted.items()}
        rate = learning_rate(step, training)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.learner.module.train()
        loss = 0.0
        for number, packs in enumerate(batches):
            asked = self.group.agreed_stop(self.stop.signal_number)
            if asked:
                self.optimizer.zero_grad(set_to_none=True)
                self.sampler.restore(place)
                self._stop(asked)
            loss += self._accumulate(packs, step, number, totals)
        loss = self.group.sum({"loss": loss})["loss"]
        self.group.sum_gradients(self.learner.module.parameters())
        self.arithmetic.unscale(self.optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(self.learner.module.parameters(), training.clip or math.inf))
        overflowed = self.arithmetic.overflowed(norm)
        if not (math.isfinite(loss) and (math.isfinite(norm) or overflowed)):
            raise self.group.in_all(self._diverged(step, loss, norm))
        self.arithmetic.step(self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        if overflowed:
            self.listen(
                Notice(
                    text=f"step {step} changed nothing: its gradient overflowed in fp16; "
                    f"the loss is scaled by {self.arithmetic.loss_scale:g} from now on"
                )
            )
        self.step, self.tokens, self.unsaved = step, self.tokens + tokens, True
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

    def _diverged(self, step: int, loss: float, norm: float) -> DivergedError:
        return DivergedError(
            f"training diverged at step {step}: loss {loss:.4g}, gradient norm {norm:.4g}; "
            "the last saved step is intact",
            where=str(self.path),
            hint="Lower training.learning_rate or raise training.warmup_steps, and resume.",
        )

    def _shape(self, step: int) -> StepShape:
        """How the sequences of a step are cut: shorter ones while the lengths warm up."""
        data, pack_tokens = self.settings.data, self.settings.pack_tokens
        length = length_at(
            step,
            steps=self.settings.training.steps,
            pack_tokens=pack_tokens,
            warmup_lengths=data.warmup_lengths,
            warmup_share=data.length_warmup,
        )
        return step_shape(length, pack_tokens=pack_tokens, micro_batch=self.micro_batch, passes=self.passes)

    def _draw(self, packs: Packs, step: int, number: int) -> TrainingDraw:
        """The keys of what a micro-batch draws: those of the step's sequences that this process has of it."""
        first = number * len(packs.tokens) * self.group.world_size + self.group.rank
        samples = range(first, first + len(packs.tokens) * self.group.world_size, self.group.world_size)
        return TrainingDraw(seed=self.settings.training.seed, step=step, samples=samples)

    def _accumulate(self, packs: Packs, step: int, number: int, totals: Mapping[str, int]) -> float:
        """Forward and backward of one micro-batch, weighted by its share of what the step predicts."""
        with self.arithmetic.autocast():
            batch = self.learner.loss(packs, self._draw(packs, step, number), reversible=self.reversible)
        share, value = batch.share(totals)
        self.arithmetic.scaled(share).backward()
        return value

    def _validate(self) -> None:
        assert self.data.valid is not None
        metrics = self.learner.validate(
            self.data.valid,
            self.data.vocabulary,
            max_tokens=self.settings.training.eval_tokens,
            listen=self._listen_and_stop,
        )
        self._tell(Validation(step=self.step, metrics=metrics))

    @property
    def _writes(self) -> bool:
        """Whether there are samples to write; an encoder writes none."""
        return self.settings.training.sample_every > 0 and self.learner.model.config.causal

    def _sample(self) -> None:
        training = self.settings.training
        text = write_sample(
            self.learner.model.eval(),
            self.data.vocabulary,
            prompt=training.sample_prompt,
            tokens=training.sample_tokens,
            seed=seed_of("sample", training.seed, self.step),
        )
        self._tell(Sample(step=self.step, prompt=training.sample_prompt, text=text))

    def save(self) -> None:
        """Write the step and publish it as the run's model."""
        self.group.first(self._write)
        self.unsaved = False

    def _write(self) -> None:
        assert self.log is not None
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
            pending=self.pending,
        )
        # The curves up to a step are on disk before the step is: a run never goes on from what they do not show.
        self.log.place(self.step, loop.sampler)
        self.log.sync()
        model = parameters_to_save(self.learner.module)
        optimizer = optimizer_tensors(self.learner.module, self.optimizer)
        self.run_directory.save(model, optimizer, loop, keep=self.settings.training.keep)
        self._publish()
        self._tell(Saved(path=self.path, step=self.step))

    def _publish(self) -> None:
        results = self.log.validation if self.log is not None else {}
        card = model_card(self.settings, self.data.sources, results, self.step, self.tokens)
        publish(self.path, parameters_to_save(self.learner.model), card)

    def _listen_and_stop(self, event: Event) -> None:
        """A listener for work between two steps that may take long."""
        self.listen(event)
        if self.stop.signal_number is not None:
            self._stop(self.stop.signal_number)

    def _stop(self, signal_number: int) -> NoReturn:
        if self.unsaved:
            self.save()
        raise self.group.in_all(
            InterruptedRun(
                f"stopped after step {self.step:,}" + (", saved" if self.step else ", nothing to save yet"),
                signal_number=signal_number,
                where=str(self.path),
                hint="The same command goes on from there.",
            )
        )

    def _tell(self, event: Event) -> None:
        if self.log is not None:
            self.log(event)
        self.listen(event)

    def close(self) -> None:
        """Close what is open."""
        if self.log is not None:
            self.log.close()
