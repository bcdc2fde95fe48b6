from pathlib import Path

import pytest
import torch

from korformer.errors import ModelDirectoryError, UsageError
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import load_model, parameters_to_save, publish, write_description
from korformer.model.heads import Head, HeadSpec, make_head, read_head_specs
from korformer.storage import read_json, write_json, write_manifest
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

SHAPE = {"dim": 16, "depth": 1, "heads": 2, "max_seq_len": 32, "bucket_size": 4, "causal": False, "attention": "lsh"}
HEADS = {"pair": HeadSpec(reads="first", outputs=2), "replaced": HeadSpec(reads="tokens", outputs=1)}


def encoder(size: int = 40, **options: object) -> ReformerModel:
    model = ReformerModel(ModelConfig.model_validate({**SHAPE, "segments": 2, **options}), size, HEADS)
    model.initialise(0)
    return model


def test_a_head_is_two_matrices_with_what_bert_and_electra_have_between() -> None:
    hidden = torch.randn(3, 5, 16)
    for spec, between in ((HEADS["pair"], torch.tanh), (HEADS["replaced"], torch.nn.functional.gelu)):
        head = Head(spec, 16)
        expected = between(hidden @ head.dense.weight.T + head.dense.bias) @ head.out.weight.T + head.out.bias
        torch.testing.assert_close(head(hidden), expected)
        assert head(hidden).shape == (3, 5, spec.outputs)


def test_heads_and_segments_change_no_other_weight() -> None:
    plain = ReformerModel(ModelConfig.model_validate(SHAPE), 40)
    plain.initialise(0)
    own = dict(encoder().lm.named_parameters())
    for name, parameter in plain.lm.named_parameters():
        assert torch.equal(parameter, own.pop(name))
    assert {name.split(".")[0] for name in own} == {"segment_emb", "heads"}


@pytest.mark.parametrize("options", [{}, {"emb_dim": 8}], ids=["plain", "factorised embedding"])
def test_a_segment_changes_what_a_token_means(options: dict[str, object]) -> None:
    model = encoder(**options)
    tokens = torch.randint(5, 40, (1, 8))
    first = model(tokens, segments_BT=torch.zeros_like(tokens))
    assert torch.equal(model(tokens), first)
    second = model(tokens, segments_BT=torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]]))
    assert not torch.allclose(first, second)


def test_a_decoder_has_no_segments() -> None:
    with pytest.raises(ValueError, match="segments = 0"):
        ModelConfig(segments=2)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return train_vocabulary(["바다는 넓고 하늘은 높다."] * 3, VocabularySettings(size=450))


@pytest.fixture
def directory(tmp_path: Path, vocabulary: Vocabulary) -> Path:
    model = encoder(vocabulary.size)
    write_description(tmp_path, model, vocabulary, objective="mlm", training={})
    publish(tmp_path, parameters_to_save(model), "# card\n")
    return tmp_path


def test_a_model_directory_keeps_them(directory: Path, vocabulary: Vocabulary) -> None:
    before, after = encoder(vocabulary.size), load_model(directory).model
    assert {name: head.spec for name, head in after.heads.items()} == HEADS
    for (name, one), (_, other) in zip(before.lm.named_parameters(), after.lm.named_parameters(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize(
    "heads",
    [
        [],
        {"pair": {"reads": "first", "outputs": 2}},
        {"a.b": {"reads": "first", "outputs": 2}},
        {"keys": {"reads": "first", "outputs": 2}},
        {"pair": {"reads": "first", "outputs": 2**30}},
        {"pair": {"reads": "last", "outputs": 2}},
        {"pair": 3},
        {f"head{number}": {"reads": "first", "outputs": 2} for number in range(1000)},
    ],
    ids=["no table", "one is missing", "a dot", "taken", "huge", "unknown", "number", "many"],
)
def test_what_does_not_describe_its_heads_is_refused(directory: Path, heads: object) -> None:
    config = read_json(directory, "config.json")
    write_json(directory / "config.json", {**config, "heads": heads})
    write_manifest(directory, [path.name for path in directory.iterdir() if path.name != "manifest.json"])
    with pytest.raises(ModelDirectoryError):
        load_model(directory)


def test_names_of_heads() -> None:
    assert read_head_specs({}, where="here") == {}
    with pytest.raises(UsageError, match="here: no head can have the name 'Pair'"):
        read_head_specs({"Pair": {}}, where="here")


def test_a_mix_of_layers_begins_as_their_mean_and_follows_its_weights() -> None:
    mix = make_head(HeadSpec(reads="layers", outputs=3), 16)
    hidden = torch.randn(3, 2, 5, 16)
    level = torch.nn.functional.layer_norm(hidden, (16,))
    torch.testing.assert_close(mix(hidden), level.mean(dim=0))
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.0, 100.0, 0.0]))
        mix.scale.fill_(2.0)
    torch.testing.assert_close(mix(hidden), 2 * level[1])
    mix.reset()
    torch.testing.assert_close(mix(hidden), level.mean(dim=0))
