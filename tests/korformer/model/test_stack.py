"""The reversible form computes what the other does, and remembers what it must."""

from __future__ import annotations

import pytest
import torch
from model_variants import ALL, SMALL, VOCABULARY, make

from korformer.model.backbone import ReformerModel, TrainingDraw
from korformer.model.config import ModelConfig
from korformer.model.stack import run_layers


def gradients(
    model: ReformerModel, tokens: torch.Tensor, *, reversible: bool, draw: TrainingDraw | None = None
) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss, _ = model.loss(model(tokens, draw=draw, reversible=reversible), tokens.roll(-1, 1))
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.lm.named_parameters() if p.grad is not None}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 1e-9) -> None:
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        assert (gradient - other[name]).norm() <= tolerance * gradient.norm().clamp_min(1e-3), name


@pytest.mark.parametrize("variant", ALL)
def test_reversible_gradients_are_those_of_the_ordinary_form(variant: str, tokens: torch.Tensor) -> None:
    model = make(variant).double()
    tokens = tokens.expand(2, -1).clone()
    tokens[1] = tokens[1].flip(0)
    draw = TrainingDraw(seed=1, step=2, samples=range(2))
    assert_same(
        gradients(model, tokens, reversible=False, draw=draw), gradients(model, tokens, reversible=True, draw=draw)
    )


def test_both_forms_begin_with_the_same_forward_at_widths_of_long_sums() -> None:
    """Without a graph products of more than a thousand terms are cut; not those that are done again with one."""
    model = ReformerModel(ModelConfig(dim=272, depth=2, heads=4, max_seq_len=128, bucket_size=16), VOCABULARY)
    model.initialise(1)
    tokens = torch.randint(5, VOCABULARY, (1, 100), generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(tokens, reversible=True), model(tokens, reversible=False))


def test_dropped_units_and_layers_are_found_again(tokens: torch.Tensor) -> None:
    rates = {"ff_dropout": 0.3, "post_attn_dropout": 0.2, "layer_dropout": 0.4}
    model = ReformerModel(ModelConfig(**{**SMALL, "depth": 6, **rates}), VOCABULARY).double()  # type: ignore[arg-type]
    model.initialise(1)
    draw = TrainingDraw(seed=1, step=2, samples=range(1))
    ordinary = gradients(model, tokens, reversible=False, draw=draw)
    assert_same(ordinary, gradients(model, tokens, reversible=True, draw=draw))
    assert len(ordinary) < len(gradients(model, tokens, reversible=False))  # a skipped layer gets no gradient


def test_two_forwards_before_a_backward_do_not_mix(tokens: torch.Tensor) -> None:
    model = make("mixed heads, axial").double()
    other = tokens.flip(1)

    def loss(x: torch.Tensor, step: int) -> torch.Tensor:
        draw = TrainingDraw(seed=1, step=step, samples=range(1))
        return model.loss(model(x, draw=draw, reversible=True), x.roll(-1, 1))[0]

    def of(x: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        model.zero_grad()
        loss(x, step).backward()  # type: ignore[no-untyped-call]
        return {name: p.grad.clone() for name, p in model.lm.named_parameters() if p.grad is not None}

    first, second = of(tokens, 1), of(other, 2)
    model.zero_grad()
    one, two = loss(tokens, 1), loss(other, 2)
    one.backward()  # type: ignore[no-untyped-call]
    two.backward()  # type: ignore[no-untyped-call]
    both = {name: p.grad for name, p in model.lm.named_parameters() if p.grad is not None}
    assert_same({name: first[name] + second[name] for name in first}, both)


def test_layers_get_gradients_when_the_embedding_is_frozen(tokens: torch.Tensor) -> None:
    model = make("hashed heads, rotary").double()
    expected = gradients(model, tokens, reversible=False)
    model.lm.token_emb.weight.requires_grad_(False)
    frozen = gradients(model, tokens, reversible=True)
    assert "token_emb.weight" not in frozen
    assert_same({name: gradient for name, gradient in expected.items() if name != "token_emb.weight"}, frozen)


def test_a_frozen_layer_is_left_alone(tokens: torch.Tensor) -> None:
    model = make("mixed heads, axial").double()
    for parameter in model.layers[1][0].parameters():
        parameter.requires_grad_(False)
    assert_same(gradients(model, tokens, reversible=False), gradients(model, tokens, reversible=True))


def test_recomputation_under_autocast_has_the_precision_of_the_forward(tokens: torch.Tensor) -> None:
    """The streams that backward finds again are those of the forward to fp32's rounding, not to bfloat16's."""

    class Doubling:
        """A layer with one matrix, which looks at the streams that come back."""

        def __init__(self) -> None:
            self.weight = torch.randn(16, 16, requires_grad=True)
            self.seen: list[torch.Tensor] = []

        def attend(self, x: torch.Tensor, buckets: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
            self.seen.append(x.detach().clone())
            return x @ self.weight, buckets

        def feed_forward(self, x: torch.Tensor, first: int) -> torch.Tensor:
            return torch.tanh(x @ self.weight)

        def attention_parameters(self) -> list[torch.Tensor]:
            return [self.weight]

        def feed_forward_parameters(self) -> list[torch.Tensor]:
            return [self.weight]

    torch.manual_seed(0)
    layer = Doubling()
    x = torch.randn(1, 40, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = run_layers([layer], x, reversible=True)
    assert out.dtype == torch.float32
    out.sum().backward()  # type: ignore[no-untyped-call]
    forward, again = layer.seen
    assert torch.allclose(forward, again, atol=1e-6)
    assert layer.weight.grad is not None


def test_a_second_backward_is_refused(tokens: torch.Tensor) -> None:
    model = make("local, rotary")
    loss, _ = model.loss(model(tokens, reversible=True), tokens)
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="one backward"):
        loss.backward()  # type: ignore[no-untyped-call]


def test_without_gradients_both_forms_agree(tokens: torch.Tensor) -> None:
    model = make("layers differ")
    with torch.no_grad():
        plain = model(tokens)
    assert torch.allclose(plain, model(tokens).detach(), atol=1e-5)
