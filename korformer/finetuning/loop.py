"""One fine-tuning run: step, validate, keep the best, save, end in order.

The run's folder is a model directory that holds the best checkpoint so far. Everything random is keyed by seed and
step, so a run that is stopped anywhere and started again does what it would have done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from korformer.config import to_toml
from korformer.errors import ResourceError, is_out_of_memory
from korformer.events import Event, Listener, Notice, Saved, Validation
from korformer.finetuning.engine import Engine
from korformer.finetuning.folders import DATA, check_run
from korformer.finetuning.results import Outcome, Results, card
from korformer.finetuning.settings import FinetuneSettings
from korformer.model.directory import parameters_to_save, publish, write_description
from korformer.model.products import fast_products
from korformer.storage import require_free, write_text
from korformer.supervised.course import Course
from korformer.text.vocabulary import Vocabulary
from korformer.training.curves import lower_is_better
from korformer.training.history import History
from korformer.training.interrupt import StopRequest
from korformer.training.metrics import MetricsLog
from korformer.training.optimizer import optimizer_tensors
from korformer.training.run_directory import SETTINGS_NAME, RunDirectory
from korformer.training.standing import Standing, require_same_data

KEPT_STEPS = 1


@dataclass
class FineTuner:
    """One run of one seed in progress.

    Args:
        course: what is learnt; at its beginning for this seed.
        settings: of the run, its seed among them.
        vocabulary: of model and data.
        data: names of files, by "training" and "validation", for the model card.
        path: the run's folder, locked by the caller.
        listen: hears Step, Validation, Saved, Notice and Progress.
        stop: whether somebody asked to stop.
    """

    course: Course
    settings: FinetuneSettings
    vocabulary: Vocabulary
    data: Mapping[str, Sequence[str]]
    path: Path
    listen: Listener
    stop: StopRequest
    best: tuple[int, Mapping[str, float]] | None = None
    stale: int = 0
    log: MetricsLog | None = None

    @property
    def step(self) -> int:
        """Steps finished."""
        return self.standing.step

    def run(self) -> Outcome:
        """Train to the end, or go on and train to the end.

        Raises:
            UsageError: another run is in the folder.
            PathError, ResourceError: it cannot be written, memory or disk run out.
            DivergedError: loss or gradient are not finite.
            InterruptedRun: a signal ended it after a save.
        """
        try:
            self._prepare()
            with fast_products():
                self._train()
        except Exception as error:
            if is_out_of_memory(error):
                raise self._out_of_memory() from error
            raise
        finally:
            if self.log is not None:
                self.log.close()
        return self._finish()

    def _prepare(self) -> None:
        self.run_directory = RunDirectory(self.path)
        check_run(self.path, self.settings)
        self.engine = Engine(self.course, self.settings, self.path, self.listen)
        self.engine.make()
        pending = ["validation"] if self.course.measure_first else []
        self.standing = Standing(steps=self.course.steps, pending=pending)
        self._resume()
        self._open()

    def _resume(self) -> None:
        saved = self.run_directory.newest(self.listen)
        if saved is None:
            return
        loop = saved.loop
        now = {DATA: self.course.fingerprint, "vocabulary": self.vocabulary.fingerprint}
        require_same_data(loop, now, self.path)
        self.engine.restore(saved)
        self.standing.resume(loop, self.engine.environment, self.listen)

    def _open(self) -> None:
        weights_bytes = 4 * sum(parameter.numel() for parameter in self.course.module.parameters())
        require_free(self.path, (3 * (KEPT_STEPS + 1) + 2) * weights_bytes - self.run_directory.held_bytes())
        write_text(self.path / SETTINGS_NAME, to_toml(self.settings))
        description = self.course.description
        write_description(
            self.path,
            self.course.model,
            self.vocabulary,
            objective=self.course.objective,
            training={"base": self.settings.base, **self.course.training},
            task=description.as_json() if description is not None else None,
        )
        self.log = MetricsLog(self.run_directory.metrics_path)
        self.log.begin(self.step, {"environment": self.engine.environment, "pending": self.standing.pending})
        self._recall()

    def _recall(self) -> None:
        """What was best before the run went on, and for how long nothing has been better."""
        history = History(self.run_directory.metrics_path)
        history.refresh()
        figure = history.figures.get(self.course.headline)
        if figure is None or figure.best is None:
            return
        at = figure.best[0]
        metrics = {}
        for name, other in history.figures.items():
            values = {point.step: point.value for point in other.curve.points()}
            if at in values:
                metrics[name] = values[at]
        self.best = (at, metrics)
        self.stale = sum(point.step > at for point in figure.curve.points())

    def _train(self) -> None:
        self._do_pending()
        while self.step < self.standing.steps and not self._gives_up:
            self._train_step()
            paused = time.monotonic()
            if self.step == self.standing.steps or self.step % self.course.eval_every == 0:
                self.standing.pending = ["validation"]
                self._do_pending()
                self._save()
            self.standing.meter.skip(time.monotonic() - paused)

    @property
    def _gives_up(self) -> bool:
        patience = self.settings.training.patience
        return patience is not None and self.stale >= patience

    def _do_pending(self) -> None:
        """The validation that is due; where a signal cuts it short, it is saved as still to be done."""
        if self.standing.pending:
            began = time.monotonic()
            figures = self.course.validate(self._listen_and_stop)
            self.standing.seconds += time.monotonic() - began
            self._take(figures)
            self.standing.pending, self.standing.unsaved = [], True

    def _take(self, figures: Mapping[str, float]) -> None:
        """Keep the model where its headline is better than all before."""
        if self._is_better(figures):
            self.best, self.stale = (self.step, figures), 0
            outcome = Results(outcomes=[self._outcome()])
            text = card(self.settings, self.data, self.course.facts, outcome)
            publish(self.path, parameters_to_save(self.course.model), text)
        else:
            self.stale += 1
        self._tell(Validation(step=self.step, metrics=figures))

    def _is_better(self, figures: Mapping[str, float]) -> bool:
        if self.best is None:
            return True
        now, before = (values.get(self.course.headline, math.nan) for values in (figures, self.best[1]))
        if math.isnan(now) or math.isnan(before):
            return math.isnan(before) and not math.isnan(now)
        return now < before if lower_is_better(self.course.headline) else now > before

    def _train_step(self) -> None:
        began = time.monotonic()
        place = self.course.state()
        result = self.engine.advance(self.step + 1, between=lambda: self._stop_in_step(place))
        self._tell(self.standing.count(result, time.monotonic() - began, self.engine.device))

    def _stop_in_step(self, place: Mapping[str, int]) -> None:
        """Stop in the middle of a step where a signal came."""
        if self.stop.signal_number is not None:
            self.engine.abandon(place)
            self._stop(self.stop.signal_number)

    def _save(self) -> None:
        """Write what it takes to go on."""
        assert self.log is not None
        loop = self.standing.loop_state(
            sampler={"step": self.step, **self.course.state()},
            corpus=self.course.fingerprint,
            vocabulary=self.vocabulary.fingerprint,
            environment=self.engine.environment,
            scaler=self.engine.arithmetic.state(),
        )
        self.log.sync()
        model = parameters_to_save(self.course.module)
        self.run_directory.save(
            model, optimizer_tensors(self.course.module, self.engine.optimizer), loop, keep=KEPT_STEPS
        )
        self.standing.unsaved = False
        self._tell(Saved(path=self.path, step=self.step))

    def _listen_and_stop(self, event: Event) -> None:
        """A listener for work between two steps that may take long."""
        self.listen(event)
        if self.stop.signal_number is not None:
            self._stop(self.stop.signal_number)

    def _stop(self, signal_number: int) -> NoReturn:
        if self.standing.unsaved:
            self._save()
        raise self.standing.interrupted(signal_number, self.path)

    def _outcome(self) -> Outcome:
        assert self.best is not None
        at, metrics = self.best
        return Outcome(
            seed=self.settings.training.seed,
            data=self.course.fingerprint,
            headline=self.course.headline,
            best_step=at,
            metrics=metrics,
            step=self.step,
            steps=self.standing.steps,
            tokens=self.standing.tokens,
            seconds=round(self.standing.seconds, 1),
        )

    def _finish(self) -> Outcome:
        """Tell what it came to, and keep that."""
        outcome = self._outcome()
        if self.step < self.standing.steps:
            text = f"ended after step {self.step:,}: {self.stale} validations without a better {self.course.headline}"
            self.listen(Notice(text=text))
        outcome.write(self.path)
        return outcome

    def _out_of_memory(self) -> ResourceError:
        training = self.settings.training
        return ResourceError(
            f"out of memory after step {self.step}; what was saved is intact",
            hint=f"Set training.pass_tokens={max(1, training.pass_tokens // 2)} (now {training.pass_tokens}), "
            "data.max_tokens lower, or training.reversible=always.",
        )

    def _tell(self, event: Event) -> None:
        if self.log is not None:
            self.log(event)
        self.listen(event)
