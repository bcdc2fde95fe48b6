"""The comparison of sizes: which variants there are, and the line that predicts."""

from __future__ import annotations

import importlib
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from korformer.model.config import ModelConfig

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def path() -> Iterator[None]:
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def sizes() -> ModuleType:
    return importlib.import_module("sizes")


def test_every_size_with_the_first_vocabulary_and_the_first_with_every_one(sizes: ModuleType) -> None:
    options = Namespace(sizes=["8x256", "4x512"], vocabs=[Path("a/8k"), Path("a/16k")])
    assert list(sizes.variants(options)) == ["8x256, 8k", "4x512, 8k", "8x256, 16k"]


@pytest.mark.parametrize("size", ["8x256", "6x384", "4x512", "2x128"])
def test_sizes_are_models(sizes: ModuleType, size: str) -> None:
    config = ModelConfig.model_validate(sizes.model_settings(size, 1024))
    assert f"{config.depth}x{config.dim}" == size
    assert config.head_width == 64
    assert 2 * config.n_local_attn_heads == config.heads


def test_the_prediction_goes_on_as_between_the_looks(sizes: ModuleType) -> None:
    looks = {"steps": [100, 200], "bits_per_character": [5.0, 4.5]}
    assert sizes.predicted(looks, 15, 0.25) == pytest.approx(4.5)
    assert sizes.predicted(looks, 15, 0.5) == pytest.approx(4.0)
    assert sizes.predicted(looks, 15, 1) == pytest.approx(3.5)


def test_speeds_are_measured_in_turns_and_kept(tmp_path: Path) -> None:
    runs = importlib.import_module("training_runs")
    asked: list[str] = []

    def measured(name: str) -> float:
        asked.append(name)
        return float(len(asked))

    kept = tmp_path / "speeds.json"
    assert runs.kept_speeds(kept, ["a", "b"], measured) == {"a": 3.0, "b": 4.0}
    assert asked == ["a", "b"] * 3
    assert runs.kept_speeds(kept, ["b"], measured) == json.loads(kept.read_text(encoding="utf-8"))
    assert len(asked) == 6
    speed = runs.training_speed({**_TINY}, 60, rows=1, length=64, optimizer="muon", bf16=False)
    assert speed > 0


_TINY = {"dim": 16, "depth": 1, "heads": 2, "max_seq_len": 64, "bucket_size": 8}
