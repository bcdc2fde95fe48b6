"""Masked language modelling (BERT): guess hidden tokens from both sides; optionally, tell how two segments belong
together.

The loss is the mean cross-entropy of the hidden tokens, plus that of the sentence pairs where there are any: `nsp`
(Devlin et al. 2019: does B follow A, or is it of another document?) or `sop` (Lan et al. 2020: are A and B in order?).
Only hidden tokens go through the output layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

import torch
from pydantic import Field

from korformer.config import Settings
from korformer.data.masking import MaskSettings
from korformer.data.pairs import SHORTEST as SHORTEST_PAIR
from korformer.data.pairs import PairPacks, PairSampler
from korformer.errors import InputError
from korformer.model.backbone import ReformerModel
from korformer.model.heads import HeadSpec
from korformer.objectives import BatchLoss, Sampler, Term
from korformer.objectives._encoder import (
    ENCODER_DEFAULTS,
    VALIDATION_SEED,
    EncoderLearner,
    encoder_problems,
    gather,
    perplexity,
    read,
)

if TYPE_CHECKING:
    from torch import Tensor

    from korformer.data.packing import Packs, Reading
    from korformer.data.store import TokenStore
    from korformer.events import Listener
    from korformer.model.backbone import TrainingDraw
    from korformer.model.config import ModelConfig
    from korformer.text.vocabulary import Vocabulary

PAIR_SEGMENTS = 2


class MlmSettings(MaskSettings):
    """Settings of masked language modelling."""

    sentence_pair: Literal["none", "nsp", "sop"] = "none"
    """A second thing to learn from [CLS]: nsp, whether the second segment follows the first or comes from another
    document; sop, whether the two are in order."""
    short_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of pairs that are made shorter than there is room, so that short texts are known too."""


class MlmLearner(EncoderLearner):
    """Guesses hidden tokens.

    Args:
        model: the model's shape.
        settings: what is hidden and what is asked besides.
        vocabulary: of model and text.
    """

    def __init__(self, model: ModelConfig, settings: MlmSettings, vocabulary: Vocabulary) -> None:
        self._settings = settings
        self._pair = None if settings.sentence_pair == "none" else settings.sentence_pair
        heads: dict[str, HeadSpec] = {self._pair: HeadSpec(reads="first", outputs=2)} if self._pair else {}
        super().__init__(ReformerModel(model, vocabulary.size, heads), settings, vocabulary)

    def sampler(self, store: TokenStore, **how: Unpack[Reading]) -> Sampler:
        """Documents back to back, or pairs of segments."""
        if self._pair is None:
            return super().sampler(store, **how)
        return PairSampler(store, self._edges, kind=self._pair, short_share=self._settings.short_share, **how)

    def validation_sampler(self, store: TokenStore, pack_tokens: int) -> Sampler:
        """The same; where held-out text is too little for pairs, documents without them."""
        try:
            return super().validation_sampler(store, pack_tokens)
        except InputError:
            return EncoderLearner.sampler(self, store, pack_tokens=pack_tokens, seed=VALIDATION_SEED)

    def predicted(self, packs: Packs, draw: TrainingDraw) -> Mapping[str, int]:
        """Hidden tokens, and pairs."""
        counts = {"masked": self.masked(packs, draw).count}
        if isinstance(packs, PairPacks):
            counts["pairs"] = packs.pairs
        return counts

    def loss(self, packs: Packs, draw: TrainingDraw, *, reversible: bool = False) -> BatchLoss:
        """Mean cross-entropy of the hidden tokens, and of the pairs."""
        masked = self.masked(packs, draw)
        hidden = read(self.model, packs, masked.tokens, draw, reversible=reversible)
        chosen, targets = gather(self.model, hidden, masked.targets)
        mean, _ = self.model.loss(chosen[None], targets[None])
        terms = {"masked": Term(mean=mean, count=masked.count)}
        if isinstance(packs, PairPacks):
            scores, labels = self._pair_scores(packs, hidden)
            pair_loss = torch.nn.functional.cross_entropy(scores, labels, reduction="sum")
            terms["pairs"] = Term(mean=pair_loss / max(1, packs.pairs), count=packs.pairs)
        return BatchLoss(terms=terms)

    def _pair_scores(self, packs: PairPacks, hidden_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (pairs, 2) float32 and labels (pairs,) of a batch's pairs."""
        assert self._pair is not None
        first, labels = gather(self.model, hidden_BLD, packs.labels)
        return self.model.heads[self._pair](first).float(), labels

    def validate(
        self, store: TokenStore, vocabulary: Vocabulary, *, max_tokens: int, listen: Listener
    ) -> Mapping[str, float]:
        """Accuracy and perplexity of hidden tokens, and accuracy of pairs beside that of one answer for all.

        Raises:
            InputError: there is no text.
            DivergedError: probabilities are not finite.
        """
        loss, right, count, tokens = 0.0, 0, 0, 0
        pairs, pairs_right, pairs_wrong_way = 0, 0, 0
        for packs, draw in self.validation_packs(store, max_tokens=max_tokens, listen=listen):
            masked = self.masked(packs, draw)
            hidden = read(self.model, packs, masked.tokens, None, reversible=False)
            more_loss, more_right = self.guesses(self.model, *gather(self.model, hidden, masked.targets))
            loss, right, count = loss + more_loss, right + more_right, count + masked.count
            tokens += packs.real_tokens
            if isinstance(packs, PairPacks):
                scores, labels = self._pair_scores(packs, hidden)
                pairs += len(labels)
                pairs_wrong_way += int(labels.sum())
                pairs_right += int((scores.argmax(dim=-1) == labels).sum())
        figures = {
            "masked_accuracy": right / max(1, count),
            "masked_perplexity": perplexity(loss, count),
            "masked_tokens": float(count),
        }
        if pairs:
            more_frequent = max(pairs_wrong_way, pairs - pairs_wrong_way)
            figures |= {
                "pair_accuracy": pairs_right / pairs,
                "always_the_same_accuracy": more_frequent / pairs,
                "pairs": float(pairs),
            }
        return {**figures, "tokens": float(tokens)}


class MaskedLanguageModel:
    """Guessing hidden tokens."""

    name = "mlm"
    summary = "guess hidden tokens from both sides (BERT)"
    settings = MlmSettings
    model_defaults: Mapping[str, Any] = ENCODER_DEFAULTS

    def problems(self, model: ModelConfig, settings: Settings, *, pack_tokens: int) -> list[str]:
        """What does not fit a masked model."""
        assert isinstance(settings, MlmSettings)
        problems = encoder_problems(self.name, model, pack_tokens)
        if settings.sentence_pair != "none" and model.segments < PAIR_SEGMENTS and not model.causal:
            problems.append(
                f"mlm.sentence_pair = '{settings.sentence_pair}' needs segments to tell apart: "
                f"set model.segments = {PAIR_SEGMENTS}"
            )
        if settings.sentence_pair != "none" and pack_tokens < SHORTEST_PAIR:
            problems.append(
                f"mlm.sentence_pair = '{settings.sentence_pair}' needs sequences of at least {SHORTEST_PAIR} tokens, "
                f"not {pack_tokens}: set data.pack_tokens, or model.max_seq_len where that is not given"
            )
        return problems

    def learner(self, model: ModelConfig, settings: Settings, vocabulary: Vocabulary) -> MlmLearner:
        """A learner whose weights are still to be set."""
        assert isinstance(settings, MlmSettings)
        return MlmLearner(model, settings, vocabulary)


OBJECTIVE = MaskedLanguageModel()
