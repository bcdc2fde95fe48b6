import numpy as np
import pytest
from numpy.typing import NDArray

from korformer.config import build
from korformer.data.edges import TokenEdges
from korformer.data.masking import LONGEST_WORD_TOKENS, Masked, MaskSettings, mask_tokens
from korformer.errors import UsageError

SIZE = 1000


class Words:
    """Ids up to 499 begin a word, those from 500 on go on in one."""

    size = SIZE

    def token_bytes(self, token_id: int) -> bytes:
        return b" x" if token_id < 500 else b"y"


EDGES = TokenEdges(Words())


def packs(rows: int = 4, tokens: int = 400) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Rows of two documents and padding; a word has one to four tokens."""
    random = np.random.default_rng(0)
    ids = random.integers(5, 500, (rows, tokens))
    ids[random.random((rows, tokens)) < 0.5] += 495
    documents = np.zeros((rows, tokens), np.int32)
    documents[:, 150:] = 1
    documents[:, -30:] = -1
    ids[:, 149] = ids[:, -31] = 3
    ids[:, 0] = ids[:, 150] = 2
    ids[:, -30:] = 0
    return ids, documents


def mask(
    ids: NDArray[np.int64],
    documents: NDArray[np.int32],
    samples: range | None = None,
    step: int = 1,
    **settings: object,
) -> Masked:
    samples = samples or range(len(ids))
    made = build(MaskSettings, settings)
    return mask_tokens(ids, documents, samples=samples, seed=7, step=step, settings=made, edges=EDGES)


@pytest.mark.parametrize("masking", ["token", "word", "span"])
def test_fifteen_percent_of_what_may_be_masked(masking: str) -> None:
    ids, documents = packs(40)
    masked = mask(ids, documents, masking=masking)
    free = (documents >= 0) & (ids >= 5)
    chosen = masked.targets >= 0
    assert not (chosen & ~free).any()
    assert np.array_equal(masked.targets[chosen], ids[chosen])
    assert np.array_equal(masked.tokens[~chosen], ids[~chosen])
    wanted = round(0.15 * int(free[0].sum()))
    more = chosen.sum(axis=1) - wanted
    assert np.abs(more).max() <= (0 if masking == "token" else 5)
    assert abs(more.mean()) < 0.5
    assert masked.count == chosen.sum()


@pytest.mark.parametrize("masking", ["token", "word", "span"])
def test_eighty_ten_ten(masking: str) -> None:
    ids, documents = packs(400)
    masked = mask(ids, documents, masking=masking)
    chosen = masked.targets >= 0
    became, was = masked.tokens[chosen], masked.targets[chosen]
    assert np.mean(became == 4) == pytest.approx(0.8, abs=0.02)
    assert np.mean(became == was) == pytest.approx(0.1, abs=0.015)
    other = became[(became != 4) & (became != was)]
    assert other.min() >= 5
    assert other.max() < SIZE
    assert len(set(other.tolist())) > 500
    assert other.mean() == pytest.approx((5 + SIZE) / 2, rel=0.05)


def test_every_step_and_sample_hides_others_and_nothing_else_does() -> None:
    ids, documents = packs()
    first = mask(ids, documents)
    assert np.array_equal(mask(ids, documents).tokens, first.tokens)
    one_by_one = [mask(ids[n : n + 1], documents[n : n + 1], range(n, n + 1)).tokens for n in range(len(ids))]
    assert np.array_equal(np.concatenate(one_by_one), first.tokens)
    assert not np.array_equal(mask(ids, documents, step=2).targets, first.targets)
    same_text = mask(ids[[0, 0]], documents[[0, 0]])
    assert not np.array_equal(same_text.targets[0], same_text.targets[1])


def runs(places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)


def test_words_are_hidden_whole() -> None:
    ids, documents = packs(20)
    chosen = mask(ids, documents, masking="word").targets >= 0
    for row in range(len(ids)):
        for run in runs(np.flatnonzero(chosen[row])):
            assert ids[row, run[0]] < 500 or ids[row, run[0] - 1] < 5
            assert ids[row, run[-1] + 1] < 500


def test_spans_are_words_in_a_row_of_one_document() -> None:
    ids, documents = packs(60)
    masked = mask(ids, documents, masking="span", mask_share=1.0, random_share=0.0, span_words=3, longest_span_words=4)
    chosen = masked.targets >= 0
    words = []
    for row in range(len(ids)):
        for run in runs(np.flatnonzero(chosen[row])):
            assert len(set(documents[row, run].tolist())) == 1
            words.append(max(1, int((ids[row, run] < 500).sum())))
    assert np.mean(words) > 1.7
    single = mask(ids, documents, masking="word").targets >= 0
    assert sum(len(runs(np.flatnonzero(row))) for row in single) > 1.5 * len(words)


def test_a_span_shares_its_fate() -> None:
    ids, documents = packs(60)
    masked = mask(ids, documents, masking="span")
    chosen = masked.targets >= 0
    changes = 0
    for row in range(len(ids)):
        for run in runs(np.flatnonzero(chosen[row])):
            changes += int(np.diff((masked.tokens[row, run] == 4).astype(int)).any())
    assert changes < 0.1 * sum(len(runs(np.flatnonzero(row))) for row in chosen)


def test_a_word_without_end_is_not_hidden_as_one() -> None:
    ids = np.full((1, 300), 700)
    masked = mask(ids, np.zeros((1, 300), np.int32), masking="word")
    assert abs(masked.count - 45) <= LONGEST_WORD_TOKENS // 2


def test_texts_too_short_to_hide_much() -> None:
    ids = np.array([[2, 9, 3, 0], [2, 3, 0, 0]])
    documents = np.array([[0, 0, 0, -1], [0, 0, -1, -1]], np.int32)
    for masking in ("token", "word", "span"):
        masked = mask(ids, documents, masking=masking)
        assert masked.targets.tolist() == [[-100, 9, -100, -100], [-100] * 4]


def test_shares_that_are_more_than_all() -> None:
    with pytest.raises(UsageError, match=r"= 1.1 is more than all; .* at most 0.2"):
        build(MaskSettings, {"mask_share": 0.8, "random_share": 0.3})
