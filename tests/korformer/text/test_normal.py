"""Places in a text and in its NFC belong together."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korformer.text.normal import NormalText

PIECES = [
    "한",
    "강",
    "값",
    "가",
    *unicodedata.normalize("NFD", "한값"),
    "a",
    "e\u0301",
    "\u0301",
    "\u0327",
    " ",
    "\u212b",
]
pieces = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def test_a_text_in_nfc_has_the_places_it_has() -> None:
    text = NormalText("한강은 흐른다")
    assert text.normal == text.original
    assert text.to_normal(1, 5) == text.to_original(1, 5) == (1, 5)


@pytest.mark.parametrize("word", ["한강", "제주도", "값", "café", "1975년"])
def test_a_word_is_found_again_in_either_form(word: str) -> None:
    composed = f"옛날 {word}에서 온 사람"
    text = NormalText(unicodedata.normalize("NFD", composed))
    spelt = unicodedata.normalize("NFD", word)
    start = text.original.index(spelt)
    assert text.to_normal(start, start + len(spelt)) == (3, 3 + len(word))
    assert text.to_original(3, 3 + len(word)) == (start, start + len(spelt))


def test_half_a_syllable_becomes_the_whole() -> None:
    text = NormalText(unicodedata.normalize("NFD", "강물"))
    assert len(text.original) == 6
    assert text.to_normal(1, 2) == (0, 1)
    assert text.to_normal(2, 4) == (0, 2)


@given(pieces)
def test_stretches_of_the_nfc_come_from_stretches_that_compose_to_them(original: str) -> None:
    text = NormalText(original)
    assert text.normal == unicodedata.normalize("NFC", original)
    for start in range(len(text.normal)):
        for end in range(start + 1, len(text.normal) + 1):
            first, last = text.to_original(start, end)
            composed = unicodedata.normalize("NFC", original[first:last])
            back = text.to_normal(first, last)
            assert back[0] <= start
            assert end <= back[1]
            assert composed == text.normal[back[0] : back[1]]
    assert text.to_original(0, len(text.normal)) == (0, len(original))
