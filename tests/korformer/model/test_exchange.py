from typing import Any

import library
import pytest
import torch
from reformer_pytorch import ReformerLM

from korformer.errors import ModelDirectoryError, UsageError
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.exchange import from_reformer_lm, inexpressible, to_reformer_lm
from korformer.model.heads import HeadSpec

NO_AXIAL = {"axial_position_emb": False}
EXPRESSIBLE: dict[str, dict[str, Any]] = {
    "decoder, axial": {},
    "encoder, axial": {"causal": False},
    "rotary": {**NO_AXIAL},
    "absolute": {**NO_AXIAL, "absolute_position_emb": True},
    "fixed, encoder": {**NO_AXIAL, "fixed_position_emb": True, "causal": False},
    "local heads": {"n_local_attn_heads": 2},
    "local heads, encoder": {"n_local_attn_heads": 2, "causal": False},
    "rotary, local heads": {**NO_AXIAL, "n_local_attn_heads": 1, "rotary_everywhere": False},
    "full": {"attention": "full"},
    "full, encoder, rotary that does not reach it": {
        **NO_AXIAL, "attention": "full", "causal": False, "rotary_everywhere": False,
    },
    "full, the field of local heads without effect": {"attention": "full", "n_local_attn_heads": 2},
    "one set of weights for all layers": {"weight_tie": True},
    "factorised embedding": {"emb_dim": 12},
    "factorised embedding, output of its own": {"emb_dim": 12, "weight_tie_embedding": False},
    "rezero": {"use_rezero": True},
    "scale norm": {"use_scale_norm": True},
    "one value head": {"one_value_head": True},
    "gated feed-forward": {"ff_glu": True, "ff_mult": 2},
    "relu": {"ff_activation": "relu"},
    "silu, head width": {"ff_activation": "silu", "dim_head": 6},
    "one round": {"n_hashes": 1},
    "axial shape": {"axial_position_shape": (4, 16)},
    "rotations for each head": {"random_rotations_per_head": True},
}  # fmt: skip


@pytest.mark.parametrize("options", EXPRESSIBLE.values(), ids=EXPRESSIBLE)
def test_logits_and_gradients_equal_those_of_reformer_lm(options: dict[str, Any]) -> None:
    model, tokens = library.make(**options), library.tokens()
    theirs = to_reformer_lm(model).train()  # its reversible layers have gradients in training mode only
    library.inject_buckets(theirs, library.record_buckets(model))
    ours = library.logits(model, tokens)
    expected = theirs(tokens)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours, expected, atol=1e-9, rtol=0)
    direction = torch.randn(ours.shape, dtype=ours.dtype)
    ours.backward(direction)
    expected.backward(direction)
    gradients = dict(theirs.named_parameters())
    for name, parameter in model.lm.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradients[name].grad, atol=1e-9, rtol=1e-9, msg=name)


@pytest.mark.parametrize("options", EXPRESSIBLE.values(), ids=EXPRESSIBLE)
def test_weights_go_there_and_back(options: dict[str, Any]) -> None:
    model = library.make(**options)
    theirs = to_reformer_lm(model).state_dict()
    assert any("irrev_blocks" in name for name in theirs)
    back = from_reformer_lm(theirs, model.config)
    for (name, before), (_, after) in zip(model.lm.named_parameters(), back.lm.named_parameters(), strict=True):
        assert torch.equal(before, after), name
    assert not back.training


def test_heads_stay_behind() -> None:
    config = library.make().config
    heads = {"replaced": HeadSpec(reads="tokens", outputs=1)}
    theirs = to_reformer_lm(ReformerModel(config, library.VOCABULARY, heads))
    assert not [name for name, _ in theirs.named_parameters() if "heads" in name]


def test_the_copy_is_one_of_its_own() -> None:
    model = library.make()
    theirs = to_reformer_lm(model)
    assert {p.data_ptr() for p in theirs.parameters()}.isdisjoint(p.data_ptr() for p in model.lm.parameters())


def test_dropouts_are_taken_along() -> None:
    theirs = to_reformer_lm(library.make(ff_dropout=0.1, layer_dropout=0.2))
    assert theirs.reformer.layers.layer_dropout == 0.2
    assert [block.g.net.fn.fn.dropout.p for block in theirs.reformer.layers.blocks] == [0.1, 0.1]


INEXPRESSIBLE: dict[str, dict[str, Any]] = {
    "attention": {"attention": "causal_lsh"},
    "attention_layers": {"attention_layers": ("lsh", "full")},
    "window": {"window": 4},
    "local_window": {"local_window": 8, "n_local_attn_heads": 1},
    "bucket_factors": {"bucket_factors": (2, 4)},
    "rehash": {"rehash": False},
    "rotary_everywhere": {"axial_position_emb": False, "attention": "full"},
    "post_attn_dropout": {"post_attn_dropout": 0.1},
    "final_norm": {"final_norm": False},
    "segments": {"segments": 2, "causal": False},
}


@pytest.mark.parametrize("field", INEXPRESSIBLE)
def test_what_reformer_lm_cannot_express_is_refused_by_name(field: str) -> None:
    model = library.make(**INEXPRESSIBLE[field])
    with pytest.raises(UsageError, match=rf"cannot become a ReformerLM: {field} = "):
        to_reformer_lm(model)


def test_all_fields_are_named_at_once() -> None:
    model = library.make(attention_layers=("local", "lsh"), final_norm=False, window=4)
    with pytest.raises(UsageError, match=r"attention_layers = .* of kind local\); window = 4 .*; final_norm = False"):
        to_reformer_lm(model)


def test_every_field_is_expressible_or_listed() -> None:
    """A new field of ModelConfig has to be put on one of the two sides."""
    expressed = {key for options in EXPRESSIBLE.values() for key in options} | set(library.SHAPE)
    others = {"hash_seed", "ff_dropout", "layer_dropout"}  # without meaning for weights; dropouts are tested above
    assert set(ModelConfig.model_fields) == expressed | set(INEXPRESSIBLE) | others
    for field, options in INEXPRESSIBLE.items():
        assert set(inexpressible(library.make(**options).config)) == {field}


def test_weights_of_another_shape_are_refused() -> None:
    weights = dict(to_reformer_lm(library.make()).state_dict())
    with pytest.raises(ModelDirectoryError, match="toqk.weight has shape .*; and .* more"):
        from_reformer_lm(weights, library.make(dim_head=6).config)
    with pytest.raises(ModelDirectoryError, match="lacks norm.weight; lacks norm.bias"):
        from_reformer_lm({k: v for k, v in weights.items() if not k.startswith("norm.")}, library.make().config)
    with pytest.raises(ModelDirectoryError, match="has an unknown tensor norm"):
        from_reformer_lm(weights, library.make(final_norm=False).config)
    with pytest.raises(ModelDirectoryError, match="token_emb"):
        from_reformer_lm({}, library.make().config)


def test_two_names_of_one_parameter_must_agree() -> None:
    weights = dict(to_reformer_lm(library.make()).state_dict())
    name = "reformer.layers.irrev_blocks.1.f.fn.tov.weight"
    without = {key: value for key, value in weights.items() if key != name}
    from_reformer_lm(without, library.make().config)
    with pytest.raises(ModelDirectoryError, match="are one parameter and differ"):
        from_reformer_lm({**weights, name: weights[name] + 1}, library.make().config)


def test_a_reformer_lm_made_elsewhere_is_taken() -> None:
    torch.manual_seed(0)
    theirs = ReformerLM(
        num_tokens=library.VOCABULARY, dim=32, depth=2, max_seq_len=64, heads=4, dim_head=8, bucket_size=8, n_hashes=4,
        causal=True, n_local_attn_heads=1,
    ).double().eval()  # fmt: skip
    config = ModelConfig(
        **{**library.SHAPE, "axial_position_emb": False, "rotary_everywhere": False, "n_local_attn_heads": 1},
        weight_tie_embedding=False,
    )
    model = from_reformer_lm(theirs.state_dict(), config)
    library.inject_buckets(theirs, library.record_buckets(model))
    with torch.no_grad():
        ours = library.logits(model, library.tokens())
        torch.testing.assert_close(ours, theirs(library.tokens()), atol=1e-9, rtol=0)
