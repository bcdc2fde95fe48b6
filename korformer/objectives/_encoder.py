"""What the objectives that hide tokens share: closed packs, masks by key, and the packs that are measured on.

Legend: B sequences, L tokens, D model width, N hidden tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from korformer.data.closed import SHORTEST, ClosedPacks
from korformer.data.edges import TokenEdges
from korformer.data.masking import Masked, MaskSettings, mask_tokens
from korformer.data.packing import NO_TARGET, Packs, PackSampler, Reading
from korformer.errors import DivergedError, InputError
from korformer.evaluation.scoring import evaluating
from korformer.events import Progress
from korformer.model.draws import TrainingDraw
from korformer.objectives import Learner, Sampler

if TYPE_CHECKING:
    from korformer.data.store import TokenStore
    from korformer.events import Listener
    from korformer.model.backbone import ReformerModel
    from korformer.model.config import ModelConfig
    from korformer.text.vocabulary import Vocabulary

ENCODER_DEFAULTS: Mapping[str, Any] = MappingProxyType({"causal": False, "attention": "lsh", "segments": 2})
"""An encoder as BERT's: both sides seen, two kinds of segments."""

VALIDATION_SEED = 0
"""Key of the order, masks and samples of validation, so that figures of two steps are of the same tokens."""

VALIDATION_TOKENS = 8192
"""Tokens of a forward pass in validation."""

_LARGEST_LOSS = 700.0
"""Nats; E to a little more is no float any more."""

_GUESSES = 1024
"""Hidden tokens whose scores exist at a time."""


def encoder_problems(name: str, model: ModelConfig, pack_tokens: int) -> list[str]:
    """Why a model cannot learn to guess hidden tokens in sequences of so many."""
    problems = []
    if model.causal:
        problems.append(
            f"objective {name} needs an encoder, which sees both sides of a hidden token: set model.causal = false and "
            "model.attention = 'lsh', 'local' or 'full'"
        )
    if pack_tokens < SHORTEST:
        problems.append(
            f"objective {name} needs sequences of at least {SHORTEST} tokens, not {pack_tokens}: set data.pack_tokens, "
            "or model.max_seq_len where that is not given"
        )
    return problems


class EncoderLearner(Learner):
    """Reads packs with some of their tokens hidden.

    Args:
        model: what is saved.
        settings: how tokens are hidden.
        vocabulary: of model and text.
    """

    def __init__(self, model: ReformerModel, settings: MaskSettings, vocabulary: Vocabulary) -> None:
        self.model = model
        self.module = model.lm
        self._mask_settings = settings
        self._edges = TokenEdges(vocabulary)

    def sampler(self, store: TokenStore, **how: Unpack[Reading]) -> Sampler:
        """Documents back to back, each piece in [CLS] and [SEP]."""
        return ClosedPacks(PackSampler(store, **how, predict_next=False))

    def masked(self, packs: Packs, draw: TrainingDraw) -> Masked:
        """The packs with tokens hidden, as the keys say."""
        return mask_tokens(
            packs.tokens,
            packs.documents,
            samples=draw.samples,
            seed=draw.seed,
            step=draw.step,
            settings=self._mask_settings,
            edges=self._edges,
        )

    def validation_sampler(self, store: TokenStore, pack_tokens: int) -> Sampler:
        """What is measured on, in a fixed random order."""
        return self.sampler(store, pack_tokens=pack_tokens, seed=VALIDATION_SEED)

    def validation_packs(
        self, store: TokenStore, *, max_tokens: int, listen: Listener
    ) -> Iterator[tuple[Packs, TrainingDraw]]:
        """Packs of held-out text with the keys of their masks; the same at every call.

        One epoch in a fixed random order, at most `max_tokens` tokens of it but at least one pack; inside, the model is
        in evaluation mode.

        Raises:
            InputError: there is no text.
        """
        length = self.model.config.max_seq_len
        sampler = self.validation_sampler(store, length)
        done = first = 0
        total = min(max_tokens, store.tokens)
        with evaluating(self.model):
            while done < total and sampler.state()["epoch"] == 0:
                rows: list[Packs] = []
                while sum(packs.real_tokens for packs in rows) < min(VALIDATION_TOKENS, total - done):
                    rows.append(sampler.next_packs(1))
                    if sampler.state()["epoch"]:
                        break
                packs = concatenated(rows)
                draw = TrainingDraw(seed=VALIDATION_SEED, step=0, samples=range(first, first + len(rows)))
                yield packs, draw
                first += len(rows)
                done += packs.real_tokens
                listen(Progress(stage="validating", done=min(done, total), total=total, unit="tokens"))
            listen(Progress(stage="validating", done=total, total=total, unit="tokens"))

    def guesses(self, model: ReformerModel, hidden_ND: Tensor, targets_N: Tensor) -> tuple[float, int]:
        """Sum of the losses in nats of hidden tokens, and how many of them are guessed right.

        Raises:
            DivergedError: a loss is not finite.
        """
        loss, right = 0.0, 0
        for part, targets in zip(hidden_ND.split(_GUESSES), targets_N.split(_GUESSES), strict=True):
            logits = model.logits(part)
            loss += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
            right += int((logits.argmax(dim=-1) == targets).sum())
        if not math.isfinite(loss):
            raise DivergedError(
                "the model gives probabilities that are not finite",
                hint="Its training diverged; use an earlier checkpoint or a lower learning rate.",
            )
        return loss, right


def concatenated(rows: list[Packs]) -> Packs:
    """Packs of equal length as one batch."""
    return type(rows[0])(
        **{name: np.concatenate([getattr(row, name) for row in rows]) for name in rows[0].__dataclass_fields__}
    )


def read(
    model: ReformerModel, packs: Packs, tokens: NDArray[np.int64], draw: TrainingDraw | None, *, reversible: bool
) -> Tensor:
    """Hidden states (B, L, D) of packs whose tokens are replaced by `tokens` (B, L)."""
    arrays = {"documents_BT": packs.documents, "positions_BT": packs.positions}
    segments = getattr(packs, "segments", None)
    if segments is not None:
        arrays["segments_BT"] = segments
    inputs = {name: on_device(model, array) for name, array in arrays.items()}
    hidden: Tensor = model(on_device(model, tokens), **inputs, draw=draw, reversible=reversible)
    return hidden


def on_device(model: ReformerModel, array: NDArray[Any]) -> Tensor:
    """An array of integers as int64 beside the model."""
    return torch.from_numpy(array).to(model.device, torch.int64, non_blocking=True)


def gather(model: ReformerModel, hidden_BLD: Tensor, targets: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """What the output layer is to read: hidden states (N, D) where there is a target, and those targets (N,)."""
    flat = targets.reshape(-1)
    places = np.flatnonzero(flat != NO_TARGET)
    return hidden_BLD.flatten(0, 1)[on_device(model, places)], on_device(model, flat[places])


def perplexity(loss: float, count: int) -> float:
    """E to the mean loss; of a model that has gone astray, what a float can hold of that.

    Raises:
        InputError: nothing was measured.
    """
    if not count:
        raise InputError("there is no text to measure", hint="Give a file that has text.")
    return math.exp(min(loss / count, _LARGEST_LOSS))
