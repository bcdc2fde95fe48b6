"""From windows of token ids to what the model reads in one pass.

Short windows stand behind each other in one row, each a document to itself: attention never crosses from one to
another, so a pass is full of text and not of padding. Tasks do not see that: they get the hidden states window by
window.

Legend: W windows, B rows, T tokens of a row, L tokens of the longest window, D model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from korformer.text.special import PAD_ID

ROW_TOKENS = 512
"""Short windows share a row of about this many tokens; a longer window has one of its own length."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """What the model reads at once of an example; one example may have several.

    Attributes:
        example: the example's number among those it was made from.
        tokens: (n,) int64 ids, special ones among them.
        segments: (n,) int64, BERT's A and B (0 and 1); None where all is 0.
        target: what the task's loss wants to know of it; None without a label.
        origin: what the task needs to find its way back into the text.
    """

    example: int
    tokens: NDArray[np.int64]
    segments: NDArray[np.int64] | None = None
    target: Any = None
    origin: Any = None

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Windows as one pass of the model.

    Attributes:
        windows: in the order of the W dimension of what tasks get.
        tokens_BT: int64; padding is [PAD].
        documents_BT: int64, number of the window in its row; -1 on padding, which nothing attends to.
        positions_BT: int64, position in its window.
        segments_BT: int64.
        places_WL: int64, where each token of each window stands in the flattened rows; 0 beyond its end.
        mask_WL: bool, False beyond a window's end.
    """

    windows: tuple[Window, ...]
    tokens_BT: Tensor
    documents_BT: Tensor
    positions_BT: Tensor
    segments_BT: Tensor
    places_WL: Tensor
    mask_WL: Tensor

    @property
    def lengths(self) -> Tensor:
        """(W,) int64."""
        return self.mask_WL.sum(dim=1)

    @property
    def real_tokens(self) -> int:
        """Tokens that are no padding."""
        return sum(map(len, self.windows))

    def by_window(self, hidden_BTD: Tensor) -> Tensor:
        """(W, L, D) hidden states of each window; zero beyond its end."""
        hidden_WLD = hidden_BTD.flatten(0, 1)[self.places_WL]
        return hidden_WLD * self.mask_WL[..., None].to(hidden_WLD.dtype)

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Batch(windows=self.windows, **tensors)


def collate(windows: Sequence[Window], *, share_rows: bool) -> Batch:
    """One pass of these windows.

    Args:
        windows: at least one.
        share_rows: put short ones into one row.
    """
    rows = _rows(windows, share_rows=share_rows)
    T = max(sum(len(windows[number]) for number in row) for row in rows)
    L = max(map(len, windows))
    tokens = np.full((len(rows), T), PAD_ID, np.int64)
    documents = np.full((len(rows), T), -1, np.int64)
    positions = np.zeros((len(rows), T), np.int64)
    segments = np.zeros((len(rows), T), np.int64)
    places = np.zeros((len(windows), L), np.int64)
    mask = np.zeros((len(windows), L), np.bool_)
    for row, numbers in enumerate(rows):
        start = 0
        for document, number in enumerate(numbers):
            window = windows[number]
            end = start + len(window)
            tokens[row, start:end] = window.tokens
            documents[row, start:end] = document
            positions[row, start:end] = np.arange(len(window))
            if window.segments is not None:
                segments[row, start:end] = window.segments
            places[number, : len(window)] = row * T + np.arange(start, end)
            mask[number, : len(window)] = True
            start = end
    arrays = (tokens, documents, positions, segments, places, mask)
    names = ("tokens_BT", "documents_BT", "positions_BT", "segments_BT", "places_WL", "mask_WL")
    tensors = {name: torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}
    return Batch(windows=tuple(windows), **tensors)


def passes(windows: Sequence[Window], *, pass_tokens: int, share_rows: bool) -> Iterator[list[int]]:
    """Numbers of the windows of each pass, windows of like length together, each pass at most `pass_tokens` with its
    padding (a longer window is a pass of its own).
    """
    order = sorted(range(len(windows)), key=lambda number: (len(windows[number]), number))
    chosen: list[int] = []
    tokens = 0
    for number in order:
        length = len(windows[number])
        now = tokens + length if share_rows else length * (len(chosen) + 1)
        if chosen and now > pass_tokens:
            yield chosen
            chosen, tokens = [], 0
        chosen.append(number)
        tokens += length
    if chosen:
        yield chosen


def _rows(windows: Sequence[Window], *, share_rows: bool) -> list[list[int]]:
    """Which windows stand in each row, the longest first into the first row that has room."""
    if not share_rows:
        return [[number] for number in range(len(windows))]
    lengths = [len(window) for window in windows]
    room = max([*lengths, min(ROW_TOKENS, sum(lengths))])
    rows: list[list[int]] = []
    free: list[int] = []
    for number in sorted(range(len(windows)), key=lambda number: (-len(windows[number]), number)):
        length = len(windows[number])
        row = next((row for row, left in enumerate(free) if left >= length), None)
        if row is None:
            rows.append([])
            free.append(room)
            row = len(rows) - 1
        rows[row].append(number)
        free[row] -= length
    return rows
