import pytest

from korformer.supervised.evaluating import lowest


@pytest.mark.parametrize(
    ("scores", "most", "expected"),
    [
        ([0.5, 0.1, 0.9], 2, [1, 0]),
        ([0.5, 0.1], 5, [1, 0]),
        ([], 3, []),
        ([0.0] * 10, 3, [0, 3, 6]),
        ([0.0] * 10, 1, [0]),
        ([0.5, 0.0, 0.5, 0.5, 0.1, 0.5], 4, [1, 4, 0, 3]),  # what is worse has room first
        ([0.0, 0.5, 0.0], 2, [0, 2]),
    ],
)
def test_the_lowest_scores_and_of_equal_ones_some_from_all_over(
    scores: list[float], most: int, expected: list[int]
) -> None:
    assert lowest(scores, most) == expected
