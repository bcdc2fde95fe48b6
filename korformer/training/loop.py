"""The training loop: step, look, sample, save, and stop in order.

Everything random is keyed by seed and step, and the sampler's place is saved with the weights, so a run that is
stopped anywhere and resumed does exactly what an uninterrupted one does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from korformer.errors import UsageError, is_out_of_memory
from korformer.events import Event, Listener, Notice, Sample, Saved, Validation, ignore
from korformer.model.directory import load_parameters, parameters_to_save, publish, write_description
from korformer.model.products import fast_products
from korformer.randomness import seed_of
from korformer.storage import check_writable, lock_directory, require_free
from korformer.training.card import model_card
from korformer.training.distributed import ALONE, Group, LostProcessError
from korformer.training.engine import Engine, TrainingData
from korformer.training.fitting import as_before, out_of_memory
from korformer.training.interrupt import StopRequest, stop_on_signal
from korformer.training.lengths import length_problems
from korformer.training.metrics import MetricsLog
from korformer.training.optimizer import optimizer_tensors, restore_optimizer
from korformer.training.run_directory import RunDirectory
from korformer.training.sampling import write_sample
from korformer.training.settings import RunSettings
from korformer.training.sharing import divided, require_same, set_threads, shared_step
from korformer.training.standing import Standing, require_same_data


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
        except Exception as error:
            if is_out_of_memory(error):
                raise out_of_memory(settings, trainer.step, trainer.engine.fit) from error
            raise
        finally:
            trainer.close()
    return path


class Trainer:
    """One run in progress: what it does between steps, and how it stands on disk.

    Args:
        settings, data, path, listen, group: see `pretrain`.
    """

    def __init__(
        self, settings: RunSettings, data: TrainingData, path: Path, listen: Listener, group: Group = ALONE
    ) -> None:
        self.settings, self.data, self.path, self.listen, self.group = settings, data, path, listen, group
        self.engine = Engine(settings, data, path, listen, group)
        self.run_directory = RunDirectory(path)
        self.standing = Standing(steps=settings.training.steps)
        self.log: MetricsLog | None = None
        self.stop = StopRequest()

    @property
    def step(self) -> int:
        """Steps finished."""
        return self.standing.step

    def prepare(self, *, resume: bool) -> None:
        """Make model, optimizer and sampler, and bring them to where the run stands."""
        set_threads(self.settings.training.threads, self.group)
        self.group.first(lambda: self._check(resume=resume))
        require_same(
            self.group,
            {
                "corpus": self.data.store.fingerprint,
                "vocabulary": self.data.vocabulary.fingerprint,
                "configuration": self.settings.model_dump_json(),
            },
        )
        self.engine.make()
        self._resume()
        self.group.first(self._open)

    def _check(self, *, resume: bool) -> None:
        """Refuse what would not be this run."""
        if not resume:
            self.run_directory.require_new()
        if self.run_directory.holds_run():
            changed = self.run_directory.check_settings(self.settings)
            if changed:
                self.listen(Notice(text=f"the run goes on otherwise: {'; '.join(changed)}", level="warning"))
        self.run_directory.require_unused()
        self.run_directory.require_steps()
        self.data.store.require_vocabulary(self.data.vocabulary.fingerprint)
        sizes = divided(self.settings.training.batch_size, self.settings.training.accumulate, self.group.world_size)
        problems = length_problems(
            self.settings.data.warmup_lengths,
            pack_tokens=self.settings.pack_tokens,
            step_sequences=math.prod(sizes),
        )
        if problems:
            raise UsageError("; ".join(problems), where=f"{self.group.world_size} processes")

    @property
    def _valid_fingerprint(self) -> str:
        return self.data.valid.fingerprint if self.data.valid is not None else ""

    def _open(self) -> None:
        """Bring the run directory to where the run stands."""
        # Every save holds weights and two moments of the optimizer; publishing holds the weights once more.
        weights_bytes = 4 * sum(parameter.numel() for parameter in self.engine.learner.module.parameters())
        needed = (3 * (self.settings.training.keep + 1) + 1) * weights_bytes
        require_free(self.path, needed - self.run_directory.held_bytes())
        self.run_directory.begin(self.settings)
        write_description(
            self.path,
            self.engine.learner.model,
            self.data.vocabulary,
            objective=self.settings.objective,
            training={
                "pack_tokens": self.settings.pack_tokens,
                "objective": self.settings.objective_settings.model_dump(mode="json"),
            },
        )
        self.log = MetricsLog(self.run_directory.metrics_path)
        self.log.begin(self.step, {"environment": self.engine.environment, "pending": self.standing.pending})
        if self.step:
            self._publish()  # a kill may have come between a save and its publication

    def _resume(self) -> None:
        saved = shared_step(self.group, self.run_directory, self.listen)
        if saved is None:
            return
        loop = saved.loop
        now = {"corpus": self.data.store.fingerprint, "vocabulary": self.data.vocabulary.fingerprint}
        try:
            require_same_data(loop, now, self.path)
        except UsageError as error:
            raise self.group.in_all(error) from None
        load_parameters(self.engine.learner.module, saved.model, where=str(self.path))
        restore_optimizer(self.engine.learner.module, self.engine.optimizer, saved.optimizer)
        self.engine.arithmetic.restore(loop.scaler)
        if self.settings.training.reversible == "auto":  # as before, so that the run goes on bit for bit
            self.engine.reversible = loop.environment.get("reversible layers", "no") == "yes"
        chosen = (self.engine.micro_batch, self.engine.passes)
        self.engine.micro_batch, self.engine.passes = as_before(self.settings, loop.environment, chosen, self.group)
        self.engine.sampler.restore(loop.sampler)
        self.standing.resume(loop, self.engine.environment, self.listen)
        if loop.valid and loop.valid != self._valid_fingerprint:
            text = "the held-out text is another one than before: its figures are not comparable with those until now"
            self.listen(Notice(text=text, level="warning"))

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
        if self.standing.unsaved:
            self.save()
        while self.step < training.steps:
            self._train_step_or_save()
            paused = time.monotonic()
            self.standing.pending = self._due()
            self._do_pending()
            if self.step == training.steps or self.step % training.save_every == 0:
                self.save()
            self.standing.meter.skip(time.monotonic() - paused)

    def _due(self) -> list[str]:
        """What comes after this step besides a save, in its order."""
        training = self.settings.training
        last = self.step == training.steps
        due = []
        if self.data.valid is not None and (last or self.step % training.eval_every == 0):
            due.append("validation")
        if self.engine.writes and (last or self.step % training.sample_every == 0):
            due.append("sample")
        return due

    def _do_pending(self) -> None:
        """Do what is due; where a signal cuts it short, the rest is saved as still to be done."""
        work = {"validation": self._validate, "sample": self._sample}
        while self.standing.pending:
            self.group.first(work[self.standing.pending[0]])
            self.standing.pending, self.standing.unsaved = self.standing.pending[1:], True

    def _train_step_or_save(self) -> None:
        """One optimizer step; where another process is lost in it, the first one keeps what was done before."""
        place = self.engine.sampler.state()
        try:
            self._train_step(place)
        except LostProcessError:
            if self.group.leads and self.standing.unsaved:
                self.engine.sampler.restore(place)
                self._write()
            raise

    def _train_step(self, place: Mapping[str, int]) -> None:
        """One optimizer step, told; `place` is where the sampler stands before it."""
        began = time.monotonic()
        result = self.engine.advance(self.step + 1, between=lambda: self._stop_if_asked(place))
        self._tell(self.standing.count(result, time.monotonic() - began, self.engine.device))

    def _stop_if_asked(self, place: Mapping[str, int]) -> None:
        """Stop in the middle of a step, in all processes, where a signal came to any."""
        asked = self.group.agreed_stop(self.stop.signal_number)
        if asked:
            self.engine.abandon(place)
            self._stop(asked)

    def _validate(self) -> None:
        assert self.data.valid is not None
        metrics = self.engine.learner.validate(
            self.data.valid,
            self.data.vocabulary,
            max_tokens=self.settings.training.eval_tokens,
            listen=self._listen_and_stop,
        )
        self._tell(Validation(step=self.step, metrics=metrics))

    def _sample(self) -> None:
        training = self.settings.training
        text = write_sample(
            self.engine.learner.model.eval(),
            self.data.vocabulary,
            prompt=training.sample_prompt,
            tokens=training.sample_tokens,
            seed=seed_of("sample", training.seed, self.step),
        )
        self._tell(Sample(step=self.step, prompt=training.sample_prompt, text=text))

    def save(self) -> None:
        """Write the step and publish it as the run's model."""
        self.group.first(self._write)
        self.standing.unsaved = False

    def _write(self) -> None:
        assert self.log is not None
        loop = self.standing.loop_state(
            sampler=self.engine.sampler.state(),
            corpus=self.data.store.fingerprint,
            vocabulary=self.data.vocabulary.fingerprint,
            environment=self.engine.environment,
            scaler=self.engine.arithmetic.state(),
            valid=self._valid_fingerprint,
        )
        # The curves up to a step are on disk before the step is: a run never goes on from what they do not show.
        self.log.place(self.step, loop.sampler)
        self.log.sync()
        model = parameters_to_save(self.engine.learner.module)
        optimizer = optimizer_tensors(self.engine.learner.module, self.engine.optimizer)
        self.run_directory.save(model, optimizer, loop, keep=self.settings.training.keep)
        self._publish()
        self._tell(Saved(path=self.path, step=self.step))

    def _publish(self) -> None:
        results = self.log.validation if self.log is not None else {}
        card = model_card(self.settings, self.data.sources, results, self.step, self.standing.tokens)
        publish(self.path, parameters_to_save(self.engine.learner.model), card)

    def _listen_and_stop(self, event: Event) -> None:
        """A listener for work between two steps that may take long."""
        self.listen(event)
        if self.stop.signal_number is not None:
            self._stop(self.stop.signal_number)

    def _stop(self, signal_number: int) -> NoReturn:
        if self.standing.unsaved:
            self.save()
        raise self.group.in_all(self.standing.interrupted(signal_number, self.path))

    def _tell(self, event: Event) -> None:
        if self.log is not None:
            self.log(event)
        self.listen(event)

    def close(self) -> None:
        """Close what is open."""
        if self.log is not None:
            self.log.close()
