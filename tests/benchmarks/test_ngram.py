"""The n-gram reference lines: against a dictionary implementation, and as probability distributions."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def _load() -> ModuleType:
    # benchmarks/ is a folder of scripts, not a package.
    path = Path(__file__).parents[2] / "benchmarks" / "ngram.py"
    spec = importlib.util.spec_from_file_location("korformer_benchmarks_ngram", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ngram = _load()
SIZE = 9


def counted(pairs: list[tuple[int, int]], size: int = SIZE) -> object:
    counts = ngram.PairCounts(size)
    if pairs:
        counts.add([before for before, _ in pairs], [after for _, after in pairs])
    return counts


def slow_discount(counts: list[int]) -> float:
    once, twice = counts.count(1), counts.count(2)
    return once / (once + 2 * twice) if once and twice else 0.75


def slow_kneser_ney(pairs: list[tuple[int, int]], size: int = SIZE) -> Callable[[int, int], float]:
    """The textbook formula, one dictionary look-up at a time."""
    pair_counts = Counter(pairs)
    followers: dict[int, set[int]] = defaultdict(set)
    predecessors: dict[int, set[int]] = defaultdict(set)
    context_counts: Counter[int] = Counter()
    for before, after in pairs:
        followers[before].add(after)
        predecessors[after].add(before)
        context_counts[before] += 1
    discount = slow_discount(list(pair_counts.values()))
    lower_discount = slow_discount([len(contexts) for contexts in predecessors.values()])
    kinds = len(pair_counts)

    def lower(after: int) -> float:
        if not kinds:
            return 1 / size
        kept = max(len(predecessors.get(after, ())) - lower_discount, 0) / kinds
        return kept + lower_discount * len(predecessors) / kinds / size

    def probability(before: int, after: int) -> float:
        total = context_counts[before]
        if not total:
            return lower(after)
        kept = max(pair_counts[before, after] - discount, 0) / total
        return kept + discount * len(followers[before]) / total * lower(after)

    return probability


PAIRS = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1)), max_size=80)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_bigram_is_the_textbook_formula(pairs: list[tuple[int, int]]) -> None:
    model = ngram.KneserNeyBigram(counted(pairs))
    slow = slow_kneser_ney(pairs)
    before, after = np.divmod(np.arange(SIZE * SIZE), SIZE)
    expected = [slow(int(v), int(w)) for v, w in zip(before, after, strict=True)]
    np.testing.assert_allclose(model.probabilities(before, after), expected, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_every_context_has_a_distribution_over_the_whole_vocabulary(pairs: list[tuple[int, int]]) -> None:
    counts = counted(pairs)
    grid = np.arange(SIZE * SIZE).reshape(SIZE, SIZE)
    for model in (ngram.Unigram(counts), ngram.KneserNeyBigram(counts)):
        table = model.probabilities(*np.divmod(grid, SIZE))
        assert (table > 0).all()
        np.testing.assert_allclose(table.sum(axis=1), 1.0, rtol=1e-12)


def test_a_token_that_follows_one_word_only_is_rare_elsewhere() -> None:
    # Token 1 comes often but always after 0; token 2 comes after everything. After the unseen context 8, Kneser-Ney
    # must prefer 2, where plain frequency would prefer 1.
    pairs = [(0, 1)] * 30 + [(context, 2) for context in range(7)]
    unigram, bigram = ngram.Unigram(counted(pairs)), ngram.KneserNeyBigram(counted(pairs))
    assert unigram.probabilities(8, 1) > unigram.probabilities(8, 2)
    assert bigram.probabilities(8, 1) < bigram.probabilities(8, 2)


def test_counting_in_pieces_is_counting_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    before, after = random.integers(0, SIZE, (2, 500))
    once = ngram.PairCounts(SIZE)
    once.add(before, after)
    monkeypatch.setattr(ngram, "_MERGE_AT", 64)
    pieces = ngram.PairCounts(SIZE)
    for start in range(0, 500, 30):
        pieces.add(before[start : start + 30], after[start : start + 30])
    for left, right in zip(once.totals(), pieces.totals(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert once.totals()[1].sum() == 500


def test_targets_that_do_not_count_are_skipped_and_foreign_ids_refused() -> None:
    counts = ngram.PairCounts(SIZE)
    counts.add([[2, 5, 0]], [[5, 3, -100]])
    assert counts.totals()[1].sum() == 2
    with pytest.raises(ValueError, match="outside the vocabulary"):
        counts.add([1], [SIZE])
