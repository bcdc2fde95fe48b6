"""What a fine-tuning run asks of a task: the batches of each step, their loss, figures on held-out data.

Every step's batches are a function of seed and number, so nothing but the number is needed to go on with a run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from korformer.config import Settings
from korformer.errors import InputError, UsageError
from korformer.events import Listener, Notice, ignore
from korformer.model.backbone import ReformerModel
from korformer.objectives import BatchLoss
from korformer.supervised.auxiliary import Auxiliary
from korformer.supervised.batches import Batch, Window, collate, passes
from korformer.supervised.loading import unfit_heads
from korformer.supervised.running import hidden_states, run
from korformer.supervised.selection import chosen_examples, fingerprint_of, tell_shared
from korformer.supervised.settings import SHORTEST_WINDOW, ExampleSettings, LearningSettings
from korformer.supervised.steps import Steps
from korformer.supervised.task import Reader, SupervisedTask, TaskDescription, task_of
from korformer.supervised.weights import begin_weights, heads_with_mix
from korformer.text.records import Problems

if TYPE_CHECKING:
    from torch import nn

    from korformer.model.config import ModelConfig
    from korformer.model.directory import LoadedModel
    from korformer.model.draws import TrainingDraw
    from korformer.text.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class CourseRequest:
    """What a run is made from.

    Attributes:
        model: the model's shape.
        vocabulary: its vocabulary.
        base: whose weights it begins with; None for new ones.
        train, valid: names of files.
        task: the task's settings.
        data, training: the sections of that name.
        cache: where tokenized text is kept, for tasks that read plain text.
    """

    model: ModelConfig
    vocabulary: Vocabulary
    base: LoadedModel | None
    train: Sequence[str]
    valid: Sequence[str]
    task: Settings
    data: ExampleSettings
    training: LearningSettings
    cache: Path | None = None


class Course(ABC):
    """One task to be learnt, from one set of data; several runs of different seeds may share it, one after another.

    Attributes:
        model: what is trained, measured and saved.
        module: its parameters that require a gradient are trained.
        headline: name of the figure that tells which checkpoint is best.
        objective: what config.json tells that the model was trained for before.
        description: the task as config.json tells it; None where it stays a plain language model.
        fingerprint: identity of the training data as the model reads it, and of the validation data.
        facts: counts for people, such as the number of examples.
        training: what config.json tells under "training" besides.
        measure_first: whether the model is measured before the first step.
    """

    model: ReformerModel
    module: nn.Module
    headline: str
    objective: str
    description: TaskDescription | None
    fingerprint: str
    facts: Mapping[str, int]
    training: Mapping[str, Any] = MappingProxyType({})
    measure_first: bool = False

    @abstractmethod
    def begin(self, seed: int) -> None:
        """Set every weight and the order of the data as a run of this seed begins."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Optimizer steps of a run."""

    @property
    @abstractmethod
    def eval_every(self) -> int:
        """Steps between validations."""

    @abstractmethod
    def passes(self, step: int) -> Sequence[Any]:
        """The batches of a step, counted from 1; steps are asked for in their order."""

    @abstractmethod
    def rows(self, batch: Any) -> int:
        """Rows of a batch, each of which draws for itself."""

    @abstractmethod
    def tokens(self, batch: Any) -> int:
        """Tokens of a batch, padding apart."""

    @abstractmethod
    def counts(self, batch: Any, draw: TrainingDraw) -> Mapping[str, int]:
        """The counts of the terms that `loss` will have."""

    @abstractmethod
    def loss(self, batch: Any, draw: TrainingDraw, *, reversible: bool) -> BatchLoss:
        """The loss of a batch."""

    @abstractmethod
    def validate(self, listen: Listener) -> Mapping[str, float]:
        """Figures on the held-out data, the headline first."""

    def state(self) -> dict[str, int]:
        """What of the data's place does not follow from the step."""
        return {}

    def restore(self, state: Mapping[str, int]) -> None:  # noqa: B027  (most have no place to restore)
        """Go on from there."""


class SupervisedCourse(Course):
    """A task with labelled examples.

    Args:
        task: which.
        request: what to learn it with.
        listen: hears Progress and Notice.

    Raises:
        PathError, InputError: the data cannot be read or used, or nothing can be learnt from it.
        UsageError: settings do not fit together.
    """

    def __init__(self, task: SupervisedTask[Any], request: CourseRequest, listen: Listener = ignore) -> None:
        self._request = request
        self._settings = request.training
        max_tokens = _max_tokens(request)
        every = task.read(request.train, request.task)
        facts = task.learn(every, request.task)  # all of them: a rare label is known though no chosen example has it
        train = chosen_examples(every, request.data.max_train)
        valid = chosen_examples(task.read(request.valid, request.task), request.data.max_valid)
        reader = Reader(vocabulary=request.vocabulary, max_tokens=max_tokens)
        self.solver = task.solver(request.task, facts, reader)
        problems = Problems()
        self.solver.check(train, problems)
        self.solver.check(valid, problems)
        problems.refuse("Mend the data; nothing was trained.")
        self.headline = self.solver.headline
        self.description = TaskDescription(
            name=task.name, settings=request.task.model_dump(mode="json"), facts=facts, max_tokens=max_tokens
        )
        self._windows = self.solver.training_windows(train)
        _tell_unused(self._windows, len(train), request.train, listen)
        self._valid_examples, self._valid_windows = valid, self.solver.windows(valid)
        self.fingerprint = fingerprint_of(self._windows, valid)
        tell_shared(self._windows, self._valid_windows, listen)
        self.facts = {
            "training_examples": len(train),
            "validation_examples": len(valid),
            "training_windows": len(self._windows),
            "training_tokens": sum(map(len, self._windows)),
        }
        self._lengths = np.array([len(window) for window in self._windows], np.int64)
        heads = heads_with_mix(self.solver.heads, request.model, mix=self._settings.layer_mix)
        self.model = ReformerModel(request.model, request.vocabulary.size, heads)
        self.module = self.model.lm
        base = request.base.config_json.get("objective") if request.base is not None else None
        self.objective = base if isinstance(base, str) else ("ar" if request.model.causal else "mlm")
        self._auxiliary = (
            Auxiliary(request.vocabulary, causal=request.model.causal, weight=self._settings.lm_weight)
            if self._settings.lm_weight
            else None
        )
        self.begin(self._settings.seed)

    def begin(self, seed: int) -> None:
        """New weights for what has none, those of the base for the rest."""
        base = self._request.base
        model = base.model if base is not None else None
        begin_weights(self.model, model, seed, with_heads=base is not None and self._knows(base))
        if self._settings.frozen:
            for name, parameter in self.module.named_parameters():
                parameter.requires_grad_(name.startswith("heads."))
        self._steps = Steps(self._lengths, self._settings, seed)

    def _knows(self, base: LoadedModel) -> bool:
        """Whether a model has learnt the task already, with the same labels and heads of the same shape."""
        before, now = task_of(base), self.description
        if before is None or now is None or (before.name, before.facts) != (now.name, now.facts):
            return False
        return not unfit_heads(self.solver, base)

    @property
    def steps(self) -> int:
        """As the settings say, by steps, epochs or tokens."""
        return self._steps.count

    @property
    def eval_every(self) -> int:
        """An epoch, if the settings say nothing else."""
        return self._settings.eval_every or self._steps.of_an_epoch

    def passes(self, step: int) -> list[Batch]:
        """The windows of a step, those of like length together."""
        windows = [self._windows[number] for number in self._steps[step]]
        split = passes(windows, pass_tokens=self._settings.pass_tokens, share_rows=True)
        return [collate([windows[number] for number in numbers], share_rows=True) for numbers in split]

    def rows(self, batch: Batch) -> int:
        """Rows of the pass."""
        return len(batch.tokens_BT)

    def tokens(self, batch: Batch) -> int:
        """Tokens of its windows."""
        return batch.real_tokens

    def counts(self, batch: Batch, draw: TrainingDraw) -> Mapping[str, int]:
        """Those of the task, and predicted tokens."""
        auxiliary = self._auxiliary.counts(batch, draw) if self._auxiliary is not None else {}
        return {**self.solver.counts(batch.windows), **auxiliary}

    def loss(self, batch: Batch, draw: TrainingDraw, *, reversible: bool) -> BatchLoss:
        """The task's loss, and that of the language model where it has a weight."""
        here = batch.to(self.model.device)
        hidden_BTD = hidden_states(self.model, here, draw=draw, reversible=reversible, frozen=self._settings.frozen)
        terms = dict(self.solver.loss(self.model, here.by_window(hidden_BTD), here).terms)
        if self._auxiliary is not None:
            terms |= self._auxiliary.terms(self.model, here, hidden_BTD, draw, reversible=reversible)
        return BatchLoss(terms=terms)

    def validate(self, listen: Listener) -> Mapping[str, float]:
        """The task's figures, and its loss."""
        sums: dict[str, float] = defaultdict(float)
        counts: Counter[str] = Counter()

        def take(hidden_WLD: torch.Tensor, batch: Batch) -> None:
            for name, term in self.solver.loss(self.model, hidden_WLD, batch).terms.items():
                sums[name] += term.weight * float(term.mean) * term.count
                counts[name] += term.count

        outputs = run(
            self.model,
            self.solver,
            self._valid_windows,
            pass_tokens=self._settings.pass_tokens,
            stage="validating",
            listen=listen,
            each=take,
        )
        predictions = self.solver.predictions(self._valid_examples, self._valid_windows, outputs)
        figures = self.solver.metrics(self._valid_examples, predictions)
        return {**figures, "validation_loss": sum(total / max(1, counts[name]) for name, total in sums.items())}


def _tell_unused(windows: Sequence[Window], examples: int, files: Sequence[str], listen: Listener) -> None:
    """Warn where examples have no window to learn from; refuse where none has."""
    unused = examples - len({window.example for window in windows})
    why = "what is to be learnt of them does not fit into a window, or stands where the model sees nothing"
    if not windows:
        raise InputError(
            f"nothing can be learnt from its {examples:,} examples: {why}",
            where=", ".join(files),
            hint="Set data.max_tokens higher, or begin with a model of a longer window.",
        )
    if unused:
        listen(Notice(text=f"{unused:,} of {examples:,} training examples are left out: {why}", level="warning"))


def _max_tokens(request: CourseRequest) -> int:
    """Most tokens of a window."""
    settings, longest = request.training, request.model.max_seq_len
    problems = []
    if (request.data.max_tokens or 0) > longest:
        problems.append(
            f"data.max_tokens = {request.data.max_tokens} is longer than the model's window; at most {longest}"
        )
    if longest < SHORTEST_WINDOW:
        problems.append(f"model.max_seq_len = {longest} is too short to read in; at least {SHORTEST_WINDOW}")
    if settings.layer_mix and not settings.frozen:
        problems.append("training.layer_mix reads an encoder that does not change: set training.frozen = true")
    if settings.lm_weight and settings.frozen:
        problems.append("training.lm_weight trains the encoder: set training.frozen = false, or lm_weight = 0")
    if problems:
        raise UsageError("; ".join(problems))
    return request.data.max_tokens or longest
