"""What a task with labelled examples offers; a file of `korformer/tasks/` defines one and binds it to `TASK`.

    examples = task.read(sources, settings)          lines of files -> examples, all bad places told at once
    facts = task.learn(examples, settings)           what only the training data tells: the names of the labels
    solver = task.solver(settings, facts, reader)    ties settings, facts and vocabulary together
    windows = solver.windows(examples)               examples -> token ids the model reads
    solver.loss(model, hidden_WLD, batch)            hidden states of a batch's windows -> loss
    outputs = solver.outputs(model, hidden_WLD, batch)   the same -> one small thing a window, on the CPU
    predictions = solver.predictions(examples, windows, outputs)    -> one an example
    solver.metrics(examples, predictions)            -> figures by name, the headline first

Legend: W windows, L tokens of the longest, D model width.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from korformer.config import Settings
from korformer.errors import ModelDirectoryError, UsageError
from korformer.evaluation.report import Predictions, Table
from korformer.events import Listener, ignore
from korformer.supervised.batches import Batch, Window
from korformer.supervised.settings import SHORTEST_WINDOW
from korformer.text.records import Place, Problems, read_prediction_records

if TYPE_CHECKING:
    from torch import Tensor

    from korformer.model.backbone import ReformerModel
    from korformer.model.directory import LoadedModel
    from korformer.model.heads import HeadSpec
    from korformer.objectives import BatchLoss
    from korformer.supervised.course import Course, CourseRequest
    from korformer.supervised.predicting import Predictor
    from korformer.text.vocabulary import Vocabulary

ExampleT = TypeVar("ExampleT", bound="Example")
PredictionT = TypeVar("PredictionT")


@dataclass(frozen=True, kw_only=True)
class Example:
    """Base of every task's examples.

    Attributes:
        place: where it stands, for messages.
        given_id: the id that the data gives it; empty where it gives none.
        id: the name that predictions carry, unique in the data (`korformer.supervised.names`); empty in a person's own
            text.
    """

    place: Place
    given_id: str = ""
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """What encoding hangs on.

    Attributes:
        vocabulary: the model's.
        max_tokens: most tokens of a window, special ones included.
    """

    vocabulary: Vocabulary
    max_tokens: int


class Solver(ABC, Generic[ExampleT, PredictionT]):
    """A task with its settings and what it learnt of the training data.

    Attributes:
        headline: name of the figure that decides which checkpoint is best.
        reader: vocabulary and lengths; None where a file of predictions is scored without a model.
    """

    headline: str
    reader: Reader | None

    @property
    @abstractmethod
    def heads(self) -> Mapping[str, HeadSpec]:
        """What stands on the hidden states, by name."""

    def check(self, examples: Sequence[ExampleT], problems: Problems) -> None:
        """Note what does not fit what was learnt, such as labels that the training data does not have."""

    @abstractmethod
    def windows(self, examples: Sequence[ExampleT]) -> list[Window]:
        """What the model reads of the examples, in their order; with targets where the examples have labels."""

    def training_windows(self, examples: Sequence[ExampleT]) -> list[Window]:
        """What is trained on, every window with a target; by default the same. An example may have none."""
        return self.windows(examples)

    @abstractmethod
    def loss(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> BatchLoss:
        """The loss of windows with targets; terms as `counts` has them.

        Args:
            model: its `heads` are to be used.
            hidden_WLD: hidden states of each window, zero where `batch.mask_WL` is False.
            batch: the windows.
        """

    def counts(self, windows: Sequence[Window]) -> Mapping[str, int]:
        """The counts of the terms that `loss` will have for these windows."""
        return {"windows": len(windows)}

    @abstractmethod
    def outputs(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> list[Any]:
        """What is kept of each window of the batch, in order: small, on the CPU. Called without gradients."""

    @abstractmethod
    def predictions(
        self, examples: Sequence[ExampleT], windows: Sequence[Window], outputs: Sequence[Any]
    ) -> list[PredictionT]:
        """One for each example. `outputs` has one for each of `windows`, which are those of `windows(examples)`."""

    @abstractmethod
    def metrics(self, examples: Sequence[ExampleT], predictions: Sequence[PredictionT]) -> dict[str, float]:
        """Figures by the names of `korformer eval --json`, the headline first; percentages as shares of 1 but where an
        official metric says otherwise.
        """

    @abstractmethod
    def describe(self, example: ExampleT, prediction: PredictionT) -> dict[str, Any]:
        """A prediction as a JSON object for people and programs: one line of `korformer predict`."""

    def scores(self, examples: Sequence[ExampleT], predictions: Sequence[PredictionT]) -> list[float]:
        """How good each prediction is, 1 best: for the worst examples and confidence intervals. Empty: not told."""
        return []

    def tables(self, examples: Sequence[ExampleT], predictions: Sequence[PredictionT]) -> tuple[Table, ...]:
        """What to show beside the figures: confusions, figures a class."""
        return ()

    def context(self, example: ExampleT, prediction: PredictionT) -> str:
        """One of the worst examples for a person's eyes: text, truth and prediction, on few lines."""
        return json.dumps(self.describe(example, prediction), ensure_ascii=False)

    def details(self, examples: Sequence[ExampleT], predictions: Sequence[PredictionT]) -> dict[str, Any]:
        """What else belongs into the JSON object of an evaluation: figures a class, confusions."""
        return {}

    def intervals(
        self, examples: Sequence[ExampleT], predictions: Sequence[PredictionT], *, resamples: int, seed: int
    ) -> dict[str, tuple[float, float] | None]:
        """95% bootstrap intervals of figures by their names (`korformer.evaluation.bootstrap`)."""
        return {}

    def remarks(self, examples: Sequence[ExampleT], predictions: Sequence[PredictionT]) -> list[str]:
        """What a person should know beside the figures, a sentence each without its full stop."""
        return []

    def predictions_file(self, examples: Sequence[ExampleT], predictions: Sequence[PredictionT]) -> Predictions:
        """The content of a file of predictions; JSON lines with `id` unless a task has an official form."""
        records = [
            {"id": example.id, **self.describe(example, prediction)}
            for example, prediction in zip(examples, predictions, strict=True)
        ]
        return Predictions(layout="jsonl", value=records)

    def prediction_records(self, source: str, examples: Sequence[ExampleT]) -> Mapping[str, Any]:
        """What a file of predictions says of each id: one JSON object by id, or JSON lines with "id".

        Raises:
            PathError: it is missing or unreadable. DataError, InputError: it is neither.
        """
        return read_prediction_records(source)

    def read_predictions(
        self, examples: Sequence[ExampleT], records: Mapping[str, Any], problems: Problems
    ) -> list[PredictionT]:
        """The predictions of a file that `predictions_file` wrote, or anyone in its form; one for each example.

        Args:
            examples: with labels.
            records: what the file says of each id.
            problems: takes what cannot be used.

        Raises:
            UsageError: the task's predictions cannot be scored alone.
        """
        raise UsageError("predictions of this task cannot be scored without a model", where="--score")


class SupervisedTask(ABC, Generic[ExampleT]):
    """A kind of labelled data and what is learnt from it.

    Attributes:
        name: of its file and its section of the configuration.
        summary: one line for lists.
        settings: the section's settings; also what the model directory keeps of them.
        recipe: values of the `training` and `data` sections that are the task's own defaults.
        own_text: what `korformer predict` reads, in words, for messages.
        fixed: settings by which a head learns, though its shape does not hang on them.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    settings: ClassVar[type[Settings]] = Settings
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    own_text: ClassVar[str] = "a text a line"
    fixed: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def read(self, sources: Sequence[str], settings: Settings) -> list[ExampleT]:
        """Labelled examples of files.

        Raises:
            PathError: a file is missing or unreadable.
            DataError: bad places, all of them (`korformer.text.records.Problems`); InputError: no examples.
        """

    def read_gold(self, sources: Sequence[str], settings: Settings) -> list[ExampleT]:
        """The same to score a file of predictions with, for which less may have to be right. Errors as of `read`."""
        return self.read(sources, settings)

    @abstractmethod
    def parse(self, place: Place, line: str, settings: Settings, problems: Problems) -> ExampleT | None:
        """An example without label out of one line of a person's own text; None where it is none, which is noted."""

    def learn(self, examples: Sequence[ExampleT], settings: Settings) -> dict[str, Any]:
        """What only the training data tells, ready for JSON; it is kept in the model directory.

        Raises:
            DataError, InputError: nothing can be learnt from them.
        """
        return {}

    def scorer(self, examples: Sequence[ExampleT], settings: Settings) -> Solver[ExampleT, Any]:
        """The task without a model, to score predictions of these examples with, which training need not be able to
        use. By default as after learning from them.

        Raises:
            DataError, InputError: predictions of them cannot be scored.
        """
        return self.solver(settings, self.learn(examples, settings), None)

    @abstractmethod
    def solver(self, settings: Settings, facts: Mapping[str, Any], reader: Reader | None) -> Solver[ExampleT, Any]:
        """The task as a model meets it.

        Raises:
            ModelDirectoryError: `facts`, which may come from anyone, are not what `learn` gives.
        """

    def course(self, request: CourseRequest, listen: Listener = ignore) -> Course:
        """What a fine-tuning run learns. Errors as of `SupervisedCourse`."""
        from korformer.supervised.course import SupervisedCourse  # it knows what tasks are

        return SupervisedCourse(self, request, listen)

    def predictor(
        self, loaded: LoadedModel, max_tokens: int | None = None, options: Mapping[str, Any] = MappingProxyType({})
    ) -> Predictor:
        """A model that was fine-tuned for the task, ready for one's own text. Arguments and errors as of
        `loaded_solver`.
        """
        from korformer.supervised.predicting import SupervisedPredictor  # it knows what tasks are

        return SupervisedPredictor(self, loaded, max_tokens, options)

    def loaded_solver(
        self, loaded: LoadedModel, max_tokens: int | None = None, options: Mapping[str, Any] = MappingProxyType({})
    ) -> Solver[ExampleT, Any]:
        """The solver of a fine-tuned model.

        Args:
            loaded: a model directory.
            max_tokens: of a window; as in its training where it is not given.
            options: settings of the task that are to be other than in its training.

        Raises:
            ModelDirectoryError: it was not fine-tuned for this task, or is damaged.
            UsageError: `max_tokens` is too short, or longer than the model's window; an option is unknown, illegal, or
                needs another head than the model has.
        """
        from korformer.supervised.loading import loaded_solver  # it knows what tasks are

        return loaded_solver(self, loaded, max_tokens, options)


@dataclass(frozen=True, kw_only=True)
class TaskDescription:
    """What config.json tells of the task that a model was fine-tuned for.

    Attributes:
        name: the task.
        settings: its section.
        facts: what it learnt of the training data.
        max_tokens: of a window in training.
    """

    name: str
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    max_tokens: int

    def as_json(self) -> dict[str, Any]:
        """As config.json has it, under "task"."""
        return {
            "name": self.name, "settings": dict(self.settings), "facts": dict(self.facts),
            "max_tokens": self.max_tokens,
        }  # fmt: skip


def task_of(loaded: LoadedModel) -> TaskDescription | None:
    """The task of a fine-tuned model; None for one that has none.

    Raises:
        ModelDirectoryError: its config.json is damaged.
    """
    value = loaded.config_json.get("task")
    if value is None:
        return None
    kinds = {"name": str, "settings": dict, "facts": dict, "max_tokens": int}
    if not isinstance(value, dict) or any(type(value.get(key)) is not kind for key, kind in kinds.items()):
        raise ModelDirectoryError("its config.json does not describe a task", where=str(loaded.path))
    if value["max_tokens"] < SHORTEST_WINDOW:
        raise ModelDirectoryError("its config.json has no window for its task", where=str(loaded.path))
    return TaskDescription(**{key: value[key] for key in kinds})
