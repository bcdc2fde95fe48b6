"""The sample text that a model in training writes."""

from __future__ import annotations

from korformer.generation.settings import SamplingSettings
from korformer.generation.stream import generate
from korformer.model.backbone import ReformerModel
from korformer.text.vocabulary import Vocabulary

TOP_P = 0.9


def write_sample(model: ReformerModel, vocabulary: Vocabulary, *, prompt: str, tokens: int, seed: int) -> str:
    """A continuation of `prompt` with nucleus sampling, at most `tokens` tokens long.

    Args:
        model: put into evaluation mode and left in it.
        vocabulary: the model's.
        prompt: what to go on from; nothing starts a document.
        tokens: most tokens.
        seed: the same one gives the same text.
    """
    settings = SamplingSettings(top_p=TOP_P, max_new_tokens=tokens, seed=seed)
    return "".join(token.text for token in generate(model.eval(), vocabulary, prompt, settings))
