"""`korformer models`, as a person or a script calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from korformer.commands.app import main
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import parameters_to_save, publish, write_description
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    vocabulary = train_vocabulary(["산은 높고 물은 맑다."] * 3, VocabularySettings(size=450))
    config = ModelConfig(dim=16, depth=1, heads=2, max_seq_len=64, bucket_size=8)
    reformer = ReformerModel(config, vocabulary.size)
    reformer.initialise(0)
    folder = tmp_path / "checkpoints" / "산"
    folder.mkdir(parents=True)
    write_description(folder, reformer, vocabulary, objective="ar", training={})
    publish(folder, parameters_to_save(reformer), "# 산\n\x1b[31m\n")
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["models", *arguments])
        written = capfd.readouterr()
        return int(left.value.code or 0), written.out, written.err

    return call


def test_models_here_are_listed(model: Path, run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert any(line.startswith("checkpoints/산") and " ar " in line and " 64 " in line for line in out.splitlines())
    code, out, _ = run("list", "--json", str(model.parent))
    (line,) = out.splitlines()
    assert code == 0
    assert json.loads(line)["objective"] == "ar"
    assert json.loads(line)["model"]["dim"] == 16


def test_nothing_to_list_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, out, err = run("list", "empty")
    assert (code, out) == (0, "")
    assert "no models" in err
    assert run("list", "nowhere")[0] == 1


def test_a_damaged_model_is_listed_as_one(model: Path, run: Run) -> None:
    (model / "config.json").write_text("{")
    code, out, _ = run("list", str(model.parent))
    assert code == 0
    assert "damaged" in out


def test_a_model_is_shown(model: Path, run: Run) -> None:
    code, out, _ = run("info", str(model))
    assert code == 0
    assert "model.max_seq_len" in out
    code, out, _ = run("info", str(model), "--json")
    assert json.loads(out)["vocabulary"]["scheme"] == "lossless"
    code, out, _ = run("info", str(model), "--card")
    assert out.startswith("# 산\n")
    assert "\x1b" not in out


def test_a_model_is_checked(model: Path, run: Run) -> None:
    assert run("verify", str(model)) == (0, f"{model}: whole\n", "")
    (model / "vocab.txt").write_text("다른 것\n")
    code, out, err = run("verify", str(model))
    assert (code, out) == (4, "")
    assert "vocab.txt" in err
    assert run("verify", "nowhere")[0] == 1


def test_of_several_models_all_are_checked(model: Path, run: Run) -> None:
    assert run("pack", str(model), "-o", "copy")[:2] == (0, "copy\n")
    (model / "vocab.txt").write_text("다른 것\n")
    code, out, _ = run("verify", str(model), "copy")
    assert code == 4
    assert "vocab.txt" in out.splitlines()[0]
    assert out.splitlines()[1] == "copy: whole"


def test_a_copy_takes_half_the_room_and_a_card_of_its_own(model: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("# 새 카드\n", encoding="utf-8")
    assert run("pack", str(model), "-o", "copy", "--card", "card.md")[0] == 0
    assert "bf16" in run("info", "copy")[1]
    assert run("info", "copy", "--card")[1] == "# 새 카드\n"
    assert run("pack", str(model), "-o", "copy")[0] == 1
    (tmp_path / "card.md").write_bytes(b"\xff\xfe\xff")
    code, _, err = run("pack", str(model), "-o", "other", "--card", "card.md")
    assert code == 3
    assert "card.md" in err
    assert not (tmp_path / "other").exists()


def test_a_word_missing_or_wrong_is_told_in_a_line(run: Run) -> None:
    assert run()[0] == 2
    code, _, err = run("lst")
    assert code == 2
    assert "list" in err
