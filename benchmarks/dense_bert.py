"""A dense BERT of the same size, behind what fine-tuning asks of a model: transformers' BertModel and a task's heads.

Windows that share a row are kept apart by its attention mask. Legend: B rows, T tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from korformer.model.config import ModelConfig
from korformer.model.draws import TrainingDraw
from korformer.model.heads import Head, HeadSpec, make_head
from korformer.randomness import seed_of

DROPOUT = 0.1
"""As BERT has it."""


class DenseBert(nn.Module):
    """BERT with the width, depth, heads and vocabulary of a korformer model.

    Args:
        config: the shape; its window is the length of BERT's table of positions.
        vocabulary_size: tokens.
        heads: of the task.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, heads: Mapping[str, HeadSpec]) -> None:
        super().__init__()
        self.config = config.model_copy(update={"attention": "full", "attention_layers": None, "segments": 2})
        self.vocabulary_size = vocabulary_size
        self.bert = BertModel(
            BertConfig(
                vocab_size=vocabulary_size,
                hidden_size=config.dim,
                num_hidden_layers=config.depth,
                num_attention_heads=config.heads,
                intermediate_size=config.dim * config.ff_mult,
                max_position_embeddings=config.max_seq_len,
                hidden_dropout_prob=DROPOUT,
                attention_probs_dropout_prob=DROPOUT,
            ),
            add_pooling_layer=False,
        )
        self.task_heads = nn.ModuleDict({name: make_head(spec, config.dim) for name, spec in heads.items()})

    @property
    def heads(self) -> Mapping[str, Head]:
        """The heads by name."""
        return dict(self.task_heads.items())  # type: ignore[arg-type]

    @property
    def lm(self) -> nn.Module:
        """What is trained."""
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Every weight by BERT's own rule, as a function of the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                elif "LayerNorm" in name:
                    parameter.fill_(1.0)
                else:
                    parameter.normal_(0.0, 0.02)

    def forward(
        self,
        tokens_BT: Tensor,
        *,
        documents_BT: Tensor,
        positions_BT: Tensor,
        segments_BT: Tensor,
        draw: TrainingDraw | None = None,
        reversible: bool = False,
    ) -> Tensor:
        """Hidden states (B, T, D)."""
        if draw is not None:  # dropout by the step's key, so that a run that goes on does what it would have done
            torch.manual_seed(seed_of("dropout", draw.seed, draw.step, draw.samples.start))
        same_B1TT = documents_BT[:, None, :, None] == documents_BT[:, None, None, :]
        hidden: Tensor = self.bert(
            input_ids=tokens_BT,
            attention_mask=torch.where(same_B1TT, 0.0, torch.finfo(torch.float32).min),
            position_ids=positions_BT,
            token_type_ids=segments_BT,
        ).last_hidden_state
        return hidden
