from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from korformer.data.mixing import MixedSampler, Mixture, Turns, mixture, named_sources, sampler_of
from korformer.data.packing import Packs, PackSampler
from korformer.data.store import TokenStore, build_store
from korformer.errors import ModelDirectoryError, UsageError

LENGTHS = {"wiki": [30, 7, 64, 12, 40, 9, 25], "law": [5, 50, 13], "tales": [20, 20]}
FIRST = {"wiki": "가", "law": "나", "tales": "다"}
WEIGHTS = {"wiki": 3.0, "law": 1.0, "tales": 0.5}


@pytest.fixture
def stores(tmp_path: Path, vocabulary: Any) -> dict[str, TokenStore]:
    """Corpora that can be told apart: all of a corpus is one syllable."""
    return {
        name: build_store((FIRST[name] * length for length in lengths), vocabulary, tmp_path / name)
        for name, lengths in LENGTHS.items()
    }


def sampler(stores: dict[str, TokenStore], *, rank: int = 0, world_size: int = 1, seed: int = 4) -> MixedSampler:
    made = sampler_of(
        Mixture(stores, WEIGHTS),
        PackSampler,
        pack_tokens=16,
        seed=seed,
        shuffle=True,
        rank=rank,
        world_size=world_size,
    )
    assert isinstance(made, MixedSampler)
    return made


def rows(packs: Packs) -> list[list[int]]:
    return np.concatenate([packs.tokens, packs.targets, packs.documents, packs.positions], axis=1).tolist()


def corpora(packs: Packs, vocabulary: Any) -> list[str]:
    """Of each pack, the corpus that all of its text is from."""
    by_id = {vocabulary.encode_batch([syllable])[0][0]: name for name, syllable in FIRST.items()}
    found = []
    for row in packs.tokens:
        names = {by_id[token] for token in row.tolist() if token in by_id}
        assert len(names) == 1
        found += names
    return found


@given(weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=6), turns=st.integers(1, 400))
def test_at_any_time_each_has_had_its_share_to_within_one_turn(weights: list[float], turns: int) -> None:
    dealt = Turns(weights)
    for turn in range(1, turns + 1):
        dealt.take()
        for weight, count in zip(weights, dealt.counts, strict=True):
            assert abs(count - turn * weight / sum(weights)) < 1 + 1e-9


def test_packs_come_from_the_corpora_by_weight(stores: dict[str, TokenStore], vocabulary: Any) -> None:
    mixed = sampler(stores)
    count = Counter(corpora(mixed.next_packs(90), vocabulary))
    assert count == {"wiki": 60, "law": 20, "tales": 10}
    state = mixed.state()
    assert {name: state[f"{name}.turns"] for name in WEIGHTS} == count
    assert state["epoch"] == min(state[f"{name}.epoch"] for name in WEIGHTS)
    # A corpus advances as one that is alone.
    seconds = {name: each["epoch"] for name, each in ((name, alone(stores, name, count[name])) for name in WEIGHTS)}
    assert {name: state[f"{name}.epoch"] for name in WEIGHTS} == seconds
    assert len(set(seconds.values())) > 1


def alone(stores: dict[str, TokenStore], name: str, packs: int) -> dict[str, int]:
    one = PackSampler(stores[name], pack_tokens=16, seed=1, shuffle=False)
    one.next_packs(packs)
    return one.state()


def test_any_batch_and_number_of_processes_give_the_same_sequence(stores: dict[str, TokenStore]) -> None:
    expected = rows(sampler(stores).next_packs(60))
    by_five = sampler(stores)
    assert [row for _ in range(12) for row in rows(by_five.next_packs(5))] == expected
    ranks = [sampler(stores, rank=rank, world_size=3) for rank in range(3)]
    got = []
    for _ in range(5):
        blocks = [rows(each.next_packs(4)) for each in ranks]
        got += [blocks[rank][row] for row in range(4) for rank in range(3)]
        assert len({json.dumps(each.state()) for each in ranks}) == 1
    assert got == expected
    assert rows(sampler(stores, seed=5).next_packs(60)) != expected


def test_it_goes_on_from_a_saved_place_and_with_another_length(stores: dict[str, TokenStore]) -> None:
    mixed = sampler(stores)
    for _ in range(30):
        state = json.loads(json.dumps(mixed.state()))
        again = sampler(stores)
        again.restore(state)
        assert again.state() == state
        assert rows(again.next_packs(3)) == rows(mixed.next_packs(3))
    mixed.pack_tokens = 24
    assert mixed.pack_tokens == 24
    assert mixed.next_packs(2).tokens.shape == (2, 24)
    for broken in ({}, {**mixed.state(), "law.turns": -1}, {**mixed.state(), "tales.position": 99}):
        with pytest.raises(ModelDirectoryError, match="saved place"):
            sampler(stores).restore(broken)


def test_a_skipped_pack_counts_as_given(stores: dict[str, TokenStore]) -> None:
    for packs in range(1, 40):
        one, other = (PackSampler(stores["wiki"], pack_tokens=16, seed=3) for _ in range(2))
        one.next_packs(packs)
        other.skip(packs)
        assert one.state() == other.state()
        assert rows(one.next_packs(2)) == rows(other.next_packs(2))


def test_names_before_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named_sources(["a.txt", "b.txt"]) == {"": ["a.txt", "b.txt"]}
    assert named_sources(["wiki=a.txt", "law=b/*.gz", "wiki=-"]) == {"wiki": ["a.txt", "-"], "law": ["b/*.gz"]}
    assert named_sources(["/x=1.txt", "9=a"]) == {"": ["/x=1.txt", "9=a"]}
    (tmp_path / "wiki=a.txt").write_text("글", encoding="utf-8")
    assert named_sources(["wiki=a.txt"]) == {"": ["wiki=a.txt"]}
    (tmp_path / "run=1").mkdir()
    assert named_sources(["run=1/*.txt"]) == {"": ["run=1/*.txt"]}
    with pytest.raises(UsageError, match=r"c\.txt belongs to no corpus"):
        named_sources(["wiki=b.txt", "c.txt"])


def test_weights_belong_to_corpora(stores: dict[str, TokenStore]) -> None:
    with pytest.raises(
        UsageError, match=r"called wikki \(did you mean wiki\?\); wiki has no weight; tales has no weight"
    ):
        mixture(stores, {"wikki": 1, "law": 2})
    assert mixture({"": stores["law"]}, {}) is stores["law"]
    with pytest.raises(UsageError, match="no corpus is called law"):
        mixture({"": stores["law"]}, {"law": 1})
    even = mixture(stores, {})
    assert isinstance(even, Mixture)
    assert even.weights == {name: store.tokens for name, store in stores.items()}
    assert even.tokens == sum(store.tokens for store in stores.values())
    assert even.documents == sum(map(len, LENGTHS.values()))
    assert even.characters == sum(map(sum, LENGTHS.values()))


def test_the_identity_hangs_on_contents_and_names_but_not_on_weights(
    stores: dict[str, TokenStore], vocabulary: Any
) -> None:
    one = Mixture(stores, WEIGHTS)
    assert one.fingerprint == Mixture(dict(reversed(stores.items())), dict.fromkeys(WEIGHTS, 1.0)).fingerprint
    swapped = Mixture({**stores, "wiki": stores["law"], "law": stores["wiki"]}, WEIGHTS)
    assert swapped.fingerprint != one.fingerprint
    one.require_vocabulary(vocabulary.fingerprint)
    with pytest.raises(ModelDirectoryError, match="another vocabulary"):
        one.require_vocabulary("other")
