"""Seven ways in which the stock library goes wrong: each is shown on it, and is right or refused by name here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import library
import pytest
import torch
from reformer_pytorch import Autopadder, ReformerLM
from reformer_pytorch.generative_tools import top_p as library_top_p
from torch import Tensor, nn

from korformer.config import build
from korformer.errors import UsageError
from korformer.generation.filters import top_p
from korformer.model.backbone import ReformerModel, TrainingDraw
from korformer.model.config import ModelConfig

SHAPE: dict[str, Any] = {"dim": 32, "depth": 2, "max_seq_len": 64, "heads": 4, "bucket_size": 8, "n_hashes": 2}
DRAW = TrainingDraw(seed=1, step=2, samples=range(2))
ALWAYS_REVERSIBLE, NEVER_REVERSIBLE = 0, 10**6

Gradients = dict[str, Tensor]


def stock(**options: Any) -> ReformerLM:
    """The library's own language model in float64."""
    torch.manual_seed(0)
    shape = {**SHAPE, "dim_head": 8, "causal": True, "ff_chunks": 1, "axial_position_emb": True}
    return ReformerLM(num_tokens=library.VOCABULARY, **{**shape, **options}).double().train()


def loss_of(scores_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    return nn.functional.cross_entropy(scores_BTV.flatten(0, 1), tokens_BT.roll(-1, 1).flatten())


def gradients(module: nn.Module, losses: Callable[[], list[Tensor]]) -> Gradients:
    """What one backward over the sum of these losses leaves in the parameters; the library's draws are seeded."""
    module.zero_grad()
    torch.manual_seed(3)
    torch.stack(losses()).sum().backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.grad is not None}


def in_layers(gradients: Gradients) -> Gradients:
    return {name: gradient for name, gradient in gradients.items() if ".blocks." in name}


def error(one: Gradients, other: Gradients) -> float:
    """Largest relative error of a parameter's gradient."""
    assert one.keys() == other.keys()
    assert in_layers(one)
    return max(float((one[name] - other[name]).norm() / one[name].norm().clamp_min(1e-9)) for name in one)


def both_forms(losses: Callable[[ReformerLM], list[Tensor]], **options: Any) -> float:
    """Error of the library's reversible gradients, measured by its own irreversible ones."""
    found = []
    for threshold in (NEVER_REVERSIBLE, ALWAYS_REVERSIBLE):
        lm = stock(reverse_thres=threshold, **options)
        found.append(gradients(lm, lambda lm=lm: losses(lm)))  # type: ignore[misc]
    return error(*found)


def our_loss(model: ReformerModel, tokens: Tensor, *, reversible: bool = True) -> Tensor:
    return loss_of(library.logits(model, tokens, draw=DRAW, reversible=reversible), tokens)


def our_error(model: ReformerModel, losses: Callable[[bool], list[Tensor]]) -> float:
    return error(gradients(model.lm, lambda: losses(False)), gradients(model.lm, lambda: losses(True)))


def test_1_attention_in_pieces_under_reversible_layers() -> None:
    """Buckets are kept by layer alone there, so backward finds those of the last piece for all."""
    tokens = library.tokens()
    assert both_forms(lambda lm: [loss_of(lm(tokens), tokens)], attn_chunks=1) < 1e-10
    assert both_forms(lambda lm: [loss_of(lm(tokens), tokens)], attn_chunks=2) > 0.1
    with pytest.raises(UsageError, match="attn_chunks: is not needed: .* the same result"):
        build(ModelConfig, {"attn_chunks": 2})
    # Pieces of our own choosing change nothing.
    model = library.make()
    assert our_error(model, lambda reversible: [our_loss(model, tokens, reversible=reversible)]) < 1e-10


def test_2_two_forwards_before_one_backward() -> None:
    """The second forward overwrites the buckets and random states that the first one's backward needs."""
    one, other = library.tokens(), library.tokens().flip(1)
    assert both_forms(lambda lm: [loss_of(lm(one), one), loss_of(lm(other), other)]) > 0.1
    model = library.make(ff_dropout=0.1)
    assert (
        our_error(model, lambda reversible: [our_loss(model, x, reversible=reversible) for x in (one, other)]) < 1e-10
    )


def test_3_a_frozen_embedding() -> None:
    """If the layers' input needs no gradient, none of them gets one there."""
    tokens = library.tokens()
    lm = stock()
    for parameter in (*lm.token_emb.parameters(), *lm.pos_emb.parameters()):
        parameter.requires_grad_(False)
    assert in_layers(gradients(lm, lambda: [loss_of(lm(tokens), tokens)])) == {}
    model = library.make(weight_tie_embedding=False)
    expected = gradients(model.lm, lambda: [our_loss(model, tokens)])
    for parameter in (*model.lm.token_emb.parameters(), *model.lm.pos_emb.parameters()):
        parameter.requires_grad_(False)
    frozen = gradients(model.lm, lambda: [our_loss(model, tokens)])
    assert error({name: gradient for name, gradient in expected.items() if name in frozen}, frozen) < 1e-10
    assert in_layers(frozen).keys() == in_layers(expected).keys()


def test_4_skipped_layers_and_irreversible_ones() -> None:
    """Where layers are dropped the library runs the reversible blocks even if it should not; nothing reaches them."""
    tokens = library.tokens()
    lm = stock(layer_dropout=0.1, reverse_thres=NEVER_REVERSIBLE)
    assert in_layers(gradients(lm, lambda: [loss_of(lm(tokens), tokens)])) == {}
    model = library.make(layer_dropout=0.1)
    for reversible in (False, True):
        reached = gradients(model.lm, lambda reversible=reversible: [our_loss(model, tokens, reversible=reversible)])  # type: ignore[misc]
        assert in_layers(reached)
        assert all(gradient.abs().sum() > 0 for gradient in in_layers(reached).values())
    assert our_error(model, lambda reversible: [our_loss(model, tokens, reversible=reversible)]) < 1e-10


@contextmanager
def precisions(projection: nn.Module) -> Iterator[list[torch.dtype]]:
    """Type of every output of a module."""
    seen: list[torch.dtype] = []
    handle = projection.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    try:
        yield seen
    finally:
        handle.remove()


def test_5_recomputation_under_autocast() -> None:
    """The library recomputes in another precision than it computed: its backward knows no autocast."""
    tokens = library.tokens()
    lm = stock().float()
    with precisions(lm.reformer.layers.blocks[0].f.net.fn.toqk) as seen:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(lm(tokens).float(), tokens)
        loss.backward()  # type: ignore[no-untyped-call]
    assert seen == [torch.bfloat16, torch.float32]
    model = library.make().float()
    with precisions(model.layers[0][0].fn.toqk) as seen:  # type: ignore[arg-type]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = our_loss(model, tokens)
        loss.backward()  # type: ignore[no-untyped-call]
    assert seen == [torch.bfloat16, torch.bfloat16]


def test_6_a_nucleus_is_what_reaches_the_mass() -> None:
    """The library's top_p(0.9) keeps what reaches 0.1, one token of these five."""
    probabilities = torch.tensor([0.5, 0.3, 0.1, 0.06, 0.04], dtype=torch.float64)
    theirs = library_top_p(probabilities.log()[None].clone(), thres=0.9)[0]
    assert theirs.isfinite().tolist() == [True, False, False, False, False]
    ours = top_p(probabilities.log().float(), 0.9)
    assert ours.isfinite().tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("causal", [True, False])
def test_7_local_heads_and_any_length(causal: bool) -> None:
    """Below full_attn_thres the library's Autopadder does not pad, and its local heads refuse the length."""
    tokens = library.tokens(length=50)
    padded = Autopadder(stock(n_local_attn_heads=2, full_attn_thres=64, causal=causal))
    with pytest.raises(AssertionError, match="sequence length 50 must be divisible by window size 16"):
        padded(tokens)
    with pytest.raises(UsageError, match="full_attn_thres: is not supported"):
        build(ModelConfig, {"full_attn_thres": 64})
    model = library.make(n_local_attn_heads=2, causal=causal)
    with torch.no_grad():
        ours = library.logits(model, tokens)
        longer = library.logits(
            model,
            nn.functional.pad(tokens, (0, 14)),
            documents_BT=torch.where(torch.arange(64) < 50, 0, -1).expand(2, -1),
        )
    torch.testing.assert_close(ours, longer[:, :50], atol=1e-9, rtol=0)
    assert ours.isfinite().all()
