"""Holding text out, and measuring a vocabulary on it."""

from __future__ import annotations

import pytest

from korformer.errors import InputError
from korformer.text.vocabulary_report import HeldOut, measure_vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

TEXTS = ["바람이 분다.\n나뭇잎이 구른다.", "강가에 버드나무가 서 있다.", "새 한 마리 앉았다 간다."]


def test_every_hundredth_document_is_held_out() -> None:
    corpus = [f"문서 {index}" for index in range(250)]
    held_out = HeldOut(iter(corpus))
    passed = list(held_out.training())
    assert held_out.is_held_out
    assert list(held_out.documents()) == [corpus[99], corpus[199]]
    assert passed == corpus[:99] + corpus[100:199] + corpus[200:]


def test_a_small_corpus_is_passed_on_whole_and_measured_itself() -> None:
    held_out = HeldOut(iter(TEXTS))
    assert list(held_out.training()) == TEXTS
    assert not held_out.is_held_out
    assert list(held_out.documents()) == TEXTS


def test_text_that_is_given_is_measured_and_nothing_held_back() -> None:
    corpus = [f"문서 {index}" for index in range(150)]
    held_out = HeldOut(iter(corpus), iter(TEXTS))
    assert list(held_out.training()) == corpus
    assert held_out.is_held_out
    assert list(held_out.documents()) == TEXTS


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("korformer.text.vocabulary_report.HOLD_OUT_BYTES", 1000)
    held_out = HeldOut("가" * 50 for _ in range(20_000))
    assert sum(1 for _ in held_out.training()) == 19_800
    assert 1 <= len(list(held_out.documents())) <= 6


def test_figures_are_what_counting_by_hand_gives() -> None:
    vocabulary = train_vocabulary(TEXTS * 5, VocabularySettings(size=460))
    unseen = ["뷁! 바람이 분다."]
    report = measure_vocabulary(vocabulary, unseen, samples=1)
    ids = vocabulary.encode(unseen[0])
    assert (report.documents, report.characters, report.words, report.tokens) == (1, 10, 3, len(ids))
    assert report.unknown_tokens == 0
    assert report.unknown_rate == 0
    assert report.byte_tokens >= 3
    assert report.byte_rate == report.byte_tokens / len(ids)
    assert report.characters_per_token == 10 / len(ids)
    assert report.tokens_per_word == len(ids) / 3
    (split,) = report.splits
    assert split.text == unseen[0]
    assert split.tokens == tuple(map(vocabulary.display, ids))


def test_unknown_words_of_a_bert_vocabulary_are_counted() -> None:
    vocabulary = train_vocabulary(TEXTS * 5, VocabularySettings(scheme="bert", size=200))
    report = measure_vocabulary(vocabulary, ["뷁 바람이 뷁"])
    assert report.unknown_tokens == 2
    assert report.unknown_rate == 2 / report.tokens
    assert report.byte_tokens == 0


def test_samples_are_short_lines_from_different_documents() -> None:
    vocabulary = train_vocabulary(TEXTS, VocabularySettings(size=500))
    report = measure_vocabulary(vocabulary, ["짧다\n" + "길고 긴 줄은 " * 50, "가" * 500, "셋", "넷"], samples=3)
    assert [len(split.text) <= 40 for split in report.splits] == [True] * 3
    assert report.splits[0].text.startswith("길고 긴 줄은")
    assert not report.splits[0].text.endswith(" ")


def test_text_without_tokens_is_refused() -> None:
    vocabulary = train_vocabulary(TEXTS, VocabularySettings(size=500))
    with pytest.raises(InputError, match="held-out"):
        measure_vocabulary(vocabulary, [])
