"""What a model has read, kept beside a session, so that reopening it does not read the text again.

A safetensors file with the tensors of `DecodeState.snapshot` and, as metadata, how many tokens of the text come before
them and the precision of the weights. It is as large as the keys and values of the tokens, so it holds no more of them
than fit a limit.
"""

from __future__ import annotations

from pathlib import Path

from korformer.errors import InputError, KorformerError
from korformer.generation.context import ContextWindow
from korformer.model.backbone import ReformerModel
from korformer.model.decode import DecodeState, Precision
from korformer.storage.tensors import load_tensors, save_tensors

LIMIT_BYTES = 512 << 20
"""Size of a file at most."""

_VERSION = "1"


def token_bytes(model: ReformerModel) -> int:
    """What a token takes in a file, roughly: its keys and values in every layer, and its buckets."""
    config = model.config
    number_bytes = int(model.lm.token_emb.weight.element_size())
    keys_values: int = 2 * config.heads * config.head_width * number_bytes
    buckets: int = 4 * config.heads * config.n_hashes
    return config.depth * (keys_values + buckets) + 8


def save(
    path: Path, window: ContextWindow, model: ReformerModel, weights: Precision, *, limit_bytes: int = LIMIT_BYTES
) -> int:
    """Write what a window has read; how many tokens that is, 0 where there was nothing to write.

    Raises:
        PathError, ResourceError: it cannot be written; what was there is intact.
    """
    state = window.state
    if not isinstance(state, DecodeState):
        raise TypeError("only the state of a model can be kept")
    tokens = min(state.length, limit_bytes // token_bytes(model))
    if tokens < 1:
        return 0
    if tokens < state.length:
        state = state.fork()
        state.rewind(tokens)
    facts = {"version": _VERSION, "start": str(window.start), "weights": weights}
    save_tensors(path, state.snapshot(), facts, private=True)
    return tokens


def restore(path: Path, window: ContextWindow, model: ReformerModel, weights: Precision) -> int:
    """Let a window go on with what was saved; how many tokens that is, 0 where nothing was or it is of another model.

    Raises:
        PathError: the file cannot be read. InputError: it is damaged.
    """
    if not path.exists():
        return 0
    try:
        tensors, facts = load_tensors(path)
    except KorformerError as error:
        raise InputError(error.what, where=str(path), hint="It is not needed: the text is read again.") from error
    if facts.get("version") != _VERSION or facts.get("weights") != weights or not facts.get("start", "").isdigit():
        return 0
    try:
        state = DecodeState.restore(model, tensors, weights)
    except InputError:
        return 0
    window.adopt(state, state.tokens, start=int(facts["start"]))
    return state.length
