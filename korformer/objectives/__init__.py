"""What a model is trained to do, one file each; a file's `OBJECTIVE` is found by its presence."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from korformer.config import Settings, nearest
from korformer.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from korformer.data.packing import Packs
    from korformer.model.backbone import ReformerModel, TrainingDraw


@dataclass(frozen=True, kw_only=True)
class BatchLoss:
    """The loss of one micro-batch.

    Attributes:
        mean: scalar with gradient, nats a predicted token.
        predicted: tokens it is the mean of.
    """

    mean: Tensor
    predicted: int


class Objective(Protocol):
    """What the trainer asks of an objective."""

    name: str
    summary: str
    settings: type[Settings]

    def predicted(self, packs: Packs) -> int:
        """Tokens of the packs that count in the loss."""

    def loss(
        self, model: ReformerModel, packs: Packs, settings: Settings, draw: TrainingDraw, *, reversible: bool = False
    ) -> BatchLoss:
        """The loss of the packs under the keys of `draw`; `reversible` as in the model's forward."""


def objectives() -> Mapping[str, Objective]:
    """Every objective by its name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
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
