"""What a model attends to, and what could have stood at a place: for the lens and for alternatives.

Legend: T tokens that were read.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from korformer.events import Listener, ignore
from korformer.generation.context import never, window_start
from korformer.generation.settings import SamplingSettings
from korformer.model.decode import DecodeState
from korformer.writing import lens
from korformer.writing.draft import Draft
from korformer.writing.messages import Lens, Passage
from korformer.writing.reader import Reader, Writing
from korformer.writing.records import TokenRecord

PASSAGES = 12
"""Passages that a lens shows."""


def lens_of(reader: Reader, writing: Writing, written: list[str]) -> Lens | None:
    """What the model attended to when it wrote the newest token; None where it was not watched.

    Args:
        reader: who writes.
        writing: a generation.
        written: the characters of each token so far, the newest one included.
    """
    state = writing.window.state
    if not isinstance(state, DecodeState) or not state.watch or state.length == 0:
        return None
    try:
        weights_T = lens.mean_attention(state.attention, reader.depth)
    except ValueError:
        return None
    new_ends = writing.at + np.cumsum([len(text) for text in written], dtype=np.int64)
    if writing.between:
        # What follows the gap moves on as the gap is filled.
        shift = int(new_ends[-1]) - writing.at
        behind = writing.starts >= writing.at
        starts, ends = writing.starts + shift * behind, writing.ends + shift * behind
        text = writing.text[: writing.at] + "".join(written) + writing.text[writing.at :]
    else:
        starts, ends, text = writing.starts, writing.ends, writing.text + "".join(written)
    starts = np.concatenate([starts, [writing.at], new_ends[:-1]])
    ends = np.concatenate([ends, new_ends])
    missing = max(0, writing.window.start + len(weights_T) - len(ends))  # held back: they may be a stop string
    starts, ends = np.pad(starts, (0, missing)), np.pad(ends, (0, missing))
    seen = slice(writing.window.start, writing.window.start + len(weights_T))
    offset = int(new_ends[-2]) if len(new_ends) > 1 else writing.at
    return Lens(offset=offset, passages=_shown(text, weights_T, starts[seen], ends[seen]))


def inspect(
    reader: Reader,
    draft: Draft,
    offset: int,
    settings: SamplingSettings,
    candidates: int,
    *,
    listen: Listener = ignore,
    cancelled: Callable[[], bool] = never,
) -> tuple[int, int, TokenRecord, Lens]:
    """What could have stood at `offset`, and what the model attends to there, whoever wrote the text.

    It sees the text before that place only, also where the token filled a gap.

    Returns:
        Characters of the token that stands there, the token with its candidates, and the attention. At the end of
        the text both places are that, and the token is the likeliest one.

    Raises:
        Cancelled: on request.
    """
    end_of_text = offset >= len(draft.text)
    tokenized = reader.tokenize_all(draft)
    place = len(tokenized.ids) if end_of_text else tokenized.token_at(offset)
    prefix = tokenized.ids[:place]
    state, scores = _peek(reader, prefix, listen, cancelled)
    draw = reader.sampler.draw(
        scores,
        prefix,
        settings,
        seed=0,
        alternatives=max(1, candidates),
        only=reader.sampler.begins_with_space if end_of_text and tokenized.space_owed else None,
        chosen=None if place == len(tokenized.ids) else tokenized.ids[place],
    )
    first = window_start(len(prefix), reader.window.window_tokens)
    starts = np.concatenate([[0], tokenized.ends[:-1]])[first:place]
    weights_T = lens.mean_attention(state.attention, reader.depth)
    seen = Lens(
        offset=tokenized.start(place) if not end_of_text else len(draft.text),
        passages=_shown(draft.text, weights_T, starts, tokenized.ends[first:place]),
    )
    if place == len(tokenized.ids):
        likeliest = draw.alternatives[0].token_id
        record = reader.record_of(draw, likeliest, reader.sampler.pieces[likeliest].decode("utf-8", "ignore"))
        return len(draft.text), len(draft.text), record, seen
    behind = place
    while behind + 1 < len(tokenized.ids) and tokenized.ends[behind] == tokenized.start(place):
        behind += 1
    start, end = tokenized.start(place), int(tokenized.ends[behind])
    return start, end, reader.record_of(draw, tokenized.ids[place], draft.text[start:end]), seen


def _peek(
    reader: Reader, prefix: list[int], listen: Listener, cancelled: Callable[[], bool]
) -> tuple[DecodeState, Tensor]:
    """A state that has read `prefix` and watched its last token, and the scores behind it."""
    start = window_start(len(prefix), reader.window.window_tokens)
    window = reader.window
    if start != window.start:
        # What the text is written on with stays as it is.
        window = reader.aside
    if window.shared_with(prefix) < len(prefix) - start - 1:
        window.read(prefix, listen=listen, cancelled=cancelled)
    assert isinstance(window.state, DecodeState)
    state = window.state.fork()
    state.rewind(len(prefix) - start - 1)
    state.watch = True
    return state, state.append(prefix[-1:])


def _shown(
    text: str, weights_T: NDArray[np.float64], starts_T: NDArray[np.int64], ends_T: NDArray[np.int64]
) -> tuple[Passage, ...]:
    # A token without anything to attend to gives its weight to itself, which is no earlier passage.
    earlier = slice(0, len(weights_T) - 1)
    return lens.passages(text, weights_T[earlier], starts_T[earlier], ends_T[earlier], most=PASSAGES)
