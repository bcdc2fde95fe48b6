"""What a step of fine-tuning is: fetch, accumulate, check, update. Nothing here is on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from korformer.events import Listener
from korformer.finetuning.settings import FinetuneSettings, optimizer_settings
from korformer.model.directory import load_parameters
from korformer.model.draws import TrainingDraw
from korformer.supervised.course import Course
from korformer.supervised.weights import suited_learning_rate
from korformer.training.allocator import keep_freed_memory
from korformer.training.engine import StepResult
from korformer.training.environment import environment
from korformer.training.memory import fit
from korformer.training.optimizer import learning_rate, make_optimizer, restore_optimizer
from korformer.training.precision import MixedPrecision, choose_precision
from korformer.training.run_directory import SavedStep
from korformer.training.sharing import choose_device
from korformer.training.updating import Updater


@dataclass
class Engine:
    """Model and optimizer of a run.

    Args:
        course: what is learnt.
        settings: of the run, its seed among them.
        path: the run's folder, for messages.
        listen: hears Notice.
    """

    course: Course
    settings: FinetuneSettings
    path: Path
    listen: Listener

    def make(self) -> None:
        """Make everything as a new run has it."""
        training = self.settings.training
        self.device = choose_device(training.device)
        self.arithmetic = MixedPrecision(choose_precision(training.precision, self.device), self.device)
        self.course.module.to(self.device)
        highest = training.learning_rate
        if highest is None:
            highest = suited_learning_rate(self.course.model, frozen=training.frozen)
        self.recipe = optimizer_settings(training, self.course.steps, highest)
        self.optimizer = make_optimizer(self.course.module, self.recipe)
        self.updater = Updater(
            module=self.course.module,
            optimizer=self.optimizer,
            arithmetic=self.arithmetic,
            clip=self.recipe.clip,
            path=self.path,
            advice="Lower training.learning_rate or raise training.warmup_share, and begin anew.",
            listen=self.listen,
        )
        self.reversible = self._reversible()
        if self.device.type == "cpu" and not self.reversible:
            keep_freed_memory()

    def _reversible(self) -> bool:
        """Whether layers are computed twice: as the settings say, or where a pass would not fit otherwise."""
        training, model = self.settings.training, self.course.model
        if training.frozen:
            return False
        parameters = sum(parameter.numel() for parameter in self.course.module.parameters())
        chosen = fit(
            (model.config,),
            parameters=parameters,
            kept=2 * parameters,
            vocabulary_size=model.vocabulary_size,
            sequences=1,
            pack_tokens=training.pass_tokens,
            largest=1,
            exactly=True,
            reversible=training.reversible,
            narrow=self.arithmetic.precision != "fp32",
            device=self.device,
        )
        return chosen.reversible

    def restore(self, saved: SavedStep) -> None:
        """Stand where a saved step stood."""
        loop = saved.loop
        load_parameters(self.course.module, saved.model, where=str(self.path))
        restore_optimizer(self.course.module, self.optimizer, saved.optimizer)
        self.arithmetic.restore(loop.scaler)
        self.course.restore({name: value for name, value in loop.sampler.items() if name != "step"})
        if self.settings.training.reversible == "auto":  # as before, so that the run goes on bit for bit
            self.reversible = loop.environment.get("reversible layers", "no") == "yes"

    @property
    def environment(self) -> dict[str, str]:
        """What a bit-exact repetition needs to be the same."""
        return environment(
            device=self.device,
            precision=self.arithmetic.precision,
            reversible=self.reversible,
            micro_batch=1,
            processes=1,
        )

    def advance(self, step: int, between: Callable[[], None] = lambda: None) -> StepResult:
        """One optimizer step.

        Args:
            step: its number, counted from 1.
            between: called before every pass; it may raise to give the step up, which `abandon` then undoes.

        Raises:
            DivergedError: loss or gradient are not finite; nothing was changed.
        """
        batches = self.course.passes(step)
        draws = self._draws(batches, step)
        totals: Counter[str] = Counter()
        for batch, draw in zip(batches, draws, strict=True):
            totals.update(self.course.counts(batch, draw))
        rate = learning_rate(step, self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.course.module.train()
        loss = 0.0
        for batch, draw in zip(batches, draws, strict=True):
            between()
            with self.arithmetic.autocast():
                share, value = self.course.loss(batch, draw, reversible=self.reversible).share(totals)
            self.arithmetic.scaled(share).backward()
            loss += value
        norm = self.updater.update(step, loss)
        tokens = sum(self.course.tokens(batch) for batch in batches)
        return StepResult(loss=loss, gradient_norm=norm, learning_rate=rate, tokens=tokens)

    def abandon(self, place: Mapping[str, int]) -> None:
        """Forget the part of a step that was done, and stand where the course stood before it."""
        self.optimizer.zero_grad(set_to_none=True)
        self.course.restore(place)

    def _draws(self, batches: Sequence[Any], step: int) -> list[TrainingDraw]:
        """The keys of what each pass draws: its rows' numbers among those of the step."""
        draws, first = [], 0
        for batch in batches:
            rows = self.course.rows(batch)
            samples = range(first, first + rows)
            draws.append(TrainingDraw(seed=self.settings.training.seed, step=step, samples=samples))
            first += rows
        return draws
