from pathlib import Path
from typing import Any

import numpy as np
import pytest

from korformer.data.edges import TokenEdges
from korformer.data.pairs import PairPacks, PairSampler
from korformer.data.store import build_store
from korformer.data.token_store import TokenStore
from korformer.errors import InputError, ModelDirectoryError, UsageError
from korformer.text.special import CLS_ID, SEP_ID
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

WORDS = ("봄이", "오면", "산에", "들에", "진달래가", "핀다", "나도", "너도", "함께", "간다")


def text(number: int) -> str:
    """A document of one to nine sentences in which each sentence names document and place."""
    return " ".join(
        f"글{number}의 {sentence}째로 {' '.join(WORDS[(number + sentence + n) % 10] for n in range(4))}."
        for sentence in range(1 + number % 9)
    )


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return train_vocabulary([text(number) for number in range(40)], VocabularySettings(size=500))


@pytest.fixture(scope="module")
def store(vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return build_store([text(n) for n in range(40)], vocabulary, tmp_path_factory.mktemp("pairs") / "store")


@pytest.fixture
def sampler(store: TokenStore, vocabulary: Vocabulary) -> Any:
    def make(kind: str = "nsp", **options: Any) -> PairSampler:
        options = {"pack_tokens": 96, "seed": 1, **options}
        return PairSampler(store, TokenEdges(vocabulary), kind=kind, **options)  # type: ignore[arg-type]

    return make


def pairs(packs: PairPacks) -> list[tuple[list[int], list[int], int]]:
    """A, B and label of every pair; their form is checked."""
    found = []
    for row in range(len(packs.tokens)):
        for document in range(int(packs.documents[row].max()) + 1):
            inside = packs.documents[row] == document
            tokens, segments = packs.tokens[row, inside].tolist(), packs.segments[row, inside]
            labels = packs.labels[row, inside]
            middle = int(segments.argmax())
            assert (tokens[0], tokens[middle - 1], tokens[-1]) == (CLS_ID, SEP_ID, SEP_ID)
            assert (segments[middle:] == 1).all()
            assert packs.positions[row, inside].tolist() == list(range(len(tokens)))
            assert labels[0] in {0, 1}
            assert (labels[1:] == -100).all()
            found.append((tokens[1 : middle - 1], tokens[middle:-1], int(labels[0])))
    return found


def epoch(sampler: PairSampler) -> list[tuple[list[int], list[int], int]]:
    found = []
    while sampler.epoch == 0:
        found += pairs(sampler.next_packs(1))
    return found


def test_nsp_goes_on_or_comes_from_another_document(sampler: Any, store: TokenStore, vocabulary: Vocabulary) -> None:
    documents = [store.document(n)[1:-1].tolist() for n in range(store.documents)]
    joined = [",".join(map(str, document)) for document in documents]

    def holders(tokens: list[int]) -> set[int]:
        wanted = ",".join(map(str, tokens))
        return {n for n, document in enumerate(joined) if wanted in document}

    found = [pair for seed in range(4) for pair in epoch(sampler("nsp", seed=seed, pack_tokens=128))]
    assert len(found) > 200
    for first, second, label in found:
        assert len(first) >= 1
        assert len(second) >= 1
        together = holders(first + second)
        if label == 0:
            assert together
        elif len(first) > 12 and len(second) > 12:
            assert not holders(first) & holders(second)
    of_many_sentences = [label for first, _, label in found if len(vocabulary.decode(first)) > 30]
    assert 0.4 < np.mean(of_many_sentences) < 0.75


def test_sop_is_in_order_or_not(sampler: Any, store: TokenStore) -> None:
    documents = [",".join(map(str, store.document(n)[1:-1].tolist())) for n in range(store.documents)]
    found = epoch(sampler("sop"))
    for first, second, label in found:
        in_order = second + first if label else first + second
        assert any(",".join(map(str, in_order)) in document for document in documents)
    assert 0.3 < np.mean([label for _, _, label in found]) < 0.7
    covered = sum(len(first) + len(second) for first, second, _ in found)
    assert covered > 0.95 * sum(len(store.document(n)) - 2 for n in range(store.documents))


def test_segments_part_where_a_sentence_ends(sampler: Any, vocabulary: Vocabulary) -> None:
    parted = [
        (vocabulary.decode(first), vocabulary.decode(second))
        for first, second, label in epoch(sampler("sop"))
        if not label
    ]
    many = [(first, second) for first, second in parted if "." in (first + second)[:-1]]
    assert len(many) > 20
    assert all(first.endswith(".") and second.startswith(" 글") for first, second in many)


def test_one_in_ten_is_short(sampler: Any) -> None:
    def full(short_share: float) -> float:
        made = sampler("sop", pack_tokens=40, short_share=short_share)
        return float(np.mean([made.next_packs(1).pairs == 1 for _ in range(60)]))

    assert full(0.0) > full(0.9)


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_batches_processes_and_resumption_change_nothing(sampler: Any, kind: str) -> None:
    whole = sampler(kind).next_packs(40)
    rows = [sampler(kind, rank=rank, world_size=4).next_packs(10) for rank in range(4)]
    for name in whole.__dataclass_fields__:
        together = np.stack([getattr(packs, name) for packs in rows], axis=1)
        assert np.array_equal(together.reshape(getattr(whole, name).shape), getattr(whole, name)), name
    first = sampler(kind)
    for place in (1, 5, 13):
        first.next_packs(place - first.state()["packs"])
        resumed = sampler(kind)
        resumed.restore(first.state())
        assert np.array_equal(resumed.next_packs(27).tokens, whole.tokens[place : place + 27])
    last = sampler(kind)
    last.next_packs(120)
    assert last.epoch >= 1


def test_another_epoch_draws_anew(sampler: Any) -> None:
    made = sampler("sop", shuffle=False)
    first = epoch(made)
    second = pairs(made.next_packs(10))
    assert [pair[2] for pair in first[: len(second)]] != [pair[2] for pair in second]


def test_what_cannot_give_pairs(vocabulary: Vocabulary, tmp_path: Path, sampler: Any) -> None:
    edges = TokenEdges(vocabulary)
    one = build_store([text(8)], vocabulary, tmp_path / "one")
    with pytest.raises(InputError, match="too few texts"):
        PairSampler(one, edges, kind="nsp", pack_tokens=64, seed=0)
    assert PairSampler(one, edges, kind="sop", pack_tokens=64, seed=0).next_packs(2).pairs >= 2
    single = build_store(["봄", "산", "들"], vocabulary, tmp_path / "single")
    with pytest.raises(InputError, match="no text is long enough"):
        PairSampler(single, edges, kind="sop", pack_tokens=64, seed=0).next_packs(1)
    assert PairSampler(single, edges, kind="nsp", pack_tokens=64, seed=0).next_packs(1).pairs > 2
    with pytest.raises(UsageError, match="at least 16"):
        PairSampler(one, edges, kind="sop", pack_tokens=8, seed=0)
    with pytest.raises(ModelDirectoryError):
        sampler().restore({"epoch": 0, "position": 10**6, "offset": 0, "packs": 0})
    with pytest.raises(ModelDirectoryError):
        sampler().restore({"epoch": 0})
