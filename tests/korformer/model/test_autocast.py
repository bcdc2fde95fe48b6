"""Mixed precision: gradients near float32's, residual streams in float32, recomputation in the same precision."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from model_variants import VOCABULARY
from torch import Tensor

from korformer.model import blocks
from korformer.model.backbone import ReformerModel, TrainingDraw, _Layer
from korformer.model.config import ModelConfig
from korformer.model.losses import linear_cross_entropy

DRAW = TrainingDraw(seed=0, step=1, samples=range(2))


def make(**fields: object) -> ReformerModel:
    config = ModelConfig(dim=64, depth=2, heads=4, max_seq_len=128, bucket_size=16, n_hashes=2, rehash=False, **fields)  # type: ignore[arg-type]
    model = ReformerModel(config, VOCABULARY)
    model.initialise(1)
    return model.train()


def tokens() -> Tensor:
    return torch.randint(5, VOCABULARY, (2, 100), generator=torch.Generator().manual_seed(0))


def gradients(model: ReformerModel, *, mixed: bool, reversible: bool = False) -> dict[str, Tensor]:
    batch = tokens()
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        hidden = model(batch, draw=DRAW, reversible=reversible)
        mean, _ = model.loss(hidden[:, :-1], batch[:, 1:])
    assert mean.dtype == torch.float32
    mean.backward()
    found = {name: parameter.grad for name, parameter in model.lm.named_parameters() if parameter.grad is not None}
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    return found


KINDS = [
    {"n_local_attn_heads": 2},
    {"attention": "lsh", "n_local_attn_heads": 1},
    {"attention": "local"},
    {"attention": "full"},
    {"attention": "lsh", "causal": False},
    {"attention": "local", "causal": False},
]


@pytest.mark.parametrize("fields", KINDS)
@pytest.mark.parametrize("reversible", [False, True])
def test_gradients_are_near_those_of_float32(fields: dict[str, object], reversible: bool) -> None:
    model = make(**fields)
    exact, mixed = (gradients(model, mixed=mixed, reversible=reversible) for mixed in (False, True))
    assert exact.keys() == mixed.keys()
    for name, gradient in exact.items():
        distance = (mixed[name] - gradient).norm() / gradient.norm()
        assert distance < 0.15, name


@pytest.mark.parametrize("fields", KINDS)
@pytest.mark.parametrize("reversible", [False, True])
def test_gradients_where_autocast_takes_norms_in_float32(
    fields: dict[str, object], reversible: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does on a GPU: what is divided by a norm is float32 there, beside queries in bfloat16."""
    normalize = F.normalize

    def widened(x: Tensor, **how: Any) -> Tensor:
        return normalize(x.float() if torch.is_autocast_enabled("cpu") else x, **how)

    monkeypatch.setattr(blocks.F, "normalize", widened)
    model = make(**fields)
    exact, mixed = (gradients(model, mixed=mixed, reversible=reversible) for mixed in (False, True))
    for name, gradient in exact.items():
        assert (mixed[name] - gradient).norm() / gradient.norm() < 0.15, name


@pytest.mark.parametrize("reversible", [False, True])
def test_residual_streams_stay_in_float32(reversible: bool) -> None:
    seen: list[torch.dtype] = []
    model = make(n_local_attn_heads=2)
    for attention, feed_forward in model.layers:
        for wrapper in (attention, feed_forward):
            wrapper.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))  # type: ignore[union-attr]
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model(tokens(), draw=DRAW, reversible=reversible)
    assert hidden.dtype == torch.float32
    assert seen
    assert set(seen) == {torch.float32}


@pytest.mark.parametrize("block", ["attend", "feed_forward"])
def test_recomputation_repeats_the_forward_bit_for_bit(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of streams that come back without rounding, a block makes the same bits again, autocast or not around backward.

    The last feed-forward block sees the very stream that the forward pass ended with; the last attention block does
    where that feed-forward block adds nothing.
    """
    model = make(n_local_attn_heads=2)
    if block == "attend":
        with torch.no_grad():
            for name, parameter in model.layers[-1][1].named_parameters():
                if "w2" in name:
                    parameter.zero_()
    values: list[Tensor] = []
    compute = getattr(_Layer, block)

    def record(layer: _Layer, *inputs: object) -> object:
        result = compute(layer, *inputs)
        if layer.number == model.config.depth - 1:
            values.append((result[0] if block == "attend" else result).detach().clone())
        return result

    monkeypatch.setattr(_Layer, block, record)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model(tokens(), draw=DRAW, reversible=True)
    forward_calls = len(values)
    hidden.square().mean().backward()  # outside autocast
    assert len(values) == 2 * forward_calls > 0
    for ours, again in zip(values[:forward_calls], values[forward_calls:], strict=True):
        assert again.dtype == ours.dtype
        assert torch.equal(ours, again)


def test_reversible_and_ordinary_gradients_agree() -> None:
    model = make(n_local_attn_heads=2)
    ordinary, reversible = (gradients(model, mixed=True, reversible=reversible) for reversible in (False, True))
    for name, gradient in ordinary.items():
        distance = (reversible[name] - gradient).norm() / gradient.norm()
        assert distance < 0.02, name


@pytest.mark.parametrize("bias", [False, True])
def test_loss_and_its_gradients_under_autocast(bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(50, 32, generator=generator), torch.randn(200, 32, generator=generator) / 4
    offset = torch.randn(200, generator=generator) if bias else None
    targets = torch.randint(0, 200, (50,), generator=generator)
    inputs = [x.requires_grad_() for x in (hidden, weight, offset) if x is not None]
    found = []
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            mean, losses = linear_cross_entropy(hidden, weight, offset, targets)
        assert mean.dtype == losses.dtype == torch.float32
        found.append([mean, *torch.autograd.grad(mean, inputs)])
    for exact, mixed_result in zip(*found, strict=True):
        assert (mixed_result - exact).norm() / exact.norm() < 0.01
