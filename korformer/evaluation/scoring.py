"""From segments of documents to the loss of each token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from korformer.errors import DivergedError
from korformer.evaluation.windows import Segment, batches
from korformer.model.products import fast_products


class WindowConfig(Protocol):
    """What measuring needs to know of a model's configuration."""

    @property
    def max_seq_len(self) -> int:
        """Window in tokens."""


class LanguageModel(Protocol):
    """What measuring needs of a model; `korformer.model.ReformerModel` is one."""

    @property
    def config(self) -> WindowConfig:
        """The model's shape."""

    @property
    def strictly_causal(self) -> bool:
        """Whether a token's probability depends on nothing but the tokens before it."""

    @property
    def training(self) -> bool:
        """Whether the model is in training mode."""

    def train(self, mode: bool = True) -> object:
        """Switch training mode."""

    def parameters(self) -> Iterator[torch.Tensor]:
        """The weights; the first one tells the device."""

    def __call__(
        self, tokens_BT: torch.Tensor, *, documents_BT: torch.Tensor, positions_BT: torch.Tensor
    ) -> torch.Tensor:
        """Hidden states (B, T, D)."""

    def token_losses(self, hidden_BTD: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        """(B, T) nats; 0 where the target is -100."""


@contextmanager
def evaluating(model: LanguageModel) -> Iterator[None]:
    """Evaluation mode and no gradients inside; the mode before is restored after."""
    was_training = model.training
    model.train(False)
    try:
        # Not inference_mode: tensors that a model caches here must stay usable in training.
        with torch.no_grad(), fast_products():
            yield
    finally:
        model.train(was_training)


def score(
    model: LanguageModel, segments: Iterable[Segment], *, row_tokens: int, batch_tokens: int
) -> Iterator[tuple[Segment, NDArray[np.float64]]]:
    """The loss of every counted token; call it inside `evaluating`.

    Segments of different documents share a forward pass only where the model is strictly causal: there what stands
    beside a segment cannot change its probabilities.

    Args:
        model: gives the probabilities.
        segments: pieces of documents; they come back in another order.
        row_tokens: most tokens of a row.
        batch_tokens: aim for the tokens of a forward pass.

    Yields:
        A segment and its (n,) negative natural logarithms of probability, 0 where its target is not counted.

    Raises:
        DivergedError: a loss is not finite.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    for batch in batches(segments, row_tokens=row_tokens, batch_tokens=batch_tokens, pack=model.strictly_causal):
        hidden = model(
            torch.from_numpy(batch.tokens).to(device),
            documents_BT=torch.from_numpy(batch.documents).to(device),
            positions_BT=torch.from_numpy(batch.positions).to(device),
        )
        losses = model.token_losses(hidden, torch.from_numpy(batch.targets).to(device))
        values = losses.detach().to("cpu", torch.float64).numpy()
        if not np.isfinite(values).all():
            raise DivergedError(
                "the model gives probabilities that are not finite",
                hint="Its training diverged; use an earlier checkpoint or a lower learning rate.",
            )
        for row, column, segment in batch.places:
            yield segment, values[row, column : column + len(segment)]
