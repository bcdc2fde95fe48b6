import pytest
import torch

from korformer.model.buckets import BucketTable


def held(table: BucketTable) -> list[set[int]]:
    """Positions in every (head, round, bucket)."""
    H, R, _ = table.history_HRT.shape
    found = []
    for bucket in range(table.buckets):
        at, mask = table.read(torch.full((H, R), bucket))
        found += [set(a[m].tolist()) for a, m in zip(at.flatten(0, 1), mask.flatten(0, 1), strict=True)]
    return found


@pytest.mark.parametrize("window", [1, 3, 50])
def test_the_newest_of_each_bucket_by_any_way(window: int) -> None:
    torch.manual_seed(0)
    H, R, K, T = 2, 3, 4, 40
    history = torch.randint(0, K, (H, R, T))
    stepped = BucketTable(H, R, K, window, T)
    snapshots = {}
    for t in range(T):
        stepped.append(t, history[:, :, t])
        snapshots[t + 1] = held(stepped)
    by_definition = [
        set([t for t in range(T) if history[h, r, t] == bucket][-window:])
        for bucket in range(K)
        for h in range(H)
        for r in range(R)
    ]
    assert held(stepped) == by_definition
    for length in (T, 17, 1, 0, 33):
        stepped.rebuild(length)
        assert held(stepped) == (snapshots[length] if length else [set()] * (H * R * K))


def test_a_rebuilt_table_goes_on_like_a_stepped_one() -> None:
    torch.manual_seed(1)
    history = torch.randint(0, 3, (1, 2, 30))
    one, other = BucketTable(1, 2, 3, 4, 30), BucketTable(1, 2, 3, 4, 30)
    for t in range(30):
        one.append(t, history[:, :, t])
        other.append(t, history[:, :, t])
        if t == 20:
            other.rebuild(21)
    for a, b in ((one._slots, other._slots), (one._counts, other._counts)):
        assert torch.equal(a, b)


def test_a_copy_is_independent() -> None:
    table = BucketTable(1, 1, 2, 2, 4)
    table.append(0, torch.zeros(1, 1, dtype=torch.long))
    twin = table.copy()
    table.append(1, torch.zeros(1, 1, dtype=torch.long))
    assert held(twin) == [{0}, set()]
    assert held(table) == [{0, 1}, set()]
