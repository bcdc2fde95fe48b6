"""What a model is trained to do, one file each; a file's `OBJECTIVE` is found by its presence.

An `Objective` has a name and settings, and makes a `Learner`: the model with all that is trained beside it. The trainer
asks the learner alone, for batches, for their loss and for figures on held-out text.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from korformer.config import Settings, nearest
from korformer.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from korformer.data.packing import Packs, Reading
    from korformer.data.store import TokenStore
    from korformer.events import Listener
    from korformer.model.backbone import ReformerModel, TrainingDraw
    from korformer.model.config import ModelConfig
    from korformer.text.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Term:
    """One part of a loss, a mean over some of the batch's tokens or sentence pairs.

    Attributes:
        mean: scalar with gradient, nats each.
        count: how many it is the mean of; where that is 0 the term does not count.
        weight: what it is multiplied by in the loss.
    """

    mean: Tensor
    count: int
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class BatchLoss:
    """The loss of one micro-batch: the weighted sum of its terms.

    Attributes:
        terms: each by its name; every micro-batch of an objective has the same names.
    """

    terms: Mapping[str, Term]

    @property
    def mean(self) -> Tensor:
        """The loss of this batch taken alone, a scalar with gradient."""
        return self.share({name: term.count for name, term in self.terms.items()})[0]

    def share(self, totals: Mapping[str, int]) -> tuple[Tensor, float]:
        """What this batch adds to the loss of a step, as a scalar with gradient and as a number.

        Args:
            totals: the counts of the whole step by term, over all micro-batches and processes. Summed over these, the
                shares are the loss of the step, however it was divided.
        """
        with_gradient: Tensor | None = None
        value = 0.0
        for name, term in self.terms.items():
            share = term.count / max(1, totals[name])
            part = term.mean * (share * term.weight)
            with_gradient = part if with_gradient is None else with_gradient + part
            value += float(term.mean.detach()) * share * term.weight
        assert with_gradient is not None
        return with_gradient, value


class Sampler(Protocol):
    """Batches without end, from a place that can be saved; see `korformer.data.packing.PackSampler`."""

    pack_tokens: int

    def next_packs(self, batch: int) -> Packs:
        """The next `batch` sequences of this process."""

    def state(self) -> dict[str, int]:
        """Where it stands."""

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on from there."""


class Learner(ABC):
    """A model that learns an objective.

    Attributes:
        model: what is saved as the model directory, writes samples and is measured.
        module: its named parameters that require a gradient are everything that is trained, each once, under the names
            by which they are saved in a step.
    """

    model: ReformerModel
    module: nn.Module

    @property
    def shapes(self) -> Sequence[ModelConfig]:
        """The shape of each model that a pass runs through, by which its memory is reckoned."""
        return (self.model.config,)

    def initialise(self, seed: int) -> None:
        """Set every parameter of `module`, as a function of `seed` alone."""
        self.model.initialise(seed)

    @abstractmethod
    def sampler(self, store: TokenStore, **how: Unpack[Reading]) -> Sampler:
        """What the objective reads of a token store. Arguments and errors as of `PackSampler`."""

    @abstractmethod
    def predicted(self, packs: Packs, draw: TrainingDraw) -> Mapping[str, int]:
        """The counts of the terms that `loss` will have for these packs under these keys."""

    @abstractmethod
    def loss(self, packs: Packs, draw: TrainingDraw, *, reversible: bool = False) -> BatchLoss:
        """The loss of the packs under the keys of `draw`; `reversible` as in the model's forward."""

    @abstractmethod
    def validate(
        self, store: TokenStore, vocabulary: Vocabulary, *, max_tokens: int, listen: Listener
    ) -> Mapping[str, float]:
        """Figures on held-out text, by the names that are printed.

        Args:
            store: the text.
            vocabulary: the model's.
            max_tokens: most tokens to measure on; the same ones at every call.
            listen: hears Progress (stage "validating", unit "tokens").
        """


class Objective(Protocol):
    """What the settings and the trainer ask of an objective."""

    name: str
    summary: str
    settings: type[Settings]
    model_defaults: Mapping[str, Any]
    """Values of the model's section that hold where nobody gives others."""

    def problems(self, model: ModelConfig, settings: Settings, *, pack_tokens: int) -> list[str]:
        """What does not fit together, each with the nearest that does; none where all is well.

        Args:
            model, settings: of the run.
            pack_tokens: tokens of a training sequence.
        """

    def learner(self, model: ModelConfig, settings: Settings, vocabulary: Vocabulary) -> Learner:
        """A learner whose weights are still to be set, for settings that have no problems."""


def objectives() -> Mapping[str, Objective]:
    """Every objective by its name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith("_"):
            continue  # what several share
        objective: Objective = importlib.import_module(f"{__name__}.{module.name}").OBJECTIVE
        found[objective.name] = objective
    return found


def objective_named(name: str) -> Objective:
    """The objective of that name.

    Raises:
        UsageError: there is none; the nearest is named.
    """
    known = objectives()
    if name in known:
        return known[name]
    guess = nearest(name, known)
    hint = f"Did you mean {guess}?" if guess else f"There are: {', '.join(sorted(known))}."
    raise UsageError(f"unknown objective {name!r}", where="--objective", hint=hint)
