from collections.abc import Callable

import numpy as np
import pytest

from korformer.data.closed import ClosedPacks
from korformer.data.packing import PackSampler
from korformer.data.token_store import TokenStore
from korformer.errors import UsageError
from korformer.text.special import CLS_ID, SEP_ID


@pytest.fixture
def store(make_store: Callable[..., TokenStore]) -> TokenStore:
    """Twenty documents of 3 to 60 syllables."""
    return make_store([3 + 7 * n % 58 for n in range(20)])


def closed(store: TokenStore, pack_tokens: int = 16, **options: int) -> ClosedPacks:
    return ClosedPacks(PackSampler(store, pack_tokens=pack_tokens, seed=3, predict_next=False, **options))


def pieces(sampler: ClosedPacks, packs: int) -> list[tuple[list[int], list[int]]]:
    """Tokens and positions of each document's piece, pack by pack."""
    found = []
    for _ in range(packs):
        batch = sampler.next_packs(1)
        row = batch.documents[0]
        assert (batch.targets == -100).all()
        for document in range(int(row.max()) + 1):
            inside = row == document
            found.append((batch.tokens[0, inside].tolist(), batch.positions[0, inside].tolist()))
    return found


def test_every_piece_is_closed_and_no_token_is_lost(store: TokenStore) -> None:
    sampler = closed(store)
    content = []
    while sampler.epoch == 0:
        for tokens, positions in pieces(sampler, 1):
            assert (tokens[0], tokens[-1]) == (CLS_ID, SEP_ID)
            assert not {CLS_ID, SEP_ID} & set(tokens[1:-1])
            assert positions == list(range(len(tokens)))
            content += tokens[1:-1]
    expected = [token for index in range(store.documents) for token in store.document(index)[1:-1].tolist()]
    assert sorted(content) == sorted(expected)


def test_packs_fit_and_are_full_but_for_the_missing_ends(store: TokenStore) -> None:
    sampler = closed(store)
    counts = []
    while sampler.epoch == 0:
        batch = sampler.next_packs(1)
        assert batch.tokens.shape == (1, 16)
        counts.append(batch.real_tokens)
    assert set(counts[:-1]) <= {14, 15, 16}
    assert len(set(counts[:-1])) > 1


def test_processes_share_the_sequence_and_go_on_from_a_state(store: TokenStore) -> None:
    alone = closed(store).next_packs(6)
    two = [closed(store, rank=rank, world_size=2).next_packs(3) for rank in (0, 1)]
    assert np.array_equal(np.stack([p.tokens for p in two], axis=1).reshape(6, 16), alone.tokens)
    sampler = closed(store)
    sampler.next_packs(2)
    resumed = closed(store)
    resumed.restore(sampler.state())
    assert np.array_equal(resumed.next_packs(4).tokens, alone.tokens[2:])


def test_the_length_may_change(store: TokenStore) -> None:
    sampler = closed(store)
    sampler.next_packs(1)
    sampler.pack_tokens = 32
    assert sampler.next_packs(1).tokens.shape == (1, 32)
    with pytest.raises(UsageError, match="pack_tokens: 4 is too short .* at least 8"):
        sampler.pack_tokens = 4


def test_the_shortest_packs(store: TokenStore) -> None:
    """A piece that is nothing but the [SEP] that had no room is closed too."""
    sampler = closed(store, 8)
    assert all(len(tokens) >= 2 for tokens, _ in pieces(sampler, 40))
