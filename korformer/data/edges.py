"""Where words, lines and sentences begin and end, told from tokens alone: a token store knows no more than documents.

What a token adds to the text tells it. A token that begins with white space begins a word, and so does one after white
space. A line ends with a line break. A sentence ends with . ? ! … or 。, perhaps a closing quotation mark or bracket,
where white space follows: `3.14` is not cut, an abbreviation may be. A `bert` vocabulary has lost the
white space of the text; there the spaces count that its decoder writes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from korformer.text.special import SPECIAL_TOKENS

_CLOSING = r"['\"’”」』》〉)\]]"
_SENTENCE_END = re.compile(rf"[.?!…。]{_CLOSING}*\s*\Z")
_ONLY_CLOSING = re.compile(rf"{_CLOSING}+\Z")
_MOST_CLOSING = 3
"""Tokens of nothing but closing marks that may stand between a full stop and the white space after it."""

Flags = NDArray[np.bool_]
Ids = NDArray[np.integer]


class TokenTexts(Protocol):
    """What is asked of a vocabulary; `korformer.text.vocabulary.Vocabulary` is one."""

    @property
    def size(self) -> int:
        """Number of tokens."""

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 bytes that a token adds to the text."""


@dataclass(frozen=True, eq=False)
class TokenEdges:
    """Finds words and sentences in the ids of one vocabulary.

    Args:
        vocabulary: of the ids.
    """

    vocabulary: TokenTexts

    @cached_property
    def _texts(self) -> list[str]:
        ids = range(self.vocabulary.size)
        return [self.vocabulary.token_bytes(token_id).decode("utf-8", errors="replace") for token_id in ids]

    @cached_property
    def _begins_with_space(self) -> Flags:
        return np.array([text[:1].isspace() for text in self._texts])

    @cached_property
    def _ends_with_space(self) -> Flags:
        return np.array([text[-1:].isspace() for text in self._texts])

    @cached_property
    def _begins_with_break(self) -> Flags:
        return np.array([text[:1] in {"\n", "\r"} and text != "" for text in self._texts])

    @cached_property
    def _ends_with_break(self) -> Flags:
        return np.array([text[-1:] in {"\n", "\r"} and text != "" for text in self._texts])

    @cached_property
    def _ends_sentence(self) -> Flags:
        return np.array([_SENTENCE_END.search(text) is not None for text in self._texts])

    @cached_property
    def _only_closes(self) -> Flags:
        return np.array([_ONLY_CLOSING.match(text) is not None for text in self._texts])

    def word_begins(self, ids: Ids) -> Flags:
        """Which tokens begin a word: (…, n) ids -> (…, n). The first does, and special tokens are words of their own.

        White space without a word after it in its token is a word as well.
        """
        special = ids < len(SPECIAL_TOKENS)
        begins = self._begins_with_space[ids] | special
        begins[..., 1:] |= self._ends_with_space[ids[..., :-1]] | special[..., :-1]
        begins[..., 0] = True
        return begins

    def sentence_begins(self, ids: Ids) -> NDArray[np.int64]:
        """Places in the ids (n,) of a stretch of text before which a sentence or line ends; 0 is not among them."""
        before, after = ids[:-1], ids[1:]
        after_line = self._ends_with_break[before] & ~self._begins_with_break[after]
        ended = self._ends_sentence[before]
        for _ in range(_MOST_CLOSING):
            ended[1:] |= self._only_closes[before[1:]] & ended[:-1]
        after_sentence = (
            ended & (self._begins_with_space[after] | self._ends_with_space[before]) & ~self._begins_with_break[after]
        )
        return np.flatnonzero(after_line | after_sentence) + 1
