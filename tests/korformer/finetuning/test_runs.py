from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from korformer.errors import UsageError
from korformer.events import Event, Step
from korformer.finetuning.runs import finetune
from korformer.finetuning.settings import FinetuneSettings
from korformer.model.directory import load_model
from korformer.storage import verify_manifest
from korformer.text.vocabulary import Vocabulary
from korformer.training.runs import find_runs

Settled = Callable[..., FinetuneSettings]


def test_several_seeds_have_a_run_each_and_the_best_is_the_model(
    settled: Settled, vocabulary: Vocabulary, files: dict[str, list[str]], tmp_path: Path
) -> None:
    path = tmp_path / "run"

    def three(**how: object) -> object:
        return finetune(
            settled(training={"epochs": 2}), vocabulary, None, path, train=files["train.tsv"],
            valid=files["valid.tsv"], seeds=3, **how,
        )  # fmt: skip

    results = three()
    scores = [outcome.metrics["accuracy"] for outcome in results.outcomes]
    mean, deviation = results.summary()["accuracy"]
    assert mean == pytest.approx(statistics.fmean(scores))
    assert deviation == pytest.approx(statistics.stdev(scores))
    assert [run.name for run in find_runs([path])] == ["seed-0", "seed-1", "seed-2"]
    assert {run.state for run in find_runs([path])} == {"finished"}
    assert {run.objective for run in find_runs([path])} == {"classify"}
    weights = [(path / f"seed-{seed}" / "model.safetensors").read_bytes() for seed in range(3)]
    assert len(set(weights)) == 3
    assert (path / "model.safetensors").read_bytes() == weights[results.best.seed]
    verify_manifest(path, required=["model.safetensors"])
    assert load_model(path).config_json["task"]["name"] == "classify"
    card = (path / "README.md").read_text(encoding="utf-8")
    assert "mean ± deviation over seeds 0, 1, 2" in card
    assert f"{mean:.4f} ± {deviation:.4f}" in card
    kept = json.loads((path / "results.json").read_text(encoding="utf-8"))
    assert [seed["seed"] for seed in kept["seeds"]] == [0, 1, 2]
    assert kept["mean"]["accuracy"] == pytest.approx(mean)

    heard: list[Event] = []
    again = three(listen=heard.append)
    assert not any(isinstance(event, Step) for event in heard)
    assert [dict(outcome.metrics) for outcome in again.outcomes] == [dict(o.metrics) for o in results.outcomes]


def test_a_seed_gives_the_same_run_alone_and_among_others(
    settled: Settled, vocabulary: Vocabulary, files: dict[str, list[str]], tmp_path: Path
) -> None:
    data = {"train": files["train.tsv"], "valid": files["valid.tsv"]}
    finetune(settled(training={"steps": 3}), vocabulary, None, tmp_path / "many", **data, seeds=2)
    finetune(settled(training={"steps": 3, "seed": 1}), vocabulary, None, tmp_path / "one", **data)
    many = (tmp_path / "many" / "seed-1" / "model.safetensors").read_bytes()
    assert many == (tmp_path / "one" / "model.safetensors").read_bytes()


def test_no_seeds_are_refused(
    settled: Settled, vocabulary: Vocabulary, files: dict[str, list[str]], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        finetune(settled(), vocabulary, None, tmp_path / "x", train=files["train.tsv"], valid=[], seeds=0)
