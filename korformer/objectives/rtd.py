"""Replaced-token detection (ELECTRA, Clark et al. 2020): a small generator fills hidden tokens, and the model tells
which tokens of the text it made up.

Both are Reformers with the same token, position and segment embeddings; the narrower generator projects them down and,
before its output layer, up again (`emb_dim`). The loss is the generator's mean cross-entropy of the hidden tokens plus
`discriminator_weight` times the mean binary cross-entropy of all tokens that are not padding. A token that the
generator happens to guess counts as original, and no gradient flows from the discriminator into the generator. What is
saved as the model is the discriminator with its head; the generator is kept in the steps of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from korformer.config import Settings
from korformer.data.masking import Masked, MaskSettings, Share
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.draws import TrainingDraw
from korformer.model.heads import HeadSpec
from korformer.objectives import BatchLoss, Term
from korformer.objectives._encoder import (
    ENCODER_DEFAULTS,
    EncoderLearner,
    encoder_problems,
    gather,
    on_device,
    perplexity,
    read,
)
from korformer.randomness import seed_of
from korformer.text.special import SPECIAL_TOKENS

if TYPE_CHECKING:
    from korformer.data.packing import Packs
    from korformer.data.store import TokenStore
    from korformer.events import Listener
    from korformer.text.vocabulary import Vocabulary

HEAD = "replaced"
_SAMPLED_AT_ONCE = 256
"""Hidden tokens of a sequence whose scores exist at a time."""


class RtdSettings(MaskSettings):
    """Settings of replaced-token detection."""

    mask_share: Share = 0.85
    """Share of the tokens to be guessed that become [MASK] for the generator; the rest stays as it is."""
    random_share: Share = 0.0
    """Share of those that become any token but a special one."""
    generator_width: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Width of the generator as a share of the model's."""
    discriminator_weight: Annotated[float, Field(gt=0)] = 50.0
    """Weight of the discriminator's loss beside the generator's."""


def generator_config(model: ModelConfig, width: float) -> ModelConfig:
    """The shape of the generator: the model's, but narrower, with embeddings of the model's width.

    Args:
        model: the discriminator's.
        width: share of its width; the nearest one that gives as many heads an even width is taken.
    """
    per_head = max(2, 2 * round(model.dim * width / model.heads / 2))
    return ModelConfig.model_validate(
        {
            **model.model_dump(),
            "dim": model.heads * per_head,
            "dim_head": None,
            "emb_dim": model.emb_dim or model.dim,
        }
    )


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A text of which the generator has replaced some tokens.

    Attributes:
        tokens: (B, L) int64.
        is_replaced: (B, L) bool.
    """

    tokens: NDArray[np.int64]
    is_replaced: NDArray[np.bool_]


class RtdLearner(EncoderLearner):
    """Generator and discriminator.

    Args:
        model: the discriminator's shape.
        settings: what is hidden, and the generator's share.
        vocabulary: of model and text.
    """

    def __init__(self, model: ModelConfig, settings: RtdSettings, vocabulary: Vocabulary) -> None:
        heads = {HEAD: HeadSpec(reads="tokens", outputs=1)}
        super().__init__(ReformerModel(model, vocabulary.size, heads), settings, vocabulary)
        self._settings = settings
        self.generator = ReformerModel(generator_config(model, settings.generator_width), vocabulary.size)
        _share_embeddings(self.model, self.generator)
        self.model.lm.out.requires_grad_(False)  # the discriminator guesses no tokens
        self.model.lm.token_emb.requires_grad_(True)
        self.module = nn.ModuleDict({"discriminator": self.model.lm, "generator": self.generator.lm})

    @property
    def shapes(self) -> Sequence[ModelConfig]:
        """Of both models."""
        return (self.model.config, self.generator.config)

    def initialise(self, seed: int) -> None:
        """Set every parameter; what the two share as the discriminator has it."""
        self.generator.initialise(seed_of("generator", seed))
        self.model.initialise(seed)

    def predicted(self, packs: Packs, draw: TrainingDraw) -> Mapping[str, int]:
        """Hidden tokens, and all that are not padding."""
        return {"generator": self.masked(packs, draw).count, "discriminator": packs.real_tokens}

    def loss(self, packs: Packs, draw: TrainingDraw, *, reversible: bool = False) -> BatchLoss:
        """The generator's loss on hidden tokens, and the discriminator's on all."""
        masked = self.masked(packs, draw)
        own = replace(draw, seed=seed_of("generator", draw.seed))  # hash rotations and dropout of its own
        hidden = read(self.generator, packs, masked.tokens, own, reversible=reversible)
        chosen, targets = gather(self.generator, hidden, masked.targets)
        generator_loss, _ = self.generator.loss(chosen[None], targets[None])
        replaced = self._replace(packs, masked, chosen.detach(), draw)
        scores, labels = self._judge(packs, replaced, draw, reversible=reversible)
        count = packs.real_tokens
        summed = nn.functional.binary_cross_entropy_with_logits(scores, labels, reduction="sum")
        return BatchLoss(
            terms={
                "generator": Term(mean=generator_loss, count=masked.count),
                "discriminator": Term(
                    mean=summed / max(1, count), count=count, weight=self._settings.discriminator_weight
                ),
            }
        )

    @torch.no_grad()
    def _replace(self, packs: Packs, masked: Masked, chosen_ND: Tensor, draw: TrainingDraw) -> Replaced:
        """Sample the hidden tokens from the generator: the highest score plus Gumbel noise, drawn by key."""
        tokens, hidden = packs.tokens.copy(), masked.targets >= 0
        rows = chosen_ND.split(hidden.sum(axis=1).tolist())
        for row, (sample, states) in enumerate(zip(draw.samples, rows, strict=True)):
            key = seed_of("replace", draw.seed, draw.step, sample)
            random = torch.Generator(states.device).manual_seed(key)
            drawn = [self._sample(part, random) for part in states.split(_SAMPLED_AT_ONCE)]
            tokens[row, hidden[row]] = torch.cat(drawn).cpu().numpy()
        return Replaced(tokens=tokens, is_replaced=tokens != packs.tokens)

    def _sample(self, states_ND: Tensor, random: torch.Generator) -> Tensor:
        """Tokens (N,) drawn from the generator's distributions, none of them special."""
        with torch.autocast(states_ND.device.type, enabled=False):
            logits = self.generator.logits(states_ND.to(self.generator.head_weight.dtype))
        logits[:, : len(SPECIAL_TOKENS)] = -torch.inf
        noise = torch.empty_like(logits).exponential_(generator=random)
        return (logits - noise.log()).argmax(dim=-1)  # -log of an exponential draw is a Gumbel draw

    def _judge(
        self, packs: Packs, replaced: Replaced, draw: TrainingDraw | None, *, reversible: bool
    ) -> tuple[Tensor, Tensor]:
        """Scores (N,) float32, above 0 for tokens taken for replaced, and labels (N,) of all that is not padding."""
        hidden = read(self.model, packs, replaced.tokens, draw, reversible=reversible)
        places = np.flatnonzero(packs.documents.reshape(-1) >= 0)
        real = hidden.flatten(0, 1)[on_device(self.model, places)]
        scores = self.model.heads[HEAD](real).squeeze(-1).float()
        return scores, on_device(self.model, replaced.is_replaced.reshape(-1)[places]).float()

    def validate(
        self, store: TokenStore, vocabulary: Vocabulary, *, max_tokens: int, listen: Listener
    ) -> Mapping[str, float]:
        """Accuracy and perplexity of the generator; precision, recall and F1 of the discriminator on replaced tokens,
        and its accuracy on all, beside that of taking every token for original.

        Raises:
            InputError: there is no text.
            DivergedError: probabilities are not finite.
        """
        loss, right, count = 0.0, 0, 0
        said = np.zeros((2, 2), np.int64)  # [replaced, taken for replaced]
        for packs, draw in self.validation_packs(store, max_tokens=max_tokens, listen=listen):
            masked = self.masked(packs, draw)
            hidden = read(self.generator, packs, masked.tokens, None, reversible=False)
            chosen, targets = gather(self.generator, hidden, masked.targets)
            more_loss, more_right = self.guesses(self.generator, chosen, targets)
            loss, right, count = loss + more_loss, right + more_right, count + masked.count
            scores, labels = self._judge(packs, self._replace(packs, masked, chosen, draw), None, reversible=False)
            np.add.at(said, (labels.long().cpu().numpy(), (scores > 0).long().cpu().numpy()), 1)
        return {
            **detection_figures(said),
            "generator_accuracy": right / max(1, count),
            "generator_perplexity": perplexity(loss, count),
        }


def detection_figures(said: NDArray[np.int64]) -> dict[str, float]:
    """Figures of the discriminator from its counts (2, 2) by truth (original, replaced) and by what it said."""
    tokens, replaced, found = int(said.sum()), int(said[1].sum()), int(said[1, 1])
    precision = found / max(1, int(said[:, 1].sum()))
    recall = found / max(1, replaced)
    return {
        "replaced_f1": 2 * precision * recall / (precision + recall) if found else 0.0,
        "replaced_precision": precision,
        "replaced_recall": recall,
        "discriminator_accuracy": int(np.trace(said)) / max(1, tokens),
        "always_original_accuracy": 1 - replaced / max(1, tokens),
        "tokens": float(tokens),
    }


def _share_embeddings(model: ReformerModel, generator: ReformerModel) -> None:
    """Let the generator read with the model's embeddings and guess with them."""
    generator.lm.token_emb = model.lm.token_emb
    generator.lm.pos_emb = model.lm.pos_emb
    if model.config.segments:
        generator.lm.segment_emb = model.lm.segment_emb
    generator.lm.out[1].tensor = model.lm.token_emb.weight


class ReplacedTokenDetection:
    """Telling which tokens a generator made up."""

    name = "rtd"
    summary = "tell which tokens a small generator replaced (ELECTRA)"
    settings = RtdSettings
    model_defaults: Mapping[str, Any] = ENCODER_DEFAULTS

    def problems(self, model: ModelConfig, settings: Settings, *, pack_tokens: int) -> list[str]:
        """What does not fit replaced-token detection."""
        problems = encoder_problems(self.name, model, pack_tokens)
        if not model.weight_tie_embedding:
            problems.append(
                "objective rtd shares embeddings, and the generator guesses with them: set "
                "model.weight_tie_embedding = true"
            )
        return problems

    def learner(self, model: ModelConfig, settings: Settings, vocabulary: Vocabulary) -> RtdLearner:
        """A learner whose weights are still to be set."""
        assert isinstance(settings, RtdSettings)
        return RtdLearner(model, settings, vocabulary)


OBJECTIVE = ReplacedTokenDetection()
