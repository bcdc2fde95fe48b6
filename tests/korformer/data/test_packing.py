from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from korformer.data.order import Order
from korformer.data.packing import Packs, PackSampler, epoch_packs
from korformer.data.store import TokenStore
from korformer.errors import InputError, ModelDirectoryError

LENGTHS = [3, 1, 40, 7, 7, 2, 100, 1, 5, 13, 29, 8, 64, 4]
NAMES = ("tokens", "targets", "documents", "positions")


def oracle(store: TokenStore, order: list[int], pack_tokens: int) -> list[dict[str, list[int]]]:
    """The definition, a token at a time."""
    packs: list[dict[str, list[int]]] = []
    for document in order:
        ids = store.document(document).tolist()
        begin = True
        for index in range(len(ids) - 1):
            if not packs or len(packs[-1]["tokens"]) == pack_tokens:
                packs.append({name: [] for name in NAMES})
                begin = True
            pack = packs[-1]
            last = pack["documents"][-1] if pack["documents"] else -1
            pack["documents"].append(last + 1 if begin else last)
            pack["positions"].append(0 if begin else pack["positions"][-1] + 1)
            pack["tokens"].append(ids[index])
            pack["targets"].append(ids[index + 1])
            begin = False
    for name, empty in zip(NAMES, (0, -100, -1, 0), strict=True):
        packs[-1][name] += [empty] * (pack_tokens - len(packs[-1][name]))
    return packs


def rows(packs: Packs) -> list[dict[str, list[int]]]:
    return [{name: getattr(packs, name)[row].tolist() for name in NAMES} for row in range(len(packs.tokens))]


def same(one: Packs, other: Packs) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in NAMES)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    pack_tokens=st.integers(1, 50),
    batch=st.integers(1, 7),
    world_size=st.integers(1, 4),
    shuffle=st.booleans(),
)
def test_equals_the_definition(
    make_store: Any, lengths: list[int], pack_tokens: int, batch: int, world_size: int, shuffle: bool
) -> None:
    store = make_store(lengths)
    expected = []
    for epoch in range(3):
        order = Order(len(lengths), seed=5, epoch=epoch, shuffle=shuffle)(np.arange(len(lengths))).tolist()
        expected += oracle(store, order, pack_tokens)
    samplers = [
        PackSampler(store, pack_tokens=pack_tokens, seed=5, shuffle=shuffle, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    got: list[dict[str, list[int]]] = []
    while len(got) < len(expected):
        blocks = [rows(sampler.next_packs(batch)) for sampler in samplers]
        got += [blocks[rank][row] for row in range(batch) for rank in range(world_size)]
        assert len({json.dumps(sampler.state()) for sampler in samplers}) == 1
    assert got[: len(expected)] == expected
    if not shuffle:
        once = [row for packs in epoch_packs(store, pack_tokens=pack_tokens, batch=batch) for row in rows(packs)]
        assert once == expected[: len(expected) // 3]


@pytest.mark.parametrize("pack_tokens", [1, 5, 16, 64, 1000, 65_536])
def test_every_token_after_cls_is_predicted_exactly_once_an_epoch(make_store: Any, pack_tokens: int) -> None:
    store = make_store(LENGTHS)
    sampler = PackSampler(store, pack_tokens=pack_tokens, seed=0)
    found: list[list[tuple[int, int]]] = []  # of each segment, its (input, target) pairs
    while sampler.epoch == 0:
        packs = sampler.next_packs(1)
        real = packs.documents[0] >= 0
        assert np.array_equal(real, packs.targets[0] != -100)
        assert not packs.tokens[0][~real].any()
        for document in range(packs.documents[0].max() + 1):
            inside = packs.documents[0] == document
            assert packs.positions[0][inside].tolist() == list(range(inside.sum()))
            found.append(list(zip(packs.tokens[0][inside].tolist(), packs.targets[0][inside].tolist(), strict=True)))
    texts: list[list[tuple[int, int]]] = []
    for segment in found:  # [CLS] begins a document, anything else goes on with the one before
        if segment[0][0] == 2:
            texts.append([])
        texts[-1] += segment
    expected = []
    for document in range(store.documents):
        ids = store.document(document).tolist()
        expected.append(list(pairwise(ids)))
    assert sorted(texts) == sorted(expected)
    assert [text[0] for text in texts] != [text[0] for text in expected]


def test_a_document_longer_than_several_packs(make_store: Any) -> None:
    store = make_store([2, 100])
    sampler = PackSampler(store, pack_tokens=16, seed=0, shuffle=False)
    packs = sampler.next_packs(7)
    assert packs.documents[0].tolist() == [0, 0, 0] + [1] * 13
    assert all(
        (packs.documents[row] == 0).all() and packs.positions[row].tolist() == list(range(16)) for row in range(1, 6)
    )
    assert packs.tokens[1, 0] == packs.targets[0, -1]
    assert packs.documents[6].tolist() == [0] * 8 + [-1] * 8


def test_the_last_pack_of_an_epoch_is_kept_and_the_next_epoch_has_its_own(make_store: Any) -> None:
    store = make_store([5, 5])
    sampler = PackSampler(store, pack_tokens=8, seed=0)
    packs = sampler.next_packs(4)
    assert [(row >= 0).sum() for row in packs.documents] == [8, 4, 8, 4]
    assert sampler.epoch == 2


def test_dtypes_and_shapes(make_store: Any) -> None:
    packs = PackSampler(make_store(LENGTHS), pack_tokens=9, seed=0).next_packs(3)
    assert [getattr(packs, name).shape for name in NAMES] == [(3, 9)] * 4
    assert [getattr(packs, name).dtype for name in NAMES] == [np.int64, np.int64, np.int32, np.int32]


class TestState:
    def test_restored_anywhere_the_same_packs_follow(self, make_store: Any) -> None:
        store = make_store(LENGTHS)
        sampler = PackSampler(store, pack_tokens=16, seed=4)
        states, given_ = [], []
        for _ in range(60):
            states.append(json.loads(json.dumps(sampler.state())))
            given_.append(sampler.next_packs(1))
        assert sampler.epoch >= 3
        for place, state in enumerate(states):
            again = PackSampler(store, pack_tokens=16, seed=4)
            again.restore(state)
            assert again.state() == state
            assert all(same(again.next_packs(1), pack) for pack in given_[place : place + 20])
        sampler.restore(states[7])  # also one that has gone on
        assert same(sampler.next_packs(1), given_[7])

    def test_does_not_hang_on_batch_size_or_number_of_processes(self, make_store: Any) -> None:
        store = make_store(LENGTHS)
        states = []
        for batch, world_size in ((12, 1), (1, 1), (3, 4), (1, 12), (2, 3)):
            sampler = PackSampler(store, pack_tokens=16, seed=4, rank=world_size - 1, world_size=world_size)
            for _ in range(12 // batch // world_size):
                sampler.next_packs(batch)
            states.append(sampler.state())
        assert all(state == states[0] for state in states)
        assert states[0]["packs"] == 12

    def test_is_small(self, make_store: Any) -> None:
        sampler = PackSampler(make_store([1] * 3000), pack_tokens=16, seed=4)
        sampler.next_packs(150)
        assert len(json.dumps(sampler.state())) < 100

    @pytest.mark.parametrize(
        "change",
        [
            {"position": len(LENGTHS)},
            {"position": -1},
            {"offset": 10**30},
            {"offset": sum(LENGTHS)},
            {"epoch": 1.0},
            {"packs": "3"},
            {"packs": None},
            {"position": True},
        ],
    )
    def test_one_that_is_none_is_refused_and_changes_nothing(self, make_store: Any, change: dict[str, Any]) -> None:
        sampler = PackSampler(make_store(LENGTHS), pack_tokens=16, seed=4)
        sampler.next_packs(3)
        before = sampler.state()
        with pytest.raises(ModelDirectoryError, match="saved place"):
            sampler.restore(before | change)
        assert sampler.state() == before

    def test_the_length_of_packs_may_change_on_the_way(self, make_store: Any) -> None:
        store = make_store(LENGTHS)
        sampler = PackSampler(store, pack_tokens=8, seed=4)
        stream: list[int] = []
        for pack_tokens in (8, 32, 20):
            sampler.pack_tokens = pack_tokens
            stream += sampler.next_packs(2).targets.reshape(-1).tolist()
        whole = PackSampler(store, pack_tokens=len(stream), seed=4).next_packs(1)
        assert stream == whole.targets[0].tolist()


def test_the_order_changes_with_epoch_and_seed(make_store: Any) -> None:
    store = make_store([8] * 64)
    sampler = PackSampler(store, pack_tokens=9 * 64, seed=1)
    first, second = sampler.next_packs(1), sampler.next_packs(1)
    other = PackSampler(store, pack_tokens=9 * 64, seed=2).next_packs(1)
    assert not same(first, second)
    assert not same(first, other)
    assert sorted(first.tokens[0].tolist()) == sorted(second.tokens[0].tolist())


def test_many_documents_cross_the_chunks_in_which_lengths_are_read(make_store: Any) -> None:
    lengths = [1 + index % 5 for index in range(2500)]
    store = make_store(lengths)
    sampler = PackSampler(store, pack_tokens=300, seed=1)
    order = Order(2500, seed=1, epoch=0)(np.arange(2500)).tolist()
    expected = oracle(store, order, 300)
    assert rows(sampler.next_packs(len(expected))) == expected


def test_a_store_without_anything_to_predict(make_store: Any) -> None:
    store = make_store([1])
    store.tokens = store.documents
    with pytest.raises(InputError, match="nothing to predict"):
        PackSampler(store, pack_tokens=4, seed=0)


def test_impossible_arguments(make_store: Any) -> None:
    store = make_store([1])
    impossible: list[dict[str, Any]] = [
        {"pack_tokens": 0},
        {"rank": 2, "world_size": 2},
        {"rank": -1},
        {"world_size": 0},
    ]
    for arguments in impossible:
        with pytest.raises(ValueError, match="pack_tokens="):
            PackSampler(store, **({"pack_tokens": 4, "seed": 0} | arguments))
