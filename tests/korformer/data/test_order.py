from __future__ import annotations

import numpy as np
import pytest

from korformer.data.order import Order


@pytest.mark.parametrize("count", [*range(1, 40), 63, 64, 65, 255, 256, 257, 1000, 4095, 4096, 4097, 99_991])
def test_is_a_permutation(count: int) -> None:
    everything = np.arange(count)
    for seed, epoch in ((0, 0), (0, 1), (12345678901, 7)):
        order = Order(count, seed=seed, epoch=epoch)(everything)
        assert np.array_equal(np.sort(order), everything)


def test_any_part_of_it_can_be_asked_for() -> None:
    order = Order(5000, seed=3, epoch=2)
    whole = order(np.arange(5000))
    assert np.array_equal(order(np.arange(1234, 1240)), whole[1234:1240])
    assert np.array_equal(order(np.array([4999, 0, 17, 17])), whole[[4999, 0, 17, 17]])


def test_the_domain_may_be_huge() -> None:
    count = 3 * 10**12
    numbers = Order(count, seed=0, epoch=0)(np.arange(count - 1000, count))
    assert numbers.min() >= 0
    assert numbers.max() < count
    assert len(set(numbers.tolist())) == 1000


def test_seeds_and_epochs_differ_and_repeat() -> None:
    everything = np.arange(2000)
    orders = [Order(2000, seed=seed, epoch=epoch)(everything) for seed in range(3) for epoch in range(3)]
    for index, order in enumerate(orders):
        for other in orders[:index]:
            assert np.mean(order == other) < 0.01
    assert np.array_equal(Order(2000, seed=1, epoch=2)(everything), orders[5])


def test_is_pinned_so_that_saved_places_keep_their_meaning() -> None:
    assert Order(10, seed=1, epoch=0)(np.arange(10)).tolist() == [3, 5, 1, 7, 6, 8, 9, 2, 0, 4]


def test_looks_random() -> None:
    """Numbers near each other do not stay near: mean distance a third of the range, no correlation."""
    count = 10_000
    order = Order(count, seed=9, epoch=0)(np.arange(count))
    assert abs(np.mean(np.abs(np.diff(order))) / count - 1 / 3) < 0.02
    assert abs(np.corrcoef(np.arange(count), order)[0, 1]) < 0.04
    first = [Order(count, seed=seed, epoch=0)(np.arange(1))[0] for seed in range(400)]
    counts, _ = np.histogram(first, bins=8, range=(0, count))
    assert counts.min() > 25


def test_unshuffled_is_as_stored() -> None:
    assert Order(9, seed=1, epoch=1, shuffle=False)(np.arange(9)).tolist() == list(range(9))
