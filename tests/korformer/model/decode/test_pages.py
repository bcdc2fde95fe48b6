import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from korformer.model.decode.pages import BucketPages

CPU = torch.device("cpu")
LAYERS, ROWS, BUCKETS, TOKENS = 2, 3, 4, 60


def history() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, BUCKETS, (LAYERS * ROWS, TOKENS), generator=generator)


def empty(page: int) -> BucketPages:
    table = BucketPages(LAYERS, ROWS, BUCKETS, page, CPU)
    table.reserve(TOKENS)
    return table


def grown(page: int, buckets: Tensor, parts: list[int]) -> BucketPages:
    """A table that took tokens in parts; parts of one token come through `add`."""
    table, begin = empty(page), 0
    for part in parts:
        end = begin + part
        if part == 1:
            table.add(buckets[:, begin])
        else:
            for layer in range(LAYERS):
                table.extend(layer, buckets[layer * ROWS : (layer + 1) * ROWS, begin:end])
        begin = end
    return table


def content(table: BucketPages) -> list[list[int]]:
    """Everything that can be asked of a table."""
    found = []
    for layer in range(LAYERS):
        for bucket in range(BUCKETS):
            newest = table.newest(layer, torch.full((ROWS,), bucket), table.page)
            found += newest.tolist()
            counts = table.counts(layer)[:, bucket].tolist()
            for row, count in enumerate(counts):
                at = torch.arange(count)
                found.append(table.entry(layer, torch.tensor(row), torch.tensor(bucket), at).tolist())
    return found


def by_definition(page: int, buckets: Tensor) -> list[list[int]]:
    found = []
    for layer in range(LAYERS):
        for bucket in range(BUCKETS):
            rows = [(row == bucket).nonzero().squeeze(-1).add(1).tolist() for row in buckets[layer * ROWS :][:ROWS]]
            found += [([0] * page + row)[-page:] for row in rows] + rows
    return found


@pytest.mark.parametrize("page", [1, 3, 16, 100])
@given(parts=st.lists(st.integers(1, 20), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_every_list_by_any_way(page: int, parts: list[int]) -> None:
    parts = [part for number, part in enumerate(parts) if sum(parts[: number + 1]) <= TOKENS]
    buckets = history()
    assert content(grown(page, buckets, parts)) == by_definition(page, buckets[:, : sum(parts)])


@pytest.mark.parametrize("page", [1, 3, 16])
@pytest.mark.parametrize("length", [0, 1, 17, 59])
def test_taking_tokens_off_undoes_adding_them(page: int, length: int) -> None:
    buckets = history()
    table = grown(page, buckets, [20, 1, 1, 30, 8])
    table.shorten(length)
    assert content(table) == by_definition(page, buckets[:, :length])
    untouched = grown(page, buckets, [1] * length)
    for name in ("_pages_N", "_cells"):
        assert torch.equal(getattr(table, name), getattr(untouched, name)), name
    for token in range(length, TOKENS):
        table.add(buckets[:, token])
    assert content(table) == by_definition(page, buckets)


def test_layers_that_were_stopped_half_way_come_back() -> None:
    buckets = history()
    table = grown(3, buckets, [20])
    table.extend(0, buckets[:ROWS, 20:40])
    table.shorten(20)
    assert content(table) == by_definition(3, buckets[:, :20])


def test_a_copy_is_independent() -> None:
    buckets = history()
    table = grown(3, buckets, [20])
    twin = table.copy()
    table.add(buckets[:, 20])
    assert content(twin) == by_definition(3, buckets[:, :20])
    assert content(table) == by_definition(3, buckets[:, :21])


def test_room_grows() -> None:
    buckets = torch.randint(0, BUCKETS, (LAYERS * ROWS, 3000), generator=torch.Generator().manual_seed(1))
    table = BucketPages(LAYERS, ROWS, BUCKETS, 8, CPU)
    for begin in range(0, 3000, 500):
        table.reserve(begin + 500)
        for layer in range(LAYERS):
            table.extend(layer, buckets[layer * ROWS : (layer + 1) * ROWS, begin : begin + 500])
    assert content(table) == by_definition(8, buckets)
