"""Which tokens may come next so that the text is valid UTF-8, however its bytes are spread over tokens.

A tiny automaton reads bytes; its states say what the character begun so far still needs (RFC 3629, section 4: no
overlong forms, no surrogates, nothing above U+10FFFF). Running every token through it from every state once gives a
table of masks. UTF-8 synchronises itself, so the state after any text is found from its last three bytes alone.

Legend: V vocabulary, S states.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BOUNDARY = 0
"""State between two characters."""

REJECT = 8
"""State after bytes that begin no valid text."""

_STATES = 9
_ONE, _TWO, _THREE, _AFTER_E0, _AFTER_ED, _AFTER_F0, _AFTER_F4 = range(1, 8)


def _transitions() -> NDArray[np.uint8]:
    """Next state by state and byte, (S, 256) uint8."""
    table = np.full((_STATES, 256), REJECT, dtype=np.uint8)
    arcs = (
        (BOUNDARY, 0x00, 0x7F, BOUNDARY),
        (BOUNDARY, 0xC2, 0xDF, _ONE),
        (BOUNDARY, 0xE0, 0xE0, _AFTER_E0),
        (BOUNDARY, 0xE1, 0xEC, _TWO),
        (BOUNDARY, 0xED, 0xED, _AFTER_ED),
        (BOUNDARY, 0xEE, 0xEF, _TWO),
        (BOUNDARY, 0xF0, 0xF0, _AFTER_F0),
        (BOUNDARY, 0xF1, 0xF3, _THREE),
        (BOUNDARY, 0xF4, 0xF4, _AFTER_F4),
        (_ONE, 0x80, 0xBF, BOUNDARY),
        (_TWO, 0x80, 0xBF, _ONE),
        (_THREE, 0x80, 0xBF, _TWO),
        (_AFTER_E0, 0xA0, 0xBF, _ONE),
        (_AFTER_ED, 0x80, 0x9F, _ONE),
        (_AFTER_F0, 0x90, 0xBF, _TWO),
        (_AFTER_F4, 0x80, 0x8F, _TWO),
    )
    for state, first, last, following in arcs:
        table[state, first : last + 1] = following
    return table


TRANSITIONS = _transitions()


def advance(state: int, data: bytes) -> int:
    """The state after reading `data` in `state`."""
    for byte in data:
        state = int(TRANSITIONS[state, byte])
    return state


def unfinished(data: bytes) -> bytes:
    """The bytes at the end of `data` that begin a character without finishing it; empty where there are none."""
    for count in range(1, min(3, len(data)) + 1):
        lead = data[-count]
        if lead >= 0xC0:
            return data[-count:] if advance(BOUNDARY, data[-count:]) not in {BOUNDARY, REJECT} else b""
        if lead < 0x80:
            break
    return b""


class ContinuationTable:
    """For every state the tokens that may follow.

    Args:
        pieces: bytes that each token adds to the text; b"" for tokens that are no text.
        end_id: the token that ends a document: allowed between characters, though it is no text.
    """

    def __init__(self, pieces: Sequence[bytes], *, end_id: int) -> None:
        self._pieces = pieces
        after_SV = _run_all(pieces)
        allowed = after_SV != REJECT
        allowed[:, [not piece for piece in pieces]] = False
        allowed[BOUNDARY, end_id] = True
        self._allowed_SV = torch.from_numpy(allowed)

    def allowed(self, state: int) -> Tensor:
        """Which tokens may follow in `state`, (V,) bool. Not to be changed."""
        return self._allowed_SV[state]

    def unfinished(self, tokens: Sequence[int]) -> bytes:
        """The bytes of a character that `tokens` begin at their end without finishing it."""
        tail = b""
        for token in reversed(tokens):
            piece = self._pieces[token]
            tail = piece + tail
            if not piece or len(tail) >= 3:  # a token that is no text ends every character
                break
        return unfinished(tail)


def _run_all(pieces: Sequence[bytes]) -> NDArray[np.uint8]:
    """The state after each token from each state but REJECT, (S - 1, V) uint8."""
    after = np.repeat(np.arange(REJECT, dtype=np.uint8)[:, None], len(pieces), axis=1)
    lengths = np.array([len(piece) for piece in pieces])
    # Longest first, so that the tokens with an n-th byte are always a block at the front.
    order = np.argsort(-lengths, kind="stable")
    sorted_after = after[:, order]
    for index in range(int(lengths.max(initial=0))):
        block = int(np.count_nonzero(lengths > index))
        column = np.frombuffer(_bytes_at(index, (pieces[token] for token in order[:block])), dtype=np.uint8)
        sorted_after[:, :block] = TRANSITIONS[sorted_after[:, :block], column]
    after[:, order] = sorted_after
    return after


def _bytes_at(index: int, pieces: Iterable[bytes]) -> bytes:
    return bytes(piece[index] for piece in pieces)
