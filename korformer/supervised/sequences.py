"""Texts, and pairs of texts, as windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from korformer.supervised.batches import Window
from korformer.text.special import CLS_ID, SEP_ID

if TYPE_CHECKING:
    from korformer.supervised.task import Reader

_ENCODED_AT_ONCE = 1024


def single_windows(texts: Sequence[str], reader: Reader, targets: Sequence[Any]) -> list[Window]:
    """[CLS] text [SEP] of each text; one that is longer than a window has as many as it needs, of like length.

    Args:
        texts: any, also empty ones.
        reader: vocabulary and lengths.
        targets: of each text; every window of a text has its target.
    """
    windows = []
    room = reader.max_tokens - 2
    for number, ids in enumerate(_encoded(texts, reader)):
        count = max(1, -(-len(ids) // room))
        for part in np.array_split(np.array(ids, np.int64), count):
            tokens = np.concatenate([[CLS_ID], part, [SEP_ID]]).astype(np.int64)
            windows.append(Window(example=number, tokens=tokens, target=targets[number]))
    return windows


def pair_windows(firsts: Sequence[str], seconds: Sequence[str], reader: Reader, targets: Sequence[Any]) -> list[Window]:
    """[CLS] first [SEP] second [SEP], the second one segment 1; the longer of the two is cut until both fit."""
    windows = []
    room = reader.max_tokens - 3
    pairs = zip(_encoded(firsts, reader), _encoded(seconds, reader), strict=True)
    for number, (one, two) in enumerate(pairs):
        keep_one, keep_two = shared_room(len(one), len(two), room)
        first, second = one[:keep_one], two[:keep_two]
        tokens = np.array([CLS_ID, *first, SEP_ID, *second, SEP_ID], np.int64)
        segments = np.repeat(np.array([0, 1], np.int64), [len(first) + 2, len(second) + 1])
        windows.append(Window(example=number, tokens=tokens, segments=segments, target=targets[number]))
    return windows


def shared_room(one: int, two: int, room: int) -> tuple[int, int]:
    """How much of two lengths fits: the longer one gives way until they are equal, then both."""
    if one + two <= room:
        return one, two
    half = room // 2
    if one <= half:
        return one, room - one
    if two <= half:
        return room - two, two
    return room - half, half


def _encoded(texts: Sequence[str], reader: Reader) -> list[list[int]]:
    ids: list[list[int]] = []
    for begin in range(0, len(texts), _ENCODED_AT_ONCE):
        ids += reader.vocabulary.encode_batch(texts[begin : begin + _ENCODED_AT_ONCE])
    return ids
