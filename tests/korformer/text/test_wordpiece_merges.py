"""Merging, against a definition that recounts everything at every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from korformer.text import wordpiece_merges
from korformer.text.wordpiece_merges import Merge, Merger, Symbol


def by_definition(words: Mapping[str, int], symbols: Sequence[Symbol], min_count: int) -> list[Merge]:
    """Every merge, found by counting all pairs anew each time."""
    known = list(symbols)
    sequences: list[tuple[list[int], int]] = []
    for word, count in words.items():
        run: list[int] = []
        for index, character in enumerate(word):
            symbol = Symbol(character, continuing=index > 0)
            if symbol in known:
                run.append(known.index(symbol))
            else:
                sequences.append((run, count))
                run = []
        sequences.append((run, count))
    merges: list[Merge] = []
    while True:
        counts: Counter[tuple[int, int]] = Counter()
        for run, count in sequences:
            for pair in pairwise(run):
                counts[pair] += count
        pair, most = min(counts.items(), key=lambda item: (-item[1], item[0]), default=((0, 0), 0))
        if most < min_count:
            return merges
        joined = Symbol(known[pair[0]].text + known[pair[1]].text, known[pair[0]].continuing)
        assert joined not in known
        known.append(joined)
        for run, _ in sequences:
            index = 0
            while index + 1 < len(run):
                if (run[index], run[index + 1]) == pair:
                    run[index : index + 2] = [len(known) - 1]
                index += 1
        merges.append(Merge(joined, most))


def characters(words: Mapping[str, int], leave_out: str = "") -> list[Symbol]:
    kept = sorted(set("".join(words)) - set(leave_out))
    return [Symbol(character, continuing) for continuing in (False, True) for character in kept]


@given(
    words=st.dictionaries(st.text("가나다a", min_size=1, max_size=14), st.integers(1, 40), min_size=1, max_size=12),
    leave_out=st.sampled_from(["", "나", "가a"]),
    min_count=st.sampled_from([1, 2, 5]),
)
@example(words={"가가가가가": 3, "나가가": 2, "가": 1}, leave_out="", min_count=1)
@example(words={"가나가나가나가": 1, "나가나가": 1}, leave_out="", min_count=1)
@example(words={"나": 7}, leave_out="나", min_count=1)
@settings(max_examples=300, deadline=None)
def test_merges_are_those_of_the_definition(words: dict[str, int], leave_out: str, min_count: int) -> None:
    symbols = characters(words, leave_out)
    assert list(Merger(words, symbols, min_count=min_count)) == by_definition(words, symbols, min_count)


@given(st.dictionaries(st.text("가나", min_size=1, max_size=8), st.integers(1, 10**6), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_the_floor_changes_nothing(words: dict[str, int]) -> None:
    symbols = characters(words)
    expected = list(Merger(words, symbols, min_count=1))
    step = wordpiece_merges._FLOOR_STEP
    try:
        for other in (1, 2, 1 << 40):
            wordpiece_merges._FLOOR_STEP = other
            assert list(Merger(words, symbols, min_count=1)) == expected
    finally:
        wordpiece_merges._FLOOR_STEP = step


def test_the_order_of_the_words_changes_nothing() -> None:
    words = {"바다": 3, "바람": 3, "다람": 3, "람바다": 3, "다바람": 1}
    expected = list(Merger(words, characters(words), min_count=1))
    turned = dict(reversed(words.items()))
    assert list(Merger(turned, characters(words), min_count=1)) == expected


def test_counts_beyond_32_bits_are_kept() -> None:
    words = {"바다": 1 << 40, "바람": (1 << 40) + 1}
    merges = list(Merger(words, characters(words), min_count=1))
    assert [merge.count for merge in merges] == [(1 << 40) + 1, 1 << 40]
