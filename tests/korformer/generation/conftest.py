"""A small vocabulary and a small model whose every score can be worked out by hand."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

import pytest
import torch

from korformer.randomness import normal

SPECIAL = 5
PIECES = ["안녕", "하세요", " ", "나무", "가", "는", "\n", "끝", "ab", "abc", "가나다", "👍"]


class ToyVocabulary:
    """Five special tokens, the 256 bytes, and a few longer pieces; the longest that fits is taken."""

    scheme = "lossless"

    def __init__(self, pieces: Sequence[str | bytes] = PIECES) -> None:
        longer = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
        self._pieces = [b""] * SPECIAL + [bytes([byte]) for byte in range(256)] + longer

    @property
    def size(self) -> int:
        return len(self._pieces)

    def token_bytes(self, token_id: int) -> bytes:
        return self._pieces[token_id]

    def id_of(self, piece: str | bytes) -> int:
        return self._pieces.index(piece.encode() if isinstance(piece, str) else piece, SPECIAL)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        assert not add_special_tokens
        assert unicodedata.is_normalized("NFC", text)
        data, ids = text.encode(), []
        by_length = sorted(range(SPECIAL, self.size), key=lambda token: -len(self._pieces[token]))
        while data:
            token = next(token for token in by_length if data.startswith(self._pieces[token]))
            ids.append(token)
            data = data[len(self._pieces[token]) :]
        return ids


class ToyState:
    """Scores are a function of every token read; the calls are kept."""

    def __init__(self, model: ToyModel) -> None:
        self.model = model
        self.max_tokens = model.max_tokens
        self.tokens: list[int] = []
        self.appended: list[int] = []

    @property
    def length(self) -> int:
        return len(self.tokens)

    def append(self, token_ids: Sequence[int], *, progress: Callable[[int, int], None] | None = None) -> torch.Tensor:
        assert token_ids
        assert len(self.tokens) + len(token_ids) <= self.max_tokens
        self.appended.append(len(token_ids))
        for done, token in enumerate(token_ids, start=1):
            self.tokens.append(token)
            if progress is not None:
                progress(done, len(token_ids))
        return self.model.scores(self.tokens)

    def rewind(self, length: int) -> None:
        assert 0 <= length <= len(self.tokens)
        del self.tokens[length:]


class ToyModel:
    """Scores by `rule`; without one they are drawn by the whole text."""

    def __init__(
        self, size: int, max_tokens: int = 64, rule: Callable[[Sequence[int]], torch.Tensor] | None = None
    ) -> None:
        self.size = size
        self.max_tokens = max_tokens
        self.rule = rule
        self.states: list[ToyState] = []

    def scores(self, tokens: Sequence[int]) -> torch.Tensor:
        if self.rule is not None:
            return self.rule(tokens)
        return torch.from_numpy(normal("toy", *tokens, shape=(self.size,))) * 3

    def new_state(self) -> ToyState:
        self.states.append(ToyState(self))
        return self.states[-1]


@pytest.fixture
def vocabulary() -> ToyVocabulary:
    return ToyVocabulary()


@pytest.fixture
def make_model(vocabulary: ToyVocabulary) -> Callable[..., ToyModel]:
    """Makes a model of the vocabulary: `make_model(max_tokens=…, rule=…)`."""
    return lambda **given: ToyModel(vocabulary.size, **given)


@pytest.fixture
def speller(vocabulary: ToyVocabulary) -> Callable[..., ToyModel]:
    """Makes a model that surely writes the given token ids after any prompt of `prompt_tokens`, then ends."""

    def make(ids: Sequence[int], *, prompt_tokens: int = 1, max_tokens: int = 64) -> ToyModel:
        def rule(tokens: Sequence[int]) -> torch.Tensor:
            place = len(tokens) - prompt_tokens
            scores = torch.zeros(vocabulary.size)
            scores[ids[place] if place < len(ids) else 3] = 50.0
            return scores

        return ToyModel(vocabulary.size, max_tokens, rule)

    return make
