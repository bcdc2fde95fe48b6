"""Going on with a language model on one's own text: packs of tokens instead of labelled windows, early stopping.

Legend: B sequences, L tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from korformer.config import Settings, build
from korformer.data.packing import Packs
from korformer.data.store import cached_store, default_cache
from korformer.errors import KorformerError, ModelDirectoryError, UsageError
from korformer.evaluation.language_model import LmSettings, evaluate_lm
from korformer.evaluation.result import COMPARABLE, NOT_COMPARABLE
from korformer.events import Listener, ignore
from korformer.objectives import BatchLoss, Learner, objective_named
from korformer.supervised.course import Course, CourseRequest
from korformer.supervised.task import task_of
from korformer.supervised.weights import begin_weights
from korformer.text.documents import ReadSettings

if TYPE_CHECKING:
    from korformer.model.directory import LoadedModel
    from korformer.model.draws import TrainingDraw
    from korformer.supervised.predicting import Line

CAN_GO_ON = ("ar", "mlm")
"""Objectives whose model directory holds everything that they train."""

HEADLINES = {"mlm": "masked_accuracy"}


class LmTaskSettings(Settings):
    """Settings of going on with a language model."""

    document: Literal["block", "file"] = "block"
    """A document of a plain text file: a block of lines that a blank line ends, or the file."""
    errors: Literal["strict", "replace", "skip"] = "strict"
    """At bytes that are not UTF-8: stop, put U+FFFD, or leave the document out."""
    eval_tokens: Annotated[int, Field(ge=1)] = 50_000
    """Most tokens of one look at the validation text."""


class LmCourse(Course):
    """A language model goes on learning its objective on other text.

    It is measured before the first step too: where the text teaches it nothing, it stays as it was.

    Args:
        request: what to learn it with; `training.batch_size` sequences of `data.max_tokens` a step, at most
            `training.batch_tokens`.
        listen: hears Progress of reading and tokenizing.

    Raises:
        PathError, InputError: the text cannot be read, or there is none.
        UsageError: the base has an objective that cannot go on, or a setting belongs to labelled examples.
    """

    measure_first = True

    def __init__(self, request: CourseRequest, listen: Listener = ignore) -> None:
        assert isinstance(request.task, LmTaskSettings)
        self._request = request
        self._task = request.task
        self.objective, objective_settings = _objective(request)
        self._pack_tokens = request.data.max_tokens or request.model.max_seq_len
        _refuse(request, self._pack_tokens)
        read = ReadSettings(document=request.task.document, errors=request.task.errors)
        cache = request.cache or default_cache()
        self._store = cached_store(request.train, request.vocabulary, cache, read=read, listen=listen)
        self._valid = cached_store(request.valid, request.vocabulary, cache, read=read, listen=listen)
        learner = objective_named(self.objective).learner(request.model, objective_settings, request.vocabulary)
        self._learner: Learner = learner
        self.model, self.module = learner.model, learner.module
        comparable = request.vocabulary.scheme == "lossless" and self.model.strictly_causal
        self.headline = HEADLINES.get(self.objective, COMPARABLE if comparable else NOT_COMPARABLE)
        self.description = None
        self.training = {
            "pack_tokens": self._pack_tokens, "objective": objective_settings.model_dump(mode="json")
        }  # fmt: skip
        self.fingerprint = f"{self._store.fingerprint} {self._valid.fingerprint}"
        self.facts = {
            "training_documents": self._store.documents,
            "training_tokens": self._store.tokens,
            "validation_documents": self._valid.documents,
        }
        limit = request.training.batch_tokens or request.training.batch_size * self._pack_tokens
        enough = math.ceil(self._store.tokens / self._pack_tokens)
        self._rows = max(1, min(request.training.batch_size, limit // self._pack_tokens, enough))
        self.begin(request.training.seed)

    def begin(self, seed: int) -> None:
        """The base's weights, heads of its objective among them, and the text in the order of this seed."""
        base = self._request.base
        begin_weights(self.model, base.model if base is not None else None, seed, with_heads=True)
        self._sampler = self._learner.sampler(self._store, pack_tokens=self._pack_tokens, seed=seed)

    @property
    def _steps_an_epoch(self) -> int:
        return max(1, math.ceil(self._store.tokens / (self._rows * self._pack_tokens)))

    @property
    def steps(self) -> int:
        """As the settings say, by steps, epochs or tokens."""
        training = self._request.training
        steps = training.steps or max(1, round(training.epochs * self._steps_an_epoch))
        if training.budget_tokens is None:
            return steps
        return min(steps, math.ceil(training.budget_tokens / (self._rows * self._pack_tokens)))

    @property
    def eval_every(self) -> int:
        """An epoch, if the settings say nothing else."""
        return self._request.training.eval_every or self._steps_an_epoch

    def passes(self, step: int) -> list[Packs]:
        """The next sequences of the text."""
        rows = max(1, self._request.training.pass_tokens // self._pack_tokens)
        sizes = [min(rows, self._rows - first) for first in range(0, self._rows, rows)]
        return [self._sampler.next_packs(size) for size in sizes]

    def rows(self, batch: Packs) -> int:
        """Sequences of the pass."""
        return len(batch.tokens)

    def tokens(self, batch: Packs) -> int:
        """Tokens that are no padding."""
        return batch.real_tokens

    def counts(self, batch: Packs, draw: TrainingDraw) -> Mapping[str, int]:
        """Those of the objective."""
        return self._learner.predicted(batch, draw)

    def loss(self, batch: Packs, draw: TrainingDraw, *, reversible: bool) -> BatchLoss:
        """That of the objective."""
        return self._learner.loss(batch, draw, reversible=reversible)

    def validate(self, listen: Listener) -> Mapping[str, float]:
        """The objective's figures of the held-out text."""
        return self._learner.validate(
            self._valid, self._request.vocabulary, max_tokens=self._task.eval_tokens, listen=listen
        )

    def state(self) -> dict[str, int]:
        """Where the text is being read."""
        return self._sampler.state()

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on reading there."""
        self._sampler.restore(state)


class LmPredictor:
    """Tells how probable a decoder finds lines of text.

    Args:
        loaded: a language model.
        window: most tokens of context; the model's own number if None.

    Raises:
        UsageError: it is an encoder.
    """

    def __init__(self, loaded: LoadedModel, window: int | None = None) -> None:
        if not loaded.model.config.causal:
            raise UsageError(
                "an encoder that was not fine-tuned for a task has nothing to say about a text",
                where=str(loaded.path),
                hint="korformer finetune makes a model that has.",
            )
        self._loaded = loaded
        self._settings = LmSettings(window=window, by_context=False)

    def __call__(self, lines: Sequence[Line]) -> list[dict[str, Any]]:
        """Text, bits per character, perplexity and number of tokens of each line."""
        answers = []
        for _, line in lines:
            result = evaluate_lm(self._loaded.model, self._loaded.vocabulary, [line], self._settings)
            figures = result.metrics()
            answers.append({"text": line, **{name: figures[name] for name in (result.label, "perplexity", "tokens")}})
        return answers


def _objective(request: CourseRequest) -> tuple[str, Settings]:
    """What is learnt on, and with what settings: those of the base."""
    if request.base is None:
        name = "ar" if request.model.causal else "mlm"
        return name, objective_named(name).settings()
    return trained_objective(request.base)


def trained_objective(loaded: LoadedModel) -> tuple[str, Settings]:
    """The objective of a language model and its settings there.

    Raises:
        UsageError: the directory does not hold all that was trained.
        ModelDirectoryError: it does not describe its objective.
    """
    described = loaded.config_json
    name = str(described.get("objective"))
    if name not in CAN_GO_ON or task_of(loaded) is not None:
        was = f"objective {name}" if task_of(loaded) is None else "a task with labels"
        raise UsageError(
            f"was trained for {was}, of which the directory does not hold all",
            where=str(loaded.path),
            hint="Give a model of pretrain --objective ar or mlm.",
        )
    training = described.get("training")
    section = training.get("objective") if isinstance(training, dict) else None
    try:
        return name, build(objective_named(name).settings, section if isinstance(section, dict) else {})
    except KorformerError as error:
        raise ModelDirectoryError(error.what, where=str(loaded.path)) from error


def _refuse(request: CourseRequest, pack_tokens: int) -> None:
    """Settings that a language model has no use for."""
    problems = [
        f"{name} belongs to labelled examples"
        for name, given in (
            ("data.max_train", request.data.max_train),
            ("data.max_valid", request.data.max_valid),
            ("training.lm_weight", request.training.lm_weight),
            ("training.frozen", request.training.frozen),
            ("training.layer_mix", request.training.layer_mix),
        )
        if given
    ]
    if pack_tokens > request.model.max_seq_len:
        problems.append(
            f"data.max_tokens = {pack_tokens} is longer than the model's window; at most {request.model.max_seq_len}"
        )
    if problems:
        raise UsageError("; ".join(problems), where="--task lm")
