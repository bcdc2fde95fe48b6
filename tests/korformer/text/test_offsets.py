"""Which characters a token stands for."""

from __future__ import annotations

import unicodedata

import pytest

from korformer.errors import InputError
from korformer.text.special import SPECIAL_TOKENS
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

TEXTS = [
    "뱃사공은 밧줄을 풀고 노를 젓는다.",
    "  두 칸\n\n줄바꿈 🙂뷁쀍 ### [SEP] (1975년~)",
    unicodedata.normalize("NFD", "강물은 느리다 café"),
    "",
    " ",
]


@pytest.fixture(scope="module")
def lossless() -> Vocabulary:
    return train_vocabulary(TEXTS * 4, VocabularySettings(size=470))


def test_ids_are_those_of_encode(lossless: Vocabulary) -> None:
    assert [ids for ids, _ in lossless.encode_offsets(TEXTS)] == lossless.encode_batch(TEXTS)


def test_each_token_of_a_lossless_vocabulary_spells_its_characters(lossless: Vocabulary) -> None:
    for text, (ids, offsets) in zip(TEXTS, lossless.encode_offsets(TEXTS), strict=True):
        normal = unicodedata.normalize("NFC", text)
        done = 0
        for token_id, (start, end) in zip(ids, offsets, strict=True):
            spelt = lossless.token_bytes(token_id)
            written = normal[start:end].encode()
            assert spelt in written
            # Several tokens may spell one character, byte by byte; else a token is its characters.
            assert spelt == written or end - start == 1
            assert start <= done <= end
            done = end
        assert done == len(normal)


def test_a_bert_vocabulary_tells_places_too() -> None:
    vocabulary = Vocabulary([*SPECIAL_TOKENS, "뱃사공", "##은", "밧줄", "##을"], "bert")
    ids, offsets = vocabulary.encode_offsets(["뱃사공은  밧줄을"])[0]
    assert [vocabulary.display(token_id) for token_id in ids] == ["뱃사공", "##은", "밧줄", "##을"]
    assert offsets == [(0, 3), (3, 4), (6, 8), (8, 9)]


def test_half_a_surrogate_pair_is_told_with_its_place(lossless: Vocabulary) -> None:
    with pytest.raises(InputError, match="text 2.*character 3"):
        lossless.encode_offsets(["좋다", "나쁘다\ud83d"])
