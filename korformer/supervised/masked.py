"""How well an encoder guesses hidden tokens of held-out text: the figures of its pretraining, on any text.

Tokens are hidden by a fixed key, so that two models of one vocabulary and window are asked for the same ones. Guesses
see both sides: the figures do not compare with those of a decoder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from korformer.config import Settings
from korformer.data.building import build_store
from korformer.events import Listener, ignore
from korformer.objectives import objective_named
from korformer.supervised.language_model import trained_objective
from korformer.supervised.weights import begin_weights

if TYPE_CHECKING:
    from korformer.model.directory import LoadedModel


class MaskedSettings(Settings):
    """How much is measured."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Most tokens of text, of windows in a fixed random order; all of it where it is not given."""


def measure_masked(
    loaded: LoadedModel, texts: Iterable[str], settings: MaskedSettings, listen: Listener = ignore
) -> Mapping[str, float]:
    """Accuracy and perplexity of hidden tokens, and of sentence pairs where the model learnt them.

    Args:
        loaded: an encoder of objective mlm.
        texts: documents, NFC.
        settings: how much of them.
        listen: hears Progress in tokens.

    Raises:
        InputError: there is no text.
        UsageError: the model was trained for another objective or a task; its directory does not hold all of that.
        ModelDirectoryError: it does not describe its objective. DivergedError: probabilities are not finite.
    """
    name, section = trained_objective(loaded)
    learner = objective_named(name).learner(loaded.model.config, section, loaded.vocabulary)
    learner.module.to(loaded.model.device)
    begin_weights(learner.model, loaded.model, 0, with_heads=True)
    with tempfile.TemporaryDirectory() as folder:
        store = build_store(texts, loaded.vocabulary, Path(folder, "tokens"), listen=listen)
        most = settings.max_tokens or store.tokens
        return learner.validate(store, loaded.vocabulary, max_tokens=most, listen=listen)
