"""The comparison of the frozen prefix with computing everything anew, on a small model with drawn weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import parameters_to_save, publish, write_description
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "frozen_prefix.py"
TEXT = "등대지기는 아침이면 유리를 닦고, 저녁이면 불을 켰다. 바람이 센 날에는 종을 울렸다. " * 6


def saved(directory: Path, attention: str) -> Path:
    vocabulary = train_vocabulary([TEXT], VocabularySettings(size=440))
    config = ModelConfig(dim=16, depth=2, heads=2, max_seq_len=64, bucket_size=8, n_hashes=2, attention=attention)
    model = ReformerModel(config, vocabulary.size)
    model.initialise(1)
    with torch.no_grad():
        for parameter in model.lm.parameters():
            parameter.mul_(6)
    write_description(directory, model, vocabulary, objective="ar", training={})
    publish(directory, parameters_to_save(model), "# a model for tests\n")
    return directory


def run(tmp_path: Path, attention: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    data, output = tmp_path / "valid.txt", tmp_path / "result.json"
    data.write_text(TEXT, encoding="utf-8")
    (tmp_path / "model").mkdir()
    command = ["--model", str(saved(tmp_path / "model", attention)), "--data", str(data), "--output", str(output)]
    return subprocess.run([sys.executable, str(SCRIPT), *command], capture_output=True, text=True, check=False), output


def test_both_divergences_are_measured(tmp_path: Path) -> None:
    done, output = run(tmp_path, "lsh")
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text(encoding="utf-8"))
    assert figures["positions"] == 8
    for name in ("frozen prefix || full recompute", "full recompute, seed A || seed B"):
        assert name in done.stdout
        assert figures["kl_nats"][name]["mean"] > 0


@pytest.mark.parametrize("attention", ["causal_lsh"])
def test_other_kinds_have_nothing_to_compare(tmp_path: Path, attention: str) -> None:
    done, output = run(tmp_path, attention)
    assert done.returncode != 0
    assert "exact" in done.stderr
    assert not output.exists()
