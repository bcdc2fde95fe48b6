"""Vocabularies and stores small enough to be thought through."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from korformer.data.store import TokenStore, build_store


class Syllables:
    """A vocabulary of one token a syllable, its id 5 more than its place after 가; all else is [UNK]."""

    def __init__(self, size: int = 12_000, fingerprint: str = "syllables") -> None:
        self.size = size
        self.fingerprint = fingerprint
        self.calls: list[int] = []

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[list[int]]:
        assert not add_special_tokens
        self.calls.append(sum(map(len, texts)))
        return [[self._id(character) for character in text] for text in texts]

    def _id(self, character: str) -> int:
        place = 5 + ord(character) - ord("가")
        return place if 5 <= place < self.size else 1


@pytest.fixture
def vocabulary() -> Syllables:
    return Syllables()


@pytest.fixture
def make_vocabulary() -> Callable[..., Syllables]:
    return Syllables


def text_of(length: int, first: int) -> str:
    return "".join(chr(ord("가") + (first + 7 * index) % 900) for index in range(length))


StoreMaker = Callable[[Iterable[int]], TokenStore]


@pytest.fixture
def make_store(tmp_path: Path, vocabulary: Syllables) -> StoreMaker:
    """Makes a store of documents with the given numbers of characters (tokens: two more)."""

    def make(lengths: Iterable[int]) -> TokenStore:
        texts = (text_of(length, 31 * index) for index, length in enumerate(lengths))
        return build_store(texts, vocabulary, tmp_path / "store", replace=True)

    return make


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power cut comes: syncing would only make the tests slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
