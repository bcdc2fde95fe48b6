import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from model_variants import VARIANTS, make

from korformer.errors import ModelDirectoryError, PathError, UsageError
from korformer.generation.settings import SamplingSettings
from korformer.model.backbone import ReformerModel
from korformer.model.directory import load_model, parameters_to_save, publish, write_description
from korformer.storage import write_manifest
from korformer.text.special import SEP_ID
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return train_vocabulary(
        ["바다는 넓고 하늘은 높다.", "하늘을 나는 새가 바다를 본다."] * 3, VocabularySettings(size=450)
    )


def resized(variant: str, size: int) -> ReformerModel:
    model = ReformerModel(make(variant).config, size)
    model.initialise(1)
    return model.eval()


def write(directory: Path, model: ReformerModel, vocabulary: Vocabulary) -> Path:
    directory.mkdir()
    write_description(directory, model, vocabulary, objective="ar", training={})
    publish(directory, parameters_to_save(model), "# card\n")
    return directory


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_comes_back_as_it_was(variant: str, vocabulary: Vocabulary, tmp_path: Path) -> None:
    model = resized(variant, vocabulary.size)
    loaded = load_model(write(tmp_path / "model", model, vocabulary))
    tokens = torch.randint(5, vocabulary.size, (1, 100))
    with torch.no_grad():
        assert torch.equal(loaded.model.logits(loaded.model(tokens)), model.logits(model(tokens)))
    assert not loaded.model.training
    assert len(list(loaded.model.lm.parameters())) == len(list(model.lm.parameters()))


def test_other_programs_are_told_the_same_sampling(vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = write(tmp_path / "model", resized("hashed heads, rotary", vocabulary.size), vocabulary)
    told = json.loads((path / "generation_config.json").read_text(encoding="utf-8"))
    by_itself = SamplingSettings()
    assert told == {"temperature": by_itself.temperature, "top_p": by_itself.top_p, "eos_token_id": SEP_ID}


def test_each_tensor_is_saved_once(vocabulary: Vocabulary) -> None:
    saved = parameters_to_save(resized("every option", vocabulary.size))
    assert len({tensor.data_ptr() for tensor in saved.values()}) == len(saved)
    assert not any("irrev_blocks" in name for name in saved)


def test_more_hash_rounds_than_trained_with(vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = write(tmp_path / "model", resized("hashed heads, rotary", vocabulary.size), vocabulary)
    assert load_model(path, n_hashes=9).model.config.n_hashes == 9
    for rounds in (0, 257):
        with pytest.raises(UsageError, match=f"1 to 256, not {rounds}"):
            load_model(path, n_hashes=rounds)


def tamper(path: Path, name: str, change: dict[str, object]) -> None:
    """Change config.json and vouch for it, as someone who means harm would."""
    config = json.loads((path / name).read_text(encoding="utf-8"))
    config["model"].update(change)
    (path / name).write_text(json.dumps(config), encoding="utf-8")
    write_manifest(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 40}, "has shape"),
        ({"depth": 4}, "lacks reformer"),
        ({"depth": 2}, "unknown tensor"),
        ({"depth": 10**9}, "less than or equal to 512"),
        ({"dim": 65536, "depth": 512}, "does not fit its config.json"),
        ({"colour": "red"}, "unknown key colour"),
        ({"max_seq_len": "long"}, "max_seq_len"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    vocabulary: Vocabulary, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = write(tmp_path / "model", resized("mixed heads, axial", vocabulary.size), vocabulary)
    tamper(path, "config.json", change)
    with pytest.raises(ModelDirectoryError, match=message):
        load_model(path)


def test_another_vocabulary_is_refused(vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = write(tmp_path / "model", resized("mixed heads, axial", vocabulary.size), vocabulary)
    other = train_vocabulary(["전혀 다른 글이 여기에 있다."] * 3, VocabularySettings(size=445))
    other.save_files(path)
    write_manifest(path)
    with pytest.raises(ModelDirectoryError, match="not the one the model was trained with"):
        load_model(path)


def test_what_is_no_model_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(PathError):
        load_model(tmp_path / "none")
    with pytest.raises(ModelDirectoryError):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "README.md"])
def test_a_flipped_bit_is_found(vocabulary: Vocabulary, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "model", resized("mixed heads, axial", vocabulary.size), vocabulary)
    data = bytearray((path / name).read_bytes())
    data[len(data) // 3] ^= 4
    (path / name).write_bytes(data)
    with pytest.raises(ModelDirectoryError, match=name):
        load_model(path)


def test_opening_a_model_does_not_wait_for_the_compiler(vocabulary: Vocabulary, tmp_path: Path) -> None:
    """Torch imports its compiler for some functions on tensors without memory: more than a second before any text."""
    write(tmp_path / "model", resized("mixed heads, axial", vocabulary.size), vocabulary)
    code = (
        "import pathlib, sys; from korformer.model.directory import load_model; "
        "state = load_model(pathlib.Path(sys.argv[1])).model.new_state(); state.append([2, 7, 8]); "
        "print(*sorted({'torch._dynamo', 'torch._inductor'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
