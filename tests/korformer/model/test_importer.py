import re
from pathlib import Path
from typing import Any

import library
import pytest
import torch
from torch import Tensor

from korformer.errors import KorformerError, ModelDirectoryError, PathError, UsageError
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import load_model
from korformer.model.importer import import_checkpoint, read_checkpoint, read_shapes, write_imported
from korformer.text.vocabulary import SPECIAL_TOKENS, Vocabulary

OLD: dict[str, Any] = {"final_norm": False, "max_seq_len": 128, "bucket_size": 64, "n_hashes": 4}
"""What reformer-pytorch 1.1.3 has otherwise than later ones."""

SETTINGS: dict[str, Any] = {"heads": 4, "causal": True}


def old_layout(model: ReformerModel) -> dict[str, Tensor]:
    """The model's state_dict as reformer-pytorch 1.1.3 with axial-positional-embedding 0.2.1 would have it."""
    layout = {
        re.sub(r"^pos_emb\.weights\.(\d)", r"pos_emb.weights_\1", name): tensor.clone()
        for name, tensor in model.lm.state_dict().items()
    }
    assert any("irrev_blocks" in name for name in layout)
    return layout


def with_head_beside(model: ReformerModel) -> dict[str, Tensor]:
    """A module that holds a ReformerLM of embeddings as `reformer` and an `lm_head` without bias beside it."""
    layout = {f"reformer.{name}": tensor for name, tensor in old_layout(model).items() if not name.startswith("out.")}
    return {**layout, "lm_head.weight": model.lm.out[1].weight.detach().clone()}


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def make(**options: Any) -> ReformerModel:
    return library.make(**{**OLD, "weight_tie_embedding": False, **options}).float()


def assert_same_weights(one: ReformerModel, other: ReformerModel) -> None:
    for (name, before), (_, after) in zip(one.lm.named_parameters(), other.lm.named_parameters(), strict=True):
        assert torch.equal(before, after), name


def test_autoregressive_checkpoint_with_optimizer_and_separate_head(tmp_path: Path) -> None:
    model = make()
    with torch.no_grad():
        model.lm.out[1].bias.zero_()
    optimizer = torch.optim.AdamW(model.parameters())
    path = save(
        tmp_path / "model.pth",
        {
            "epoch": 3,
            "model_state_dict": with_head_beside(model),
            "optimizer_state_dict": optimizer.state_dict(),
            "losses": {0: 9.5},
            "train_step": 12,
        },
    )
    checkpoint = read_checkpoint(path)
    assert checkpoint.left_out == ()
    imported = import_checkpoint(checkpoint, SETTINGS)
    assert imported.config == model.config.model_copy(update={"axial_position_shape": (2, 64)})
    assert_same_weights(model, imported)
    with torch.no_grad():
        tokens = library.tokens(length=128)
        assert torch.equal(imported.logits(imported(tokens)), model.logits(model(tokens)))


def test_bare_encoder_checkpoint_from_data_parallel(tmp_path: Path) -> None:
    model = make(causal=False)
    weights = {f"module.{name}": tensor.half() for name, tensor in old_layout(model).items()}
    weights["module.classifier.weight"] = torch.zeros(2, 3)
    checkpoint = read_checkpoint(save(tmp_path / "model.bin", weights))
    assert checkpoint.left_out == ("module.classifier.weight",)
    imported = import_checkpoint(checkpoint, {"heads": 4, "causal": False})
    assert imported.lm.token_emb.weight.dtype == torch.float32
    assert torch.equal(imported.lm.token_emb.weight, model.lm.token_emb.weight.half().float())
    assert not imported.strictly_causal


NO_AXIAL = {"axial_position_emb": False}
NEWER = {**NO_AXIAL, "rotary_everywhere": False, "final_norm": True}
LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tied embedding": ({"weight_tie_embedding": True}, {}),
    "factorised": ({"weight_tie_embedding": True, "emb_dim": 12}, {}),
    "factorised, own output": ({"emb_dim": 12}, {}),
    "one set of layers": ({"weight_tie": True, "depth": 3}, {}),
    "absolute, two rounds": ({**NO_AXIAL, "absolute_position_emb": True, "n_hashes": 2}, {"n_hashes": 2}),
    "fixed": ({**NO_AXIAL, "fixed_position_emb": True}, {"max_seq_len": 128}),
    "newer, rotary": (NEWER, {"max_seq_len": 128, "heads": None}),
    "rezero": ({"use_rezero": True}, {}),
    "scale norm": ({"use_scale_norm": True}, {}),
    "one value head": ({"one_value_head": True}, {"heads": None}),
    "gated": ({"ff_glu": True, "ff_mult": 3}, {}),
    "head width": ({"dim_head": 6}, {}),
    "other buckets": ({"bucket_size": 16}, {"bucket_size": 16}),
    "local heads": ({"n_local_attn_heads": 2}, {"n_local_attn_heads": 2}),
}
"""Options of a model, and the settings that its weights do not tell."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_tell_the_configuration(layout: str, tmp_path: Path) -> None:
    options, told = LAYOUTS[layout]
    model = make(**options)
    settings = {key: value for key, value in {**SETTINGS, **told}.items() if value is not None}
    imported = import_checkpoint(read_checkpoint(save(tmp_path / "model.pth", old_layout(model))), settings)
    shape = {"axial_position_shape": imported.config.axial_position_shape}
    assert imported.config == model.config.model_copy(update=shape)
    assert imported.config.axial_shape == model.config.axial_shape
    assert_same_weights(model, imported)


def test_missing_settings_are_all_named(tmp_path: Path) -> None:
    path = save(tmp_path / "model.pth", old_layout(make(**NO_AXIAL, fixed_position_emb=True)))
    with pytest.raises(UsageError, match=r"do not tell heads, causal, max_seq_len\..*--set model\.heads=…"):
        import_checkpoint(read_checkpoint(path), {})
    odd = save(tmp_path / "odd.pth", old_layout(make(bucket_size=16)))
    with pytest.raises(UsageError, match=r"do not tell bucket_size"):
        import_checkpoint(read_checkpoint(odd), SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**SETTINGS, "depth": 7}, r"depth = 7 \(the weights say 2\)"),
        (
            {**SETTINGS, "axial_position_shape": [4, 32]},
            r"\[4, 32\] \(the weights say \(2, 64\)\)",
        ),
        ({**SETTINGS, "heads": 5}, "heads = 5 does not divide the 32 rows"),
        ({**SETTINGS, "hedas": 4}, "unknown key hedas"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(save(tmp_path / "model.pth", old_layout(make())))
    with pytest.raises(UsageError, match=message):
        import_checkpoint(checkpoint, settings)


def without(weights: dict[str, Tensor], word: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in weights.items() if word not in name}


def broken(name: str) -> object:
    weights = old_layout(make())
    first = "reformer.layers.blocks.0."
    return {
        "no weights": {"epoch": 3, "losses": [1.0]},
        "not a dictionary": [1, 2],
        "another model": {"encoder.weight": torch.zeros(3, 3)},
        "two sets of weights": {"model": weights, "average": weights},
        "no output layer": without(weights, "out.1"),
        "no layers": without(weights, "blocks"),
        "one layer half": without(weights, "blocks.1.g"),
        "not finite": {**weights, "out.1.bias": torch.full((library.VOCABULARY,), float("nan"))},
        "memory": {**weights, f"{first}f.net.fn.mem_kv": torch.zeros(1, 3, 32)},
        "product keys": {**without(weights, "0.g"), f"{first}g.net.fn.values.weight": torch.zeros(9, 32)},
        "twin attention": {**weights, f"{first}g.net.fn.toqk.weight": torch.zeros(32, 32)},
        "unknown tensor": {**weights, f"{first}f.net.fn.extra": torch.zeros(3)},
        "duplicates differ": {**weights, "reformer.layers.irrev_blocks.0.f.norm.bias": torch.ones(32) * 9},
        "wide head beside factorised embedding": {
            **{f"reformer.{k}": v for k, v in without(old_layout(make(emb_dim=12)), "out.").items()},
            "lm_head.weight": torch.zeros(library.VOCABULARY, 32),
        },
    }[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no weights", "no tensor named token_emb.weight"),
        ("not a dictionary", "no tensor named token_emb.weight"),
        ("another model", "no tensor named token_emb.weight"),
        ("two sets of weights", "holds 2 sets of weights"),
        ("no output layer", "no output layer: neither out.1 nor one matrix of 40 x 32"),
        ("no layers", "not of a ReformerLM: nothing to read at 'reformer.layers.blocks.0"),
        ("one layer half", "lacks reformer.layers.blocks.1.g"),
        ("not finite", "values in out.1.bias that are not finite"),
        ("memory", "num_mem_kv"),
        ("product keys", "pkm_layers"),
        ("twin attention", "twin_attention"),
        ("unknown tensor", "unknown tensor .*extra"),
        ("duplicates differ", "are one parameter and differ"),
        ("wide head beside factorised embedding", "output layer of width 32 over a factorised embedding of width 12"),
    ],
)
def test_files_that_are_refused(name: str, message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "model.pth", broken(name))
    with pytest.raises(ModelDirectoryError, match=message) as caught:
        import_checkpoint(read_checkpoint(path), SETTINGS)
    assert str(caught.value).startswith(str(path))


class Payload:
    """Something that unpickling would run."""

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return (Path.touch, (Path("was-run"),))  # type: ignore[return-value]


def test_nothing_but_tensors_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "model.pth", {"weights": old_layout(make()), "payload": Payload()})
    with pytest.raises(ModelDirectoryError, match=r"tensors alone, so nothing of it was loaded.*state_dict\(\)"):
        read_checkpoint(path)
    assert not Path("was-run").exists()
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(ModelDirectoryError, match="tensors alone"):
        read_checkpoint(tmp_path / "text.pth")
    with pytest.raises(PathError, match="no such file"):
        read_checkpoint(tmp_path / "none.pth")


def test_one_of_several_models_is_chosen_by_prefix(tmp_path: Path) -> None:
    one, other = make(), make(dim=16)
    weights = {
        **{f"generator.{name}": tensor for name, tensor in old_layout(other).items()},
        **{f"discriminator.{name}": tensor for name, tensor in old_layout(one).items()},
    }
    path = save(tmp_path / "model.pth", weights)
    with pytest.raises(UsageError, match=r"holds 2 models.*--prefix: 'generator.', 'discriminator.'"):
        read_checkpoint(path)
    with pytest.raises(UsageError, match=r"has no 'x.token_emb.weight'"):
        read_checkpoint(path, prefix="x.")
    chosen = read_checkpoint(path, prefix="discriminator.")
    assert read_shapes(chosen.weights)["dim"] == 32
    assert len(chosen.left_out) == len(old_layout(other))
    assert_same_weights(one, import_checkpoint(chosen, SETTINGS))


def test_the_model_directory_opens_again(tmp_path: Path) -> None:
    vocabulary = Vocabulary([*SPECIAL_TOKENS, *map(chr, range(0xAC00, 0xAC00 + library.VOCABULARY - 5))], "bert")
    model = import_checkpoint(read_checkpoint(save(tmp_path / "model.pth", old_layout(make()))), SETTINGS)
    write_imported(tmp_path / "out", model, vocabulary, source="model.pth")
    loaded = load_model(tmp_path / "out")
    assert_same_weights(model, loaded.model)
    assert loaded.config_json["objective"] == "ar"
    assert loaded.config_json["training"] == {"imported_from": "model.pth"}
    assert "model.pth" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(PathError, match="out"):
        write_imported(tmp_path / "out", model, vocabulary, source="model.pth")
    with pytest.raises(KorformerError, match="the model has 40 tokens, the vocabulary 6"):
        write_imported(tmp_path / "two", model, Vocabulary([*SPECIAL_TOKENS, "가"], "bert"), source="model.pth")
    assert not (tmp_path / "two").exists()


def test_settings_that_are_assumed_are_settings() -> None:
    from korformer.model.importer import ASSUMED

    assert set(ASSUMED) <= set(ModelConfig.model_fields)
