"""Fill in the middle: pieces of documents written in an order that shows a model what comes after a gap.

A piece is what a pack holds of one document. Cut at two characters it is prefix, middle and suffix, and a share of the
pieces is laid out anew (Bavarian et al., "Efficient training of language models to fill in the middle", 2022):

    prefix–suffix–middle   [CLS] prefix [MASK] suffix [MASK] middle [SEP]
    suffix–prefix–middle   [CLS] [MASK] suffix [MASK] prefix middle [SEP]

No token is added to the vocabulary: [MASK] stands in no other text of a model that predicts the next token. [SEP] ends
the middle here, as it ends a document elsewhere; so a piece laid out anew always ends in it, also where the pack cut
its document. A piece that goes on with a document of an earlier pack has no [CLS] in either order.

The cuts are drawn among characters and not among tokens, and the three texts have the tokens that they have when each
is encoded alone: a writer's cursor stands inside words too. `korformer.data.cutting` does that, for lossless
vocabularies only.

A piece keeps its slots. What it outgrows them by, usually three or four tokens, is left out at the end of the suffix,
and where that does not do, at the beginning of the prefix, [CLS] first: text in the middle of a document never seems to
begin it. Pieces of fewer than 16 tokens stay as they are, and so do the rare ones whose middle leaves no room, or whose
new tokens are fewer than the old ones.

Not every token is predicted. [MASK] itself is not: where it comes is the writer's choice. Nor is the first token of a
suffix: it begins at a character drawn at random, often inside a word, and what could be learnt from it is to write on
with half a word after nothing. Nor, in the second order, the first token of a prefix that does not begin its document,
as with every piece that goes on with one. The first token of the middle is predicted; going on inside a word is the
point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from korformer.data.cutting import LosslessEncoder, Parts, PieceCutter
from korformer.data.packing import NO_TARGET, Packs
from korformer.randomness import uniform
from korformer.text.vocabulary import CLS_ID, MASK_ID, SEP_ID

LEAST_TOKENS = 16
"""Shorter pieces stay as they are."""

_CLS, _SEP, _MASK = (np.array([token_id], np.int64) for token_id in (CLS_ID, SEP_ID, MASK_ID))


class Infilling:
    """Lays a share of the pieces in packs out anew.

    What becomes of a piece is drawn by (seed, number of its pack, its number in the pack): it does not hang on batch,
    number of processes or where a run was resumed.

    Args:
        vocabulary: made the tokens.
        rate: share of pieces, 0 to 1.
        spm_share: share of those in the order suffix–prefix–middle, 0 to 1.
        seed: of the draws.

    Raises:
        UsageError: the vocabulary is not lossless.
    """

    def __init__(self, vocabulary: LosslessEncoder, *, rate: float, spm_share: float, seed: int) -> None:
        self._cutter = PieceCutter(vocabulary)
        self._rate = rate
        self._spm_share = spm_share
        self._seed = seed

    def __call__(self, packs: Packs, numbers: NDArray[np.int64]) -> None:
        """Change the tokens and targets of `packs` in place.

        Args:
            packs: B of them, filled.
            numbers: (B,) what number each of them has among all packs of the run.
        """
        places: list[tuple[int, int, int, bool]] = []
        cut: list[Parts] = []
        for row, number in enumerate(numbers.tolist()):
            bounds = _piece_bounds(packs.documents[row])
            draws = uniform("infilling", self._seed, number, shape=(len(bounds) - 1, 4))
            for piece in np.flatnonzero(draws[:, 0] < self._rate).tolist():
                begin, end = bounds[piece], bounds[piece + 1]
                if end - begin + 1 < LEAST_TOKENS:
                    continue
                ids = _text_of(packs, row, begin, end)
                parts = self._cutter.cut(ids, *draws[piece, 2:].tolist())
                if parts is not None:
                    places.append((row, begin, end, bool(draws[piece, 1] < self._spm_share)))
                    cut.append(parts)
        for (row, begin, end, suffix_first), parts_tokens in zip(places, self._cutter.tokens(cut), strict=True):
            laid = lay_out(
                *parts_tokens,
                slots=end - begin + 1,
                begins=packs.tokens[row, begin] == CLS_ID,
                suffix_first=suffix_first,
            )
            if laid is not None:
                tokens, targets = laid
                packs.tokens[row, begin:end] = tokens
                packs.targets[row, begin:end] = targets


def lay_out(
    prefix: NDArray[np.int64],
    middle: NDArray[np.int64],
    suffix: NDArray[np.int64],
    *,
    slots: int,
    begins: bool,
    suffix_first: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Inputs and targets of a piece in the new order, (slots - 1,) int64 each; None where it cannot fill the slots.

    Args:
        prefix, middle, suffix: tokens of each, (n,).
        slots: inputs and the last one's target.
        begins: the prefix begins its document.
        suffix_first: the order suffix–prefix–middle, else prefix–suffix–middle.
    """
    excess = int(begins) + len(prefix) + len(middle) + len(suffix) + 3 - slots
    from_suffix = min(excess, len(suffix))
    from_front = excess - from_suffix
    if excess < 0 or from_front > int(begins) + len(prefix):
        return None
    suffix = suffix[: len(suffix) - from_suffix]
    begins, from_prefix = begins and not from_front, max(0, from_front - int(begins))
    prefix = prefix[from_prefix:]
    sequence, unpredicted = (_suffix_first if suffix_first else _prefix_first)(prefix, middle, suffix, begins)
    targets = sequence[1:].copy()
    targets[targets == MASK_ID] = NO_TARGET
    targets[np.array(unpredicted, dtype=np.int64) - 1] = NO_TARGET
    return sequence[:-1], targets


def _prefix_first(
    prefix: NDArray[np.int64], middle: NDArray[np.int64], suffix: NDArray[np.int64], begins: bool
) -> tuple[NDArray[np.int64], list[int]]:
    """The order prefix–suffix–middle, and the places in it that are not predicted."""
    sequence = np.concatenate([_start(begins), prefix, _MASK, suffix, _MASK, middle, _SEP])
    return sequence, [int(begins) + len(prefix) + 1]


def _suffix_first(
    prefix: NDArray[np.int64], middle: NDArray[np.int64], suffix: NDArray[np.int64], begins: bool
) -> tuple[NDArray[np.int64], list[int]]:
    """The order suffix–prefix–middle, and the places in it that are not predicted."""
    sequence = np.concatenate([_start(begins), _MASK, suffix, _MASK, prefix, middle, _SEP])
    suffix_place = int(begins) + 1
    prefix_place = suffix_place + len(suffix) + 1
    return sequence, [suffix_place] if begins or not len(prefix) else [suffix_place, prefix_place]


def _start(begins: bool) -> NDArray[np.int64]:
    return _CLS[: int(begins)]


def _piece_bounds(documents: NDArray[np.int32]) -> list[int]:
    """Where the pieces of a pack begin, and where the last one ends: (L,) -> pieces + 1 places."""
    filled = int((documents >= 0).sum())
    begins = np.flatnonzero(np.diff(documents[:filled], prepend=-1))
    return [*begins.tolist(), filled]


def _text_of(packs: Packs, row: int, begin: int, end: int) -> NDArray[np.int64]:
    """The tokens of a piece's text: inputs and the last target without [CLS] and [SEP]."""
    ids = np.append(packs.tokens[row, begin:end], packs.targets[row, end - 1])
    return ids[int(ids[0] == CLS_ID) : len(ids) - int(ids[-1] == SEP_ID)]
