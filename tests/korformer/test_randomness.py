import numpy as np
import pytest

from korformer.randomness import normal, seed_of, uniform


def test_a_draw_depends_on_its_key_alone() -> None:
    first = normal("rotation", 1, 2, shape=(3, 5))
    uniform("something else", shape=(100,))
    assert np.array_equal(first, normal("rotation", 1, 2, shape=(3, 5)))
    assert not np.array_equal(first, normal("rotation", 1, 3, shape=(3, 5)))


def test_integers_and_their_digits_are_different_keys() -> None:
    assert seed_of("a", 1) != seed_of("a", "1")
    assert seed_of(1, 12) != seed_of(11, 2)


def test_the_stream_is_pinned() -> None:
    """Weights that ship depend on these numbers: they may never change."""
    assert np.allclose(normal("pin", 0, shape=(4,)), PINNED_NORMAL, atol=1e-6)
    assert np.allclose(uniform("pin", 0, shape=(2,)), PINNED_UNIFORM, atol=1e-12)


PINNED_NORMAL = [0.329939067363739, -0.13743771612644196, -1.0591051578521729, -0.6846141815185547]
PINNED_UNIFORM = [0.540488574703115, 0.7836499591814905]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_odd_and_even_counts(count: int) -> None:
    assert normal("count", shape=(count,)).shape == (count,)


def test_moments() -> None:
    drawn = normal("moments", shape=(200_000,))
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.std() - 1) < 0.01
    assert abs((drawn**4).mean() - 3) < 0.1
    even = uniform("moments", shape=(200_000,))
    assert 0 <= even.min() < 0.001
    assert 0.999 < even.max() < 1
