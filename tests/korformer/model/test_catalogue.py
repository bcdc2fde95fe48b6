from pathlib import Path

import pytest
import torch
from model_variants import make

from korformer.errors import ModelDirectoryError, PathError, UsageError
from korformer.model.backbone import ReformerModel
from korformer.model.catalogue import facts_of, pack, verify
from korformer.model.directory import MODEL_FILES, load_model, parameters_to_save, publish, write_description
from korformer.model.found import find_models
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    vocabulary: Vocabulary = train_vocabulary(["바다는 넓고 하늘은 높다."] * 3, VocabularySettings(size=450))
    reformer = ReformerModel(make("mixed heads, axial").config, vocabulary.size)
    reformer.initialise(1)
    folder = tmp_path_factory.mktemp("models") / "one"
    folder.mkdir()
    write_description(folder, reformer, vocabulary, objective="ar", training={})
    publish(folder, parameters_to_save(reformer), "# 카드\n")
    (folder / "metrics.jsonl").write_text("{}\n")
    return folder


def test_models_are_found_in_a_folder_and_by_themselves(model: Path, tmp_path: Path) -> None:
    (model.parent / "not one").mkdir(exist_ok=True)
    for places in ([model.parent], [model], [model, model.parent, tmp_path / "nowhere"]):
        assert [found.path.resolve() for found in find_models(places)] == [model]
    assert find_models([tmp_path]) == []


def test_facts_are_those_of_the_directory(model: Path) -> None:
    facts, loaded = facts_of(model), load_model(model)
    assert facts.parameters == sum(parameter.numel() for parameter in loaded.model.lm.parameters())
    assert (facts.objective, facts.task, facts.stored, facts.card) == ("ar", None, "fp32", "# 카드\n")
    assert facts.vocabulary["size"] == loaded.vocabulary.size
    assert facts.model["depth"] == loaded.model.config.depth


def test_a_copy_has_the_model_s_files_and_rounded_weights(model: Path, tmp_path: Path) -> None:
    copy = pack(model, tmp_path / "copy")
    assert {path.name for path in copy.iterdir()} == {*MODEL_FILES, "manifest.json"}
    verify(copy)
    assert facts_of(copy).stored == "bf16"
    assert facts_of(copy).weights_bytes < 0.55 * facts_of(model).weights_bytes
    ours, theirs = (dict(load_model(path).model.lm.named_parameters()) for path in (copy, model))
    for name, parameter in theirs.items():
        assert ours[name].dtype == torch.float32
        assert torch.equal(ours[name], parameter.bfloat16().float())
    exact = pack(model, tmp_path / "exact", weights="fp32", card="# 다른 카드\n")
    assert facts_of(exact).card == "# 다른 카드\n"
    assert torch.equal(load_model(exact).model.lm.token_emb.weight, load_model(model).model.lm.token_emb.weight)


def test_a_copy_overwrites_nothing_and_damage_is_not_copied(model: Path, tmp_path: Path) -> None:
    with pytest.raises(PathError):
        pack(model, model)
    with pytest.raises(UsageError, match="no such dtype: int4"):
        pack(model, tmp_path / "copy", weights="int4")  # type: ignore[arg-type]
    damaged = pack(model, tmp_path / "damaged")
    data = bytearray((damaged / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelDirectoryError):
        verify(damaged)
    with pytest.raises(ModelDirectoryError):
        pack(damaged, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
