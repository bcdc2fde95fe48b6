"""The sample text that a model in training writes."""

from __future__ import annotations

import torch

from korformer.model.backbone import ReformerModel
from korformer.text.vocabulary import Vocabulary


@torch.inference_mode()
def write_sample(model: ReformerModel, vocabulary: Vocabulary, *, prompt: str, tokens: int, seed: int) -> str:
    """A continuation of `prompt` with nucleus sampling, at most `tokens` tokens long."""
    raise NotImplementedError
