"""Autoregressive language modelling: predict each next token of the same document. Padding never counts.

With `ar.fim_rate` above 0 a share of the pieces is laid out for filling in the middle, see `korformer.data.infilling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Unpack

import torch
from pydantic import Field

from korformer.config import Settings
from korformer.data.infilling import Infilling
from korformer.data.packing import PackSampler
from korformer.errors import InputError
from korformer.evaluation.infilling import Order, middle_bits, sample_gaps
from korformer.evaluation.language_model import validate
from korformer.model.backbone import ReformerModel
from korformer.objectives import BatchLoss, Learner, Term

if TYPE_CHECKING:
    from korformer.data.packing import Packs, Reading
    from korformer.data.store import TokenStore
    from korformer.events import Listener
    from korformer.model.backbone import TrainingDraw
    from korformer.model.config import ModelConfig
    from korformer.text.vocabulary import Vocabulary

GAP_CONTEXT_TOKENS = 512
"""Most tokens of a text whose middle is measured while training."""


class ArSettings(Settings):
    """Settings of the autoregressive objective."""

    fim_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the pieces of documents that teach filling in the middle: text between a prefix and a suffix. 0.5 is
    usual; it needs a lossless vocabulary."""
    fim_spm_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of those that show the suffix first and then the prefix; the others show the prefix first."""


class ArLearner(Learner):
    """Next-token prediction."""

    def __init__(self, model: ModelConfig, settings: ArSettings, vocabulary: Vocabulary) -> None:
        self.model = ReformerModel(model, vocabulary.size)
        self.module = self.model.lm
        self._settings = settings
        self._vocabulary = vocabulary

    def sampler(self, store: TokenStore, **how: Unpack[Reading]) -> PackSampler:
        """Documents back to back, a share of their pieces laid out for filling in the middle."""
        rate, spm_share = self._settings.fim_rate, self._settings.fim_spm_share
        rewrite = Infilling(self._vocabulary, rate=rate, spm_share=spm_share, seed=how["seed"]) if rate else None
        return PackSampler(store, **how, rewrite=rewrite)

    def predicted(self, packs: Packs, draw: TrainingDraw) -> Mapping[str, int]:
        """Tokens of the packs that have a next token."""
        return {"tokens": int((packs.targets >= 0).sum())}

    def loss(self, packs: Packs, draw: TrainingDraw, *, reversible: bool = False) -> BatchLoss:
        """Mean cross-entropy of the next tokens."""
        tokens, targets, documents, positions = (
            torch.from_numpy(array).to(self.model.device, torch.int64, non_blocking=True)
            for array in (packs.tokens, packs.targets, packs.documents, packs.positions)
        )
        hidden = self.model(tokens, documents_BT=documents, positions_BT=positions, draw=draw, reversible=reversible)
        mean, _ = self.model.loss(hidden, targets)
        return BatchLoss(terms={"tokens": Term(mean=mean, count=int((packs.targets >= 0).sum()))})

    def validate(
        self, store: TokenStore, vocabulary: Vocabulary, *, max_tokens: int, listen: Listener
    ) -> Mapping[str, float]:
        """Bits per character and perplexity; with filling in the middle also the bits per character of middles."""
        figures = dict(validate(self.model, vocabulary, store, max_tokens=max_tokens, listen=listen).metrics())
        if self._settings.fim_rate:
            figures |= self._middles(store, vocabulary, max_tokens)
        return figures

    def _middles(self, store: TokenStore, vocabulary: Vocabulary, max_tokens: int) -> Mapping[str, float]:
        """Bits per character of middles after prefix and suffix, half as many tokens read as left to right."""
        context_tokens = min(self.model.config.max_seq_len, GAP_CONTEXT_TOKENS)
        examples = max(1, max_tokens // (2 * context_tokens))
        try:
            gaps = sample_gaps(store, vocabulary, examples=examples, context_tokens=context_tokens)
        except InputError:  # text of a few words at a time
            return {}
        order: Order = "suffix_first" if self._settings.fim_spm_share else "prefix_first"  # as in generation
        bits, characters = middle_bits(self.model, vocabulary, gaps, order)
        return {"middle_bits_per_character": float(bits.sum() / characters.sum())}


class Autoregressive:
    """Next-token prediction."""

    name = "ar"
    summary = "predict the next token (GPT)"
    settings = ArSettings
    model_defaults: Mapping[str, Any] = MappingProxyType({})

    def problems(self, model: ModelConfig, settings: Settings, *, pack_tokens: int) -> list[str]:
        """What does not fit an autoregressive model."""
        if model.causal:
            return []
        return ["objective ar needs a decoder, or each token sees the one it is to predict: set model.causal = true"]

    def learner(self, model: ModelConfig, settings: Settings, vocabulary: Vocabulary) -> ArLearner:
        """A learner whose weights are still to be set."""
        assert isinstance(settings, ArSettings)
        return ArLearner(model, settings, vocabulary)


OBJECTIVE = Autoregressive()
