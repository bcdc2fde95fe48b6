"""What a training step is: fetch, accumulate, check, update. Nothing here is on disk.

Everything random is keyed by seed and step, so a step is a function of the weights and the sampler's place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from korformer.data.mixing import Mixture, sampler_of
from korformer.data.packing import Packs
from korformer.data.store import TokenStore
from korformer.errors import DivergedError
from korformer.events import Listener, Notice
from korformer.model.backbone import TrainingDraw
from korformer.objectives import objective_named
from korformer.randomness import seed_of
from korformer.text.vocabulary import Vocabulary
from korformer.training.allocator import keep_freed_memory
from korformer.training.distributed import ALONE, Group
from korformer.training.environment import environment
from korformer.training.fitting import fit_of, warning_of
from korformer.training.lengths import StepShape, length_at, step_shape
from korformer.training.memory import Fit
from korformer.training.optimizer import learning_rate, make_optimizer
from korformer.training.precision import MixedPrecision, choose_precision
from korformer.training.settings import RunSettings
from korformer.training.sharing import choose_device
from korformer.training.updating import Updater


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


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step gave.

    Attributes:
        loss: mean over what the step predicted, before the update.
        gradient_norm: before clipping.
        learning_rate: of the update.
        tokens: read, in all processes.
    """

    loss: float
    gradient_norm: float
    learning_rate: float
    tokens: int


@dataclass
class Engine:
    """Model, optimizer and sampler of a run.

    Args:
        settings: the run's settings.
        data: what to train on.
        path: the run's folder, for messages.
        listen: hears Notice.
        group: the processes that train together.

    Attributes:
        fit: how the sequences of a step are computed.
    """

    settings: RunSettings
    data: TrainingData
    path: Path
    listen: Listener
    group: Group = ALONE
    fit: Fit | None = field(default=None, init=False)

    def make(self) -> None:
        """Make model, optimizer and sampler as a new run has them."""
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
        self.updater = Updater(
            module=self.learner.module,
            optimizer=self.optimizer,
            arithmetic=self.arithmetic,
            clip=training.clip,
            path=self.path,
            advice="The last saved step is intact: lower training.learning_rate or raise training.warmup_steps, and "
            "resume.",
            listen=self.listen,
        )
        self.sampler = sampler_of(
            self.data.store,
            self.learner.sampler,
            pack_tokens=self.settings.pack_tokens,
            seed=training.seed,
            shuffle=self.settings.data.shuffle,
            rank=group.rank,
            world_size=group.world_size,
        )

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

    @property
    def writes(self) -> bool:
        """Whether there are samples to write; an encoder writes none."""
        return self.settings.training.sample_every > 0 and self.learner.model.config.causal

    def advance(self, step: int, between: Callable[[], None] = lambda: None) -> StepResult:
        """One optimizer step.

        Args:
            step: its number, counted from 1.
            between: called before every pass; it may raise to give the step up, which `abandon` then undoes.

        Raises:
            DivergedError: loss or gradient are not finite; nothing was changed.
        """
        training = self.settings.training
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
            between()
            loss += self.accumulate(packs, step, number, totals)
        loss = self.group.sum({"loss": loss})["loss"]
        self.group.sum_gradients(self.learner.module.parameters())
        try:
            norm = self.updater.update(step, loss)
        except DivergedError as error:
            raise self.group.in_all(error) from None
        return StepResult(loss=loss, gradient_norm=norm, learning_rate=rate, tokens=tokens)

    def abandon(self, place: Mapping[str, int]) -> None:
        """Forget the part of a step that was done, and stand at the sampler's place before it."""
        self.optimizer.zero_grad(set_to_none=True)
        self.sampler.restore(place)

    def accumulate(self, packs: Packs, step: int, number: int, totals: Mapping[str, int]) -> float:
        """Forward and backward of one micro-batch, weighted by its share of what the step predicts."""
        with self.arithmetic.autocast():
            batch = self.learner.loss(packs, self._draw(packs, step, number), reversible=self.reversible)
        share, value = batch.share(totals)
        self.arithmetic.scaled(share).backward()
        return value

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
