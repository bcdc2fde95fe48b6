import math
from pathlib import Path

import pytest
import torch
from torch import nn

from korformer.errors import DivergedError
from korformer.events import Notice
from korformer.training.precision import MixedPrecision, Precision
from korformer.training.updating import Updater


def made(*, clip: float = 1.0, precision: Precision = "fp32") -> tuple[Updater, nn.Linear, list[object]]:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3, bias=False)
    heard: list[object] = []
    arithmetic = MixedPrecision(precision, torch.device("cpu"))
    updater = Updater(
        module=layer,
        optimizer=torch.optim.SGD(layer.parameters(), lr=1.0),
        arithmetic=arithmetic,
        clip=clip,
        path=Path("run"),
        advice="Go slower.",
        listen=heard.append,
    )
    return updater, layer, heard


def backward(updater: Updater, layer: nn.Linear, size: float) -> torch.Tensor:
    updater.arithmetic.scaled(layer(torch.full((1, 4), size)).sum()).backward()
    assert layer.weight.grad is not None
    return layer.weight.grad / updater.arithmetic.loss_scale


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(("clip", "norm"), [(1.0, 1.0), (0.0, math.sqrt(12) * 2), (100.0, math.sqrt(12) * 2)])
def test_the_weights_go_down_the_clipped_gradient(precision: Precision, clip: float, norm: float) -> None:
    updater, layer, heard = made(clip=clip, precision=precision)
    before = layer.weight.detach().clone()
    gradient = backward(updater, layer, 2.0)
    assert updater.update(1, 0.5) == pytest.approx(gradient.norm().item())
    torch.testing.assert_close(before - layer.weight, gradient * (norm / gradient.norm()), rtol=1e-4, atol=1e-5)
    assert layer.weight.grad is None
    assert heard == []


@pytest.mark.parametrize(("size", "loss"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_what_is_not_finite_changes_nothing(size: float, loss: float) -> None:
    updater, layer, _ = made()
    before = layer.weight.detach().clone()
    backward(updater, layer, size)
    with pytest.raises(DivergedError, match=r"training diverged at step 7: loss .*Go slower\."):
        updater.update(7, loss)
    assert torch.equal(layer.weight, before)


def test_an_overflow_in_fp16_is_told_and_the_next_step_works() -> None:
    updater, layer, heard = made(precision="fp16")
    before, scale = layer.weight.detach().clone(), updater.arithmetic.loss_scale
    backward(updater, layer, math.inf)
    assert not math.isfinite(updater.update(3, 1.0))
    assert torch.equal(layer.weight, before)
    assert updater.arithmetic.loss_scale < scale
    (notice,) = heard
    assert isinstance(notice, Notice)
    assert "step 3 changed nothing" in notice.text
    backward(updater, layer, 1.0)
    updater.update(4, 1.0)
    assert not torch.equal(layer.weight, before)
