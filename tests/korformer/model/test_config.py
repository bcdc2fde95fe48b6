from typing import Any

import pytest

from korformer.config import build
from korformer.errors import UsageError
from korformer.model.config import ModelConfig
from korformer.model.options import REFUSED_OPTIONS


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_seq_len": 5000}, "max_seq_len = 5000 is not a multiple of 2 x bucket_size = 128; the nearest legal "
         "length is 4992 or 5120"),
        ({"max_seq_len": 100}, "the nearest legal length is 128"),
        ({"axial_position_shape": [79, 64]}, "79x64 makes 5056 positions, max_seq_len is 5120; the nearest legal shape "
         "is 80x64"),
        ({"dim": 250, "heads": 4}, "the nearest legal dim is 248 or 252"),
        ({"attention_layers": ["full"]}, "attention_layers names 1 layers, depth is 6"),
        ({"n_local_attn_heads": 4}, "leaves no other head of 4; at most 3"),
        ({"local_window": 127, "n_local_attn_heads": 1}, "would pad every text to a multiple of 8,128 tokens; near it "
         "are 64 and 128"),
        ({"window": 65}, "window = 65 is larger than bucket_size = 64"),
        ({"absolute_position_emb": True}, "axial_position_emb and absolute_position_emb exclude each other"),
        ({"axial_position_emb": False, "dim_head": 5}, "rotary positions need an even head width, not 5"),
        ({"depth": 10**9}, "depth: input should be less than or equal to 512"),
        ({"attention": "sparse"}, "attention: input should be 'causal_lsh', 'lsh', 'local' or 'full'"),
    ],
)  # fmt: skip
def test_illegal_values_name_the_nearest_legal_ones(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(ModelConfig, values)
    assert message in str(caught.value)


def test_two_faults_are_told_together() -> None:
    with pytest.raises(UsageError) as caught:
        build(ModelConfig, {"max_seq_len": 5000, "window": 99})
    assert "max_seq_len = 5000" in str(caught.value)
    assert "window = 99" in str(caught.value)


def test_what_follows_from_the_rest() -> None:
    config = ModelConfig()
    assert (config.head_width, config.buckets, config.bucket_window, config.near_window) == (64, 80, 64, 128)
    assert config.axial_shape == (80, 64)
    assert config.layer_kinds == ("causal_lsh",) * 6
    assert not config.rotary
    assert ModelConfig(axial_position_emb=False).rotary


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"causal": False}, "an encoder"),
        ({"bucket_factors": (3, 5)}, "even"),
        ({"bucket_factors": (4, 8)}, "= 80 buckets"),
        ({"layer_dropout": 1.0}, "less than 1"),
    ],
)
def test_new_fields_are_checked_together(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModelConfig.model_validate(wrong)


def test_options_of_reformer_pytorch_that_are_not_here_say_why() -> None:
    with pytest.raises(UsageError) as caught:
        build(ModelConfig, {"num_mem_kv": 4, "lsh_dropout": 0.1})
    for name, reason in ((name, REFUSED_OPTIONS[name]) for name in ("num_mem_kv", "lsh_dropout")):
        assert f"{name}: {reason}" in str(caught.value)
