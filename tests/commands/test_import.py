"""The command line of `korformer import`; what it reads is tested in tests/korformer/model/test_importer.py."""

import sys
from pathlib import Path

import pytest
import torch
from reformer_pytorch import ReformerLM

from korformer.commands.app import main
from korformer.model.directory import load_model
from korformer.text.vocabulary import SPECIAL_TOKENS

TOKENS = 30


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an old checkpoint and BERT's vocab.txt."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", None)
    lm = ReformerLM(
        num_tokens=TOKENS, dim=16, depth=1, max_seq_len=128, heads=2, dim_head=8, axial_position_emb=True
    )  # fmt: skip
    torch.save({"model": lm.state_dict(), "classifier": {"weight": torch.zeros(3)}, "epoch": 1}, "old.pth")
    Path("vocab").mkdir()
    words = [*SPECIAL_TOKENS, *(chr(0xAC00 + number) for number in range(TOKENS - len(SPECIAL_TOKENS)))]
    Path("vocab/vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return tmp_path


def left_with(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(["import", *arguments])
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


LINE = ("old.pth", "--vocab", "vocab", "-o", "out")
TOLD = ("--set", "model.heads=2", "--set", "model.causal=false")


def test_a_checkpoint_becomes_a_model_directory(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert left_with(*LINE, *TOLD) == 0
    out, error = capsys.readouterr()
    assert out == "out\n"
    assert "attention = lsh, n_hashes = 4" in error
    loaded = load_model(folder / "out")
    assert loaded.config_json["objective"] == "mlm"
    assert loaded.vocabulary.size == TOKENS
    assert left_with(*LINE, *TOLD) == 1
    assert "out: " in capsys.readouterr().err


def test_quiet_says_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert left_with(*LINE, *TOLD, "--quiet", "--set", "model.n_hashes=2") == 0
    assert capsys.readouterr() == ("out\n", "")
    assert load_model(folder / "out").model.config.n_hashes == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (LINE, 2, "--set model.heads=…"),
        ((*LINE, *TOLD, "--set", "training.steps=3"), 2, "only keys of the section model"),
        ((*LINE, *TOLD, "--prefix", "x."), 2, "has no 'x.token_emb.weight'"),
        (("vocab/vocab.txt", *LINE[1:], *TOLD), 4, "no checkpoint of tensors alone"),
        (("old.pth", "--vocab", "none", "-o", "out", *TOLD), 1, "none"),
    ],
)
def test_what_goes_wrong_is_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    assert left_with(*arguments) == code
    out, error = capsys.readouterr()
    assert out == ""
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "out").exists()
