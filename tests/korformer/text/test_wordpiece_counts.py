"""Counting and sampling in bounded memory."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from korformer.text.wordpiece_counts import EvenSample, WordCounts


def test_everything_is_counted_while_there_is_room() -> None:
    counts = WordCounts(str.split, limit=10)
    counts.add("바람 바람 구름")
    counts.add("바람 비")
    assert counts.counts == {"바람": 3, "구름": 1, "비": 1}
    assert counts.most_missed == 0


def test_frequent_words_survive_and_the_error_is_within_what_is_told() -> None:
    draw = random.Random(1)
    exact: Counter[str] = Counter()
    counts = WordCounts(str.split, limit=300)
    for _ in range(300):
        text = " ".join(f"낱말{int(draw.paretovariate(0.6))}" for _ in range(100))
        exact.update(text.split())
        counts.add(text)
        assert len(counts.counts) <= 300
    assert len(exact) > 1000
    assert counts.most_missed > 0
    for word, count in exact.items():
        assert count - counts.most_missed <= counts.counts[word] <= count


def test_a_sample_that_fits_is_everything() -> None:
    sample = EvenSample(10_000)
    texts = [f"문서 {index}" for index in range(100)]
    for text in texts:
        sample.add(text)
    assert list(sample) == texts
    assert sample.one_in == 1
    assert sample.bytes == sample.offered_bytes == sum(len(text.encode("utf-8")) for text in texts)


def test_a_sample_is_bounded_and_even() -> None:
    sample = EvenSample(30_000)
    for index in range(20_000):
        sample.add(f"{index:010}")
        assert sample.bytes <= 30_000
    kept = list(map(int, sample))
    assert kept == sorted(kept)
    assert sample.one_in == 8
    assert len(sample) == len(kept) == pytest.approx(20_000 / 8, rel=0.1)
    quarters = Counter(index // 5000 for index in kept)
    assert all(count == pytest.approx(len(kept) / 4, rel=0.15) for count in quarters.values())


def test_the_same_documents_are_drawn_every_time() -> None:
    first, second = EvenSample(500), EvenSample(500)
    for index in range(1000):
        first.add(f"{index}")
        second.add(f"{index}")
    assert list(first) == list(second)


def test_one_document_is_kept_however_long_it_is() -> None:
    sample = EvenSample(10)
    sample.add("긴 글 " * 100)
    assert len(sample) == 1
    for _ in range(40):
        sample.add("또 긴 글 " * 100)
    assert len(sample) == 1
