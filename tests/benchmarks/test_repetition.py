"""What counts as repeating oneself, and a whole run on a small model with drawn weights."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import parameters_to_save, publish, write_description
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TEXT = "등대지기는 아침이면 유리를 닦고, 저녁이면 불을 켰다. 바람이 센 날에는 종을 울렸다. " * 6


@pytest.fixture(scope="module")
def repetition() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("repetition")
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_4_grams_that_came_before_are_counted(repetition: ModuleType) -> None:
    assert repetition.repeated([1, 2, 3, 4, 5, 6]) == 0
    assert repetition.repeated([1, 2, 3, 4, 9, 1, 2, 3, 4]) == pytest.approx(1 / 6)
    assert repetition.repeated([7] * 11) == pytest.approx(7 / 8)
    assert repetition.repeated([1, 2]) == 0


@pytest.mark.parametrize(
    ("passage", "times", "expected"), [(1, 61, True), (1, 60, False), (20, 4, True), (20, 3, False), (40, 3, True)]
)
def test_a_loop_is_a_passage_that_follows_on_itself(
    repetition: ModuleType, passage: int, times: int, expected: bool
) -> None:
    before, after = list(range(1000, 1100)), list(range(2000, 2100))
    assert repetition.loops([*before, *list(range(passage)) * times, *after]) is expected


def test_a_passage_that_comes_again_later_is_no_loop(repetition: ModuleType) -> None:
    passage = list(range(80))
    assert not repetition.loops([*passage, 500, 501, *passage, 502, *passage])


def test_samples_are_written_once_and_set_beside_held_out_text(tmp_path: Path) -> None:
    vocabulary = train_vocabulary([TEXT], VocabularySettings(size=440))
    model = ReformerModel(ModelConfig(dim=16, depth=1, heads=2, max_seq_len=64, bucket_size=8), vocabulary.size)
    model.initialise(1)
    with torch.no_grad():
        for parameter in model.lm.parameters():
            parameter.mul_(6)
    (tmp_path / "model").mkdir()
    write_description(tmp_path / "model", model, vocabulary, objective="ar", training={})
    publish(tmp_path / "model", parameters_to_save(model), "# a model for tests\n")
    data, out, output = tmp_path / "valid.txt", tmp_path / "samples.jsonl", tmp_path / "result.json"
    data.write_text(TEXT, encoding="utf-8")
    command = [sys.executable, str(BENCHMARKS / "repetition.py"), str(tmp_path / "model"), "--data", str(data)]
    command += ["--out", str(out), "--output", str(output), "--tokens", "30", "--processes", "1"]
    subprocess.run([*command, "--samples", "1"], check=True, capture_output=True)
    first = out.read_text(encoding="utf-8")
    done = subprocess.run([*command, "--samples", "2"], check=True, capture_output=True, text=True)
    assert out.read_text(encoding="utf-8").startswith(first)
    samples = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(sample["seed"], len(sample["ids"])) for sample in samples] == [(0, 30), (1, 30)]
    figures = json.loads(output.read_text(encoding="utf-8"))
    assert figures["samples"]["texts"] == 2
    assert figures["held_out"]["texts"] == 1
    assert "samples over held-out" in done.stdout
    other = subprocess.run([*command, "--set", "temperature=1.0"], check=False, capture_output=True, text=True)
    assert other.returncode == 1
    assert "samples of other settings" in other.stderr
    out.unlink()
    subprocess.run([*command, "--samples", "1", "--set", "temperature=0"], check=True, capture_output=True)
    (greedy,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert greedy["settings"] == {"temperature": 0}
    assert greedy["ids"] != samples[0]["ids"]
