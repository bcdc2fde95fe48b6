import pytest

from korformer.training.curves import Curve, Figure


def test_a_long_curve_keeps_few_points_that_are_means() -> None:
    curve = Curve(most=8)
    for number in range(1, 1001):
        curve.add(number, float(number), tokens=2 * number)
    points = curve.points()
    assert 4 <= len(points) <= 8
    assert points[-1].step == 1000
    sizes = [point.step - before for point, before in zip(points, [0, *(point.step for point in points)], strict=False)]
    for point, size in zip(points, sizes, strict=True):
        assert point.value == pytest.approx(point.step - (size - 1) / 2)
        assert point.tokens == 2 * point.step


def test_going_back_leaves_nothing_of_what_was_undone() -> None:
    curve = Curve(most=8)
    for number in range(1, 101):
        curve.add(number, 1.0 if number <= 50 else 99.0)
    curve.go_back(50)
    assert curve.points()
    assert all(point.step <= 50 and point.value == 1.0 for point in curve.points())


@pytest.mark.parametrize(("name", "best"), [("perplexity", (2, 3.0)), ("f1", (3, 7.0))])
def test_the_best_of_a_figure_by_its_name_and_after_going_back(name: str, best: tuple[int, float]) -> None:
    figure = Figure(name)
    for number, value in enumerate([5.0, 3.0, 7.0, 4.0], start=1):
        figure.add(number, value, tokens=0, time=0.0)
    assert figure.best == best
    assert figure.latest == 4.0
    figure.go_back(1)
    assert figure.best == (1, 5.0)
    assert figure.latest == 5.0
    figure.go_back(0)
    assert figure.best is None
