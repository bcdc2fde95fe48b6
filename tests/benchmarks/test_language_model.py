"""The comparison with n-gram models: it learns from what the run consumed, and writes whole results or none."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from korformer.data.store import cached_store
from korformer.evaluation.language_model import evaluate_lm
from korformer.model.directory import load_model
from korformer.text.documents import ReadSettings
from korformer.text.wordpiece import VocabularySettings, train_vocabulary
from korformer.training.engine import TrainingData
from korformer.training.loop import pretrain
from korformer.training.settings import RunSettings, run_settings

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TEXTS = [
    f"{number}번째 이야기\n고양이가 담장 위를 걷는다. " + "밤이 깊고 달이 밝다. " * (number % 7) for number in range(40)
]
HELD_OUT = ["13번째 밤\n고양이가 걷는다. 밤이 깊고 달이 밝다. 끝.", "7번째 밤\n고양이가 걷는다. 끝."]


@pytest.fixture(scope="module")
def benchmark_module() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location(
            "korformer_benchmarks_language_model", BENCHMARKS / "language_model.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of more than one epoch, by the trainer itself."""
    folder = tmp_path_factory.mktemp("run")
    corpus, valid, cache = folder / "corpus.txt", folder / "valid.txt", folder / "cache"
    corpus.write_text("\n\n".join(TEXTS) + "\n", encoding="utf-8")
    valid.write_text("\n\n".join(HELD_OUT) + "\n", encoding="utf-8")
    vocabulary = train_vocabulary(TEXTS, VocabularySettings(size=600))
    store, held_out = (cached_store([str(path)], vocabulary, cache, read=ReadSettings()) for path in (corpus, valid))
    packs = -(-(store.tokens - store.documents) // 32)
    settings = run_settings(
        "ar",
        {
            "model": {"dim": 16, "depth": 1, "heads": 2, "max_seq_len": 32, "bucket_size": 8, "n_hashes": 1},
            "training": {
                "steps": packs // 4 + 2,
                "batch_size": 2,
                "accumulate": 2,
                "eval_every": 1,
                "sample_every": 0,
                "seed": 5,
            },
        },
    )
    pretrain(settings, TrainingData(store=store, valid=held_out, vocabulary=vocabulary), folder / "out")
    return {"path": folder / "out", "corpus": corpus, "valid": valid, "cache": cache, "store": store}


def arguments(run: dict[str, Any], *more: object) -> list[str]:
    given = (run["path"], "--corpus", run["corpus"], "--valid", run["valid"], "--cache", run["cache"], *more)
    return [str(argument) for argument in given]


def test_the_ngrams_learn_from_the_first_epoch_of_what_the_run_consumed(
    benchmark_module: ModuleType, run: dict[str, Any]
) -> None:
    saved = benchmark_module.read_saved_step(run["path"]).loop
    loaded = load_model(run["path"])
    settings: RunSettings = run_settings("ar", _sections(benchmark_module, run))
    pairs, text = benchmark_module.replay(run["store"], settings, saved, loaded.vocabulary, keep_text=True)
    expected = benchmark_module.PairCounts(loaded.vocabulary.size)
    for index in range(run["store"].documents):
        ids = np.array(run["store"].document(index))
        expected.add(ids[:-1], ids[1:])
    assert saved.tokens > run["store"].tokens - run["store"].documents  # the run saw some of it twice
    for ours, theirs in zip(pairs.totals(), expected.totals(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Documents cut by a pack's end are whole again; only their order is the run's.
    assert sorted(text.decode().split("\n\n")[:-1]) == sorted(TEXTS)


def _sections(benchmark_module: ModuleType, run: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = benchmark_module.read_toml(run["path"] / "run.toml")
    values.pop("objective")
    return values


def test_a_whole_comparison(
    benchmark_module: ModuleType, run: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result.json"
    assert benchmark_module.main(arguments(run, "--output", output)) == 0
    out = capsys.readouterr().out
    for words in ("unigram", "Kneser-Ney bigram", "model after step", "still falling"):
        assert words in out
    result = json.loads(output.read_text(encoding="utf-8"))
    rows = {row["name"].split(" after")[0]: row for row in result["rows"]}
    loaded = load_model(run["path"])
    measured = evaluate_lm(loaded.model, loaded.vocabulary, HELD_OUT)
    assert rows["model"]["bits_per_character"] == pytest.approx(measured.bits_per_character)
    assert rows["Kneser-Ney bigram"]["bits_per_character"] < rows["unigram"]["bits_per_character"]
    points = result["validation"]["points"]
    assert [step for step, _ in points] == list(range(1, len(points) + 1))
    assert points[-1][1] == pytest.approx(measured.bits_per_character, rel=1e-6)


def test_a_missing_row_means_that_nothing_is_written(
    benchmark_module: ModuleType,
    run: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyppmd", None)  # as if it were not installed
    output = tmp_path / "result.json"
    assert benchmark_module.main(arguments(run, "--compressors", "--output", output)) == 1
    captured = capsys.readouterr()
    assert "xz" in captured.out
    assert "skipped: PPMd of order 16" in captured.err
    assert not output.exists()


def test_ngrams_of_the_whole_corpus_and_compressors_of_other_text(
    benchmark_module: ModuleType, run: dict[str, Any], tmp_path: Path
) -> None:
    prime = tmp_path / "prime.txt"
    prime.write_text("\n\n".join(HELD_OUT), encoding="utf-8")
    output = tmp_path / "result.json"
    more = ("--whole", "--compressors", "--prime", prime, "--ppmd-order", "4", "--output", output)
    assert benchmark_module.main(arguments(run, *more)) == 0
    rows = {row["name"]: row for row in json.loads(output.read_text(encoding="utf-8"))["rows"]}
    whole = run["store"].tokens - run["store"].documents
    assert rows["Kneser-Ney bigram"]["learnt_from_tokens"] == whole
    primed = rows["PPMd of order 4 (text appended to it)"]
    assert 0 < primed["learnt_from_tokens"] < whole
    assert primed["bits_per_character"] < 3  # it knows the held-out text by heart


def test_another_corpus_is_refused(
    benchmark_module: ModuleType, run: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("다른 글이다.\n", encoding="utf-8")
    assert benchmark_module.main(arguments({**run, "corpus": other})) == 3
    assert "not the one of the run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "falling"),
    [([5.0, 4.0, 3.0, 2.9], True), ([5.0, 3.0, 2.8, 2.9], False), ([5.0, 4.0, 2.0, 2.0], False), ([5.0], None)],
)
def test_still_falling_means_lowest_at_the_end_and_lower_than_at_three_quarters(
    benchmark_module: ModuleType, values: list[float], falling: bool | None
) -> None:
    lines = [
        {"event": "validation", "step": 10 * (index + 1), "bits_per_character": value}
        for index, value in enumerate(values)
    ]
    lines += [
        {"event": "step", "step": 40, "loss": 1.0},
        {"event": "validation", "step": 50, "bits_per_character": 9.0},
    ]
    curve = benchmark_module.validation_curve(lines, upto=40)
    assert len(curve.points) == len(values)
    assert curve.still_falling is falling


def test_compressors_get_better_by_what_they_have_seen(benchmark_module: ModuleType) -> None:
    seen = "\n\n".join(TEXTS).encode()
    informed = benchmark_module.compressor_row("xz", benchmark_module.xz_bytes, seen, TEXTS[:5], 1)
    blank = benchmark_module.compressor_row("xz", benchmark_module.xz_bytes, b"", TEXTS[:5], 0)
    assert informed.bits_per_character < blank.bits_per_character
