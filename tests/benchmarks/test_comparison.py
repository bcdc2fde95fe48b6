"""The comparison of systems: how it interpolates, how peers are read, and a run of one of them."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from korformer.text.wordpiece import VocabularySettings, train_vocabulary

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TEXT = "등대지기는 아침이면 유리를 닦고, 저녁이면 불을 켰다. 바람이 센 날에는 종을 울렸다. " * 6


@pytest.fixture(scope="module")
def comparison() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("comparison")
    finally:
        sys.path.remove(str(BENCHMARKS))


def look(seconds: float, bits: float) -> dict[str, object]:
    return {"seconds": seconds, "bits_per_character": bits, "tokens": 1, "by_position": []}


def test_equal_time_lies_on_the_line_between_two_looks(comparison: ModuleType) -> None:
    looks = [look(10, 6.0), look(20, 5.0), look(40, 4.0)]
    assert comparison.at_time(looks, 30) == pytest.approx(4.5)
    assert comparison.at_time(looks, 20) == pytest.approx(5.0)
    assert comparison.at_time(looks, 100) == pytest.approx(4.0)
    assert comparison.at_time(looks, 5) is None


def test_a_row_is_the_mean_of_its_seeds(comparison: ModuleType) -> None:
    def run(seconds: float, bits: float) -> dict[str, object]:
        looks = [look(seconds / 2, bits + 1), look(seconds, bits)]
        return {"looks": looks, "bits_per_character": bits, "tokens_per_second": 1.0, "peak_gb": bits, "parameters": 1}

    rows = comparison.summary({"slow": [run(40, 4.0), run(40, 5.0)], "fast": [run(20, 4.2)]})
    assert rows["slow"]["equal_tokens"] == pytest.approx(4.5)
    assert rows["slow"]["equal_time"] == pytest.approx(5.5)
    assert rows["fast"]["equal_time"] == pytest.approx(4.2)
    assert rows["fast"]["deviation"] is None
    assert rows["slow"]["peak_gb"] == 5.0


@pytest.mark.parametrize("length", [1, 31, 32, 50, 64])
def test_a_peer_reads_documents_of_any_length(comparison: ModuleType, length: int) -> None:
    shape = comparison.Shape(length=64, dim=16, depth=1, heads=2, vocabulary=50, bucket_size=8)
    tokens = torch.randint(5, 50, (1, length))
    for system in comparison.PEERS:
        model = comparison.Student(system, shape, 0).model.eval()
        with torch.no_grad():
            scores = model(tokens, documents_BT=None, positions_BT=None)
        assert scores.shape == (1, length, 50)


def test_a_run_from_text_to_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "vocab").mkdir()
    train_vocabulary([TEXT], VocabularySettings(size=440)).save_files(tmp_path / "vocab")
    (tmp_path / "train.txt").write_text("\n\n".join([TEXT] * 5), encoding="utf-8")
    (tmp_path / "valid.txt").write_text(TEXT, encoding="utf-8")
    command = [sys.executable, str(BENCHMARKS / "comparison.py"), "--corpus", str(tmp_path / "train.txt")]
    command += ["--valid", str(tmp_path / "valid.txt"), "--vocab", str(tmp_path / "vocab"), "--systems", "dense"]
    command += ["--length", "128", "--dim", "16", "--depth", "1", "--heads", "2", "--steps", "8", "--batch", "1"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out.json")], check=True, capture_output=True, text=True
    )
    figures = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    looks = figures["runs"]["dense"][0]["looks"]
    assert [look["tokens"] for look in looks] == [256, 512, 768, 1024]
    assert looks[-1]["bits_per_character"] < looks[0]["bits_per_character"]
    assert "equal time" in done.stdout
