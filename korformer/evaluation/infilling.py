"""How well a model fills gaps: bits per character of middles, whose prefix and suffix it was shown.

A middle is 1 to 16 words somewhere in a held-out text, with up to half a context of text before it and the rest behind
it. Only its own tokens count, not the [SEP] that ends it, so that the figures of both orders compare with that of the
same model reading left to right: what it says of the same tokens when it knows only the prefix. The difference is what
the suffix tells. Middles begin and end between words here, where the tokens of all three are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from korformer.data.cutting import LosslessEncoder
from korformer.data.infilling import lay_out
from korformer.errors import InputError
from korformer.evaluation.language_model import token_characters
from korformer.evaluation.sampling import TokenDocuments
from korformer.evaluation.scoring import LanguageModel, evaluating, score
from korformer.evaluation.windows import IGNORED, Segment
from korformer.randomness import uniform
from korformer.text.vocabulary import CLS_ID

Order = Literal["prefix_first", "suffix_first", "left_to_right"]

MOST_WORDS = 16
"""Words of the longest middle."""

_LEAST_WORDS = 8
"""Words of the shortest piece of text that a middle is taken from."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A piece of a document with a middle.

    Attributes:
        prefix, middle, suffix: tokens, (n,) int64.
        begins: the prefix begins its document.
    """

    prefix: NDArray[np.int64]
    middle: NDArray[np.int64]
    suffix: NDArray[np.int64]
    begins: bool


def sample_gaps(
    store: TokenDocuments, vocabulary: LosslessEncoder, *, examples: int, context_tokens: int, seed: int = 0
) -> list[Gap]:
    """Gaps at places of a store drawn uniformly among its tokens; the same ones for the same arguments.

    Args:
        store: held-out text.
        vocabulary: of the store, lossless.
        examples: how many to draw; pieces of fewer than eight words give none.
        context_tokens: most tokens of a piece, what marks it in either order included.
        seed: of the draws.

    Raises:
        InputError: not one piece of the store is long enough.
    """
    spans = store.spans(np.arange(store.documents, dtype=np.int64))
    begins_word = np.array([vocabulary.token_bytes(token)[:1] == b" " for token in range(vocabulary.size)])
    ends_white = np.array([vocabulary.token_bytes(token)[-1:].isspace() for token in range(vocabulary.size)])
    draws = uniform("gaps", seed, shape=(examples, 3))
    most = context_tokens - 4  # [CLS], two [MASK] and [SEP]
    gaps = []
    for place, first, words in draws.tolist():
        at = int(place * store.tokens)
        begin, end = spans[np.searchsorted(spans[:, 1], at, side="right")]
        begin, end = int(begin) + 1, int(end) - 1  # without [CLS] and [SEP]
        start = max(begin, min(at - most // 2, end - most))
        ids = store.read(np.array([start]), np.array([min(end, start + most)])).astype(np.int64)
        bounds = np.flatnonzero(begins_word[ids[1:]] & ~ends_white[ids[:-1]]) + 1
        if len(bounds) < _LEAST_WORDS:
            continue
        low = int(first * (len(bounds) - 1))
        high = min(len(bounds) - 1, low + 1 + int(words * MOST_WORDS))
        prefix, middle, suffix = np.split(ids, [bounds[low], bounds[high]])
        gaps.append(Gap(prefix=prefix, middle=middle, suffix=suffix, begins=start == begin))
    if not gaps:
        raise InputError("no text is long enough to have a gap", hint="Give a longer held-out text.")
    return gaps


def middle_bits(
    model: LanguageModel, vocabulary: LosslessEncoder, gaps: list[Gap], order: Order, *, batch_tokens: int = 8192
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Bits and characters of every middle, (n,) each, in the order of `gaps`.

    Args:
        model: put in evaluation mode for the time being; its window holds the pieces.
        vocabulary: its own, lossless.
        gaps: what to fill.
        order: what it is shown: both texts in one of the orders of training, or the prefix alone.
        batch_tokens: tokens of one forward pass.

    Raises:
        DivergedError: the model's probabilities are not finite.
    """
    characters_V = token_characters(vocabulary)
    assert characters_V is not None
    bits = np.zeros(len(gaps))
    with evaluating(model):
        scored = score(model, _segments(gaps, order), row_tokens=model.config.max_seq_len, batch_tokens=batch_tokens)
        for segment, losses in scored:
            bits[segment.document] = losses[segment.targets != IGNORED].sum() / np.log(2)
    return bits, np.array([int(characters_V[gap.middle].sum()) for gap in gaps])


def _segments(gaps: list[Gap], order: Order) -> Iterator[Segment]:
    for number, gap in enumerate(gaps):
        size = len(gap.middle)
        if order == "left_to_right":
            start = [CLS_ID] if gap.begins else []
            ids = np.concatenate([np.array(start, np.int64), gap.prefix, gap.middle])
            inputs, targets = ids[:-1], ids[1:].copy()
        else:
            slots = int(gap.begins) + len(gap.prefix) + size + len(gap.suffix) + 3
            laid = lay_out(
                gap.prefix,
                gap.middle,
                gap.suffix,
                slots=slots,
                begins=gap.begins,
                suffix_first=order == "suffix_first",
            )
            assert laid is not None
            inputs, targets = laid
            targets = np.append(targets[:-1], IGNORED)  # not the [SEP]
            size += 1
        targets[: len(targets) - size] = IGNORED
        yield Segment(document=number, start=0, inputs=inputs, targets=targets)
