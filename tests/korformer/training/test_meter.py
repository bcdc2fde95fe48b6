import pytest
import torch

from korformer.training import meter as module
from korformer.training.meter import Meter, gpu_utilisation, peak_memory_bytes


def test_the_average_is_right_from_the_first_step() -> None:
    meter = Meter(smoothing=0.9)
    meter.add(4.0, 10)
    assert meter.average_loss == pytest.approx(4.0)
    meter.add(2.0, 20)
    assert meter.average_loss == pytest.approx((0.9 * 4 + 2) / 1.9)


def test_a_resumed_average_goes_on() -> None:
    one, other = Meter(), Meter()
    one.add(4.0, 10)
    other.resume(one.weighted_loss, one.weight, 10)
    one.add(3.0, 20)
    other.add(3.0, 20)
    assert other.average_loss == one.average_loss


def test_pace_leaves_out_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    meter = Meter()
    for step in range(1, 4):
        now[0] += 2.0
        meter.add(1.0, 100 * step)
        now[0] += 50.0
        meter.skip(50.0)
    assert meter.tokens_per_second == pytest.approx(50.0)
    assert meter.seconds_per_step == pytest.approx(2.0)


def test_memory_is_that_of_this_process() -> None:
    assert 10**7 < peak_memory_bytes(torch.device("cpu")) < 10**12
    assert gpu_utilisation(torch.device("cpu")) is None
