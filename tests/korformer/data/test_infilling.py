from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from korformer.data.cutting import PieceCutter
from korformer.data.infilling import LEAST_TOKENS, Infilling, lay_out
from korformer.data.packing import NO_TARGET, Packs, PackSampler
from korformer.data.store import TokenStore, build_store
from korformer.errors import UsageError
from korformer.text.vocabulary import CLS_ID, MASK_ID, SEP_ID, Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

SENTENCES = (
    "봄이 오면 마당의 살구나무가 먼저 꽃을 피운다.", "할머니는 부엌에서 오래된 노래를 흥얼거리셨다.",
    "고양이 두 마리가 담장 위를 천천히 걸어간다.", "1987년 3월, 항구에는 배가 12척 있었다.",
    "“어디 가니?” 하고 물었더니 “시장에요!” 했다.", "emoji 🙂도 있고 👩‍👩‍👧도 있다.", "  두 칸을 띄운   줄\t과 탭",
    "漢字와 かな, Ωmega", "ㅋㅋㅋㅋ ㅠㅠ", "# 제목 ## 둘째",
)  # fmt: skip
BODY = "가나다라마바사아자차카타파하 \n.,!🙂🎉한글ㅏㄱabc12#"


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    return train_vocabulary([*SENTENCES[:6], *SENTENCES[2:6]], VocabularySettings(size=520))


StoreMaker = Callable[[Iterable[str]], TokenStore]


@pytest.fixture
def text_store(tmp_path: Path, words: Vocabulary) -> StoreMaker:
    def make(texts: Iterable[str]) -> TokenStore:
        normal = (unicodedata.normalize("NFC", text) for text in texts)
        return build_store(normal, words, tmp_path / "store", replace=True)

    return make


def text_bytes(vocabulary: Vocabulary, ids: Iterable[int]) -> bytes:
    return b"".join(vocabulary.token_bytes(token) for token in ids)


def pieces(packs: Packs) -> list[tuple[list[int], list[int]]]:
    """(inputs and last target, targets) of each piece; a last target that is not trained would be no piece's end."""
    found = []
    for row in range(len(packs.tokens)):
        for document in range(packs.documents[row].max() + 1):
            inside = packs.documents[row] == document
            targets = packs.targets[row][inside].tolist()
            found.append(([*packs.tokens[row][inside].tolist(), targets[-1]], targets))
    return found


def undone(sequence: list[int]) -> tuple[list[int], list[int]]:
    """Of a piece laid out anew: the tokens of its text in their own order, and those of its middle if that shows."""
    begins = int(sequence[0] == CLS_ID)
    first, second = (place for place, token in enumerate(sequence) if token == MASK_ID)
    assert sequence[-1] == SEP_ID
    if first == begins:
        return sequence[second + 1 : -1] + sequence[first + 1 : second], []
    middle = sequence[second + 1 : -1]
    return sequence[begins:first] + middle + sequence[first + 1 : second], middle


def laid_out(vocabulary: Vocabulary, ids: list[int], cuts: tuple[float, float], *, begins: bool, spm: bool) -> object:
    parts = PieceCutter(vocabulary).cut(np.array(ids), *cuts)
    assert parts is not None
    tokens = PieceCutter(vocabulary).tokens([parts])[0]
    return lay_out(*tokens, slots=len(ids) + begins + 1, begins=begins, suffix_first=spm)


@settings(max_examples=150, deadline=None)
@given(
    text=st.text(BODY, min_size=1, max_size=80) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
    first=st.floats(0, 1, exclude_max=True),
    second=st.floats(0, 1, exclude_max=True),
    apart=st.booleans(),
)
def test_the_three_texts_are_encoded_as_each_alone(
    words: Vocabulary, text: str, first: float, second: float, apart: bool
) -> None:
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFD", text) if apart else text)
    low, high = sorted(int(share * (len(text) + 1)) for share in (first, second))
    cutter = PieceCutter(words)
    parts = cutter.cut(np.array(words.encode(text)), first, second)
    assert parts is not None
    prefix, middle, suffix = (part.tolist() for part in cutter.tokens([parts])[0])
    assert [prefix, middle, suffix] == words.encode_batch([text[:low], text[low:high], text[high:]])


def test_cuts_inside_a_character_that_a_pack_broke_are_never_drawn(words: Vocabulary) -> None:
    ids = words.encode("갉갊값갋🎉")  # bytes, each a token
    assert len(ids) == len("갉갊값갋🎉".encode())
    cutter = PieceCutter(words)
    inner = np.array(ids[2:-3])  # from the last byte of the first character to the first of the last
    for first in np.linspace(0, 1, 30, endpoint=False):
        parts = cutter.cut(inner, float(first), 0.99)
        assert parts is not None
        prefix, middle, suffix = (text_bytes(words, part.tolist()) for part in cutter.tokens([parts])[0])
        assert prefix + middle + suffix == text_bytes(words, inner.tolist())
        assert middle.decode() in "갊값갋"
        assert suffix == "🎉".encode()[:1]
    assert cutter.cut(np.array(ids[1:3]), 0.2, 0.7) is None


@pytest.mark.parametrize(
    ("begins", "suffix_first", "inputs", "targets"),
    [
        (True, False, [CLS_ID, 10, 11, MASK_ID, 30, 31, MASK_ID, 20], [10, 11, -100, -100, 31, -100, 20, SEP_ID]),
        (True, True, [CLS_ID, MASK_ID, 30, 31, MASK_ID, 10, 11, 20], [-100, -100, 31, -100, 10, 11, 20, SEP_ID]),
        (False, False, [10, 11, MASK_ID, 30, 31, 32, MASK_ID, 20], [11, -100, -100, 31, 32, -100, 20, SEP_ID]),
        (False, True, [MASK_ID, 30, 31, 32, MASK_ID, 10, 11, 20], [-100, 31, 32, -100, -100, 11, 20, SEP_ID]),
    ],
)
def test_the_orders_and_what_is_not_predicted(
    begins: bool, suffix_first: bool, inputs: list[int], targets: list[int]
) -> None:
    prefix, middle, suffix = np.array([10, 11]), np.array([20]), np.array([30, 31, 32, 33, 34])
    laid = lay_out(prefix, middle, suffix, slots=9, begins=begins, suffix_first=suffix_first)
    assert laid is not None
    assert [part.tolist() for part in laid] == [inputs, targets]


@pytest.mark.parametrize(("slots", "expected"), [(9, [CLS_ID, 10, 11]), (8, [10, 11]), (7, [11])])
def test_without_a_suffix_cls_goes_first_and_then_the_prefix(slots: int, expected: list[int]) -> None:
    prefix, middle, suffix = np.array([10, 11]), np.array([20, 21, 22]), np.array([30])
    for suffix_first in (False, True):
        laid = lay_out(prefix, middle, suffix, slots=slots, begins=True, suffix_first=suffix_first)
        assert laid is not None
        sequence = [*laid[0].tolist(), int(laid[1][-1])]
        start, rest = expected[: expected.count(CLS_ID)], expected[expected.count(CLS_ID) :]
        marks = [MASK_ID, MASK_ID]
        assert sequence == [*start, *([*marks, *rest] if suffix_first else [*rest, *marks]), 20, 21, 22, SEP_ID]


def test_a_middle_without_room_and_too_few_tokens_are_not_laid_out() -> None:
    none, many = np.array([], np.int64), np.arange(10, 30)
    assert lay_out(none, many, none, slots=22, begins=True, suffix_first=False) is None
    assert lay_out(none, many, none, slots=23, begins=False, suffix_first=False) is not None
    assert lay_out(none, many, none, slots=24, begins=False, suffix_first=False) is None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=5).map("\n".join), min_size=1, max_size=8),
    pack_tokens=st.integers(8, 150),
    spm_share=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_undone_every_piece_is_its_text(
    text_store: StoreMaker, words: Vocabulary, texts: list[str], pack_tokens: int, spm_share: float
) -> None:
    store = text_store(texts)
    plain = PackSampler(store, pack_tokens=pack_tokens, seed=3)
    infilling = Infilling(words, rate=1.0, spm_share=spm_share, seed=3)
    changed = PackSampler(store, pack_tokens=pack_tokens, seed=3, rewrite=infilling)
    while plain.epoch < 2:
        before, after = plain.next_packs(2), changed.next_packs(2)
        assert plain.state() == changed.state()
        assert np.array_equal(before.documents, after.documents)
        assert np.array_equal(before.positions, after.positions)
        for (old, old_targets), (new, targets) in zip(pieces(before), pieces(after), strict=True):
            if MASK_ID not in new:
                assert new == old
                assert targets == old_targets
                continue
            assert len(old) >= LEAST_TOKENS
            ids, middle = undone(new)
            whole = text_bytes(words, old)
            assert text_bytes(words, ids) in whole  # what was left out lay at its ends
            assert len(whole) - len(text_bytes(words, ids)) <= 80
            text_bytes(words, middle).decode("utf-8")
            assert (new[0] == CLS_ID) <= (old[0] == CLS_ID)
            assert new.count(MASK_ID) == 2
            assert SEP_ID not in new[:-1]
            assert CLS_ID not in new[1:]
            assert_targets(new, targets)


def assert_targets(sequence: list[int], targets: list[int]) -> None:
    """A target is the token that follows, or left out at [MASK] and behind one."""
    for place, ((_, following), target) in enumerate(zip(pairwise(sequence), targets, strict=True)):
        if target == NO_TARGET:
            assert following == MASK_ID or sequence[place] == MASK_ID
        else:
            assert target == following
            assert target != MASK_ID


def test_cuts_are_uniform_and_the_shares_as_asked(text_store: StoreMaker, words: Vocabulary) -> None:
    """In 6,400 pieces of 40 characters, a token each, there are 41 places to cut: chi-squared over the inner ones."""
    store = text_store(["QWXZJVKUYG" * 4] * 64)
    assert store.tokens == 64 * 42
    infilling = Infilling(words, rate=0.5, spm_share=0.25, seed=8)
    sampler = PackSampler(store, pack_tokens=41, seed=1, rewrite=infilling)
    counts = np.zeros(41)
    kept = suffix_first = 0
    for _ in range(100):
        for sequence, _ in pieces(sampler.next_packs(64)):
            if MASK_ID not in sequence:
                kept += 1
            elif (low := sequence.index(MASK_ID)) <= 1:
                suffix_first += 1
            else:
                _, middle = undone(sequence)
                counts[[low - 1, low - 1 + len(middle)]] += 1
    assert abs(kept / 6400 - 0.5) < 0.025
    assert abs(suffix_first / (6400 - kept) - 0.25 - 2 / 41) < 0.04  # an empty prefix looks the same in both orders
    inner = counts[3:38]  # at the ends, what is left out for want of room moves the cuts
    expected = inner.mean()
    assert ((inner - expected) ** 2 / expected).sum() < 66  # 34 degrees of freedom: exceeded once in a thousand


class TestDraws:
    TEXTS = tuple("\n".join(SENTENCES[index % 10 :] + SENTENCES[: index % 4]) for index in range(12))

    def sampler(
        self, store: TokenStore, words: Vocabulary, *, seed: int = 2, rank: int = 0, world_size: int = 1
    ) -> PackSampler:
        infilling = Infilling(words, rate=0.6, spm_share=0.5, seed=seed)
        return PackSampler(store, pack_tokens=96, seed=2, rank=rank, world_size=world_size, rewrite=infilling)

    def rows(self, packs: Packs) -> list[NDArray[np.int64]]:
        return [np.concatenate(pair) for pair in zip(packs.tokens, packs.targets, strict=True)]

    def test_do_not_hang_on_batch_or_number_of_processes(self, text_store: StoreMaker, words: Vocabulary) -> None:
        store = text_store(self.TEXTS)
        whole = self.sampler(store, words)
        expected = [row for _ in range(24) for row in self.rows(whole.next_packs(1))]
        by_six = self.sampler(store, words)
        assert np.array_equal([row for _ in range(4) for row in self.rows(by_six.next_packs(6))], expected)
        ranks = [self.sampler(store, words, rank=rank, world_size=3) for rank in range(3)]
        blocks = [[self.rows(sampler.next_packs(2)) for sampler in ranks] for _ in range(4)]
        assert np.array_equal([b[rank][row] for b in blocks for row in range(2) for rank in range(3)], expected)

    def test_go_on_from_any_saved_place(self, text_store: StoreMaker, words: Vocabulary) -> None:
        store = text_store(self.TEXTS)
        sampler = self.sampler(store, words)
        states, given_ = [], []
        while sampler.epoch < 2:
            states.append(json.dumps(sampler.state()))
            given_.append(self.rows(sampler.next_packs(1)))
        for place, state in enumerate(states):
            again = self.sampler(store, words)
            again.restore(json.loads(state))
            assert all(np.array_equal(self.rows(again.next_packs(1)), rows) for rows in given_[place : place + 4])

    def test_are_new_each_epoch_and_with_another_seed(self, text_store: StoreMaker, words: Vocabulary) -> None:
        store = text_store(self.TEXTS[:1])  # a single document: the same pieces every epoch
        sampler, other = self.sampler(store, words), self.sampler(store, words, seed=3)
        drawn = {packs.tobytes() for packs in (sampler.next_packs(1).tokens for _ in range(40))}
        assert len(drawn) > 15
        assert not np.array_equal(other.next_packs(8).tokens, self.sampler(store, words).next_packs(8).tokens)


def test_a_vocabulary_that_is_not_lossless_is_refused(words: Vocabulary) -> None:
    bert = train_vocabulary(SENTENCES, VocabularySettings(size=200, scheme="bert"))
    with pytest.raises(UsageError, match=r"ar\.fim_rate.*lossless.*bert"):
        Infilling(bert, rate=0.5, spm_share=0.5, seed=0)
