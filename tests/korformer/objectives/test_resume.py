"""Masks, samples and pairs are drawn by key: stopping, resuming and the size of passes change nothing."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from korformer.data.token_store import TokenStore
from korformer.errors import InterruptedRun
from korformer.events import Event, Step
from korformer.storage.tensors import load_tensors
from korformer.text.vocabulary import Vocabulary
from korformer.training.engine import TrainingData
from korformer.training.loop import pretrain
from korformer.training.metrics import read_metrics
from korformer.training.settings import RunSettings, run_settings

OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "mlm, spans, nsp": ("mlm", {"masking": "span", "sentence_pair": "nsp"}),
    "mlm, words, sop": ("mlm", {"masking": "word", "sentence_pair": "sop"}),
    "rtd": ("rtd", {}),
}


def settings(name: str, **training: Any) -> RunSettings:
    objective, section = OBJECTIVES[name]
    values = {
        "model": {"dim": 16, "depth": 1, "heads": 2, "max_seq_len": 48, "bucket_size": 8, "ff_dropout": 0.1},
        "training": {
            "steps": 6, "batch_size": 2, "accumulate": 2, "warmup_steps": 2, "save_every": 4, "eval_every": 3,
            "threads": 1, "eval_tokens": 200, **training,
        },
    }  # fmt: skip
    return run_settings(objective, {**values, objective: section})


def losses(path: Path) -> list[tuple[float, ...]]:
    return [
        (line["step"], line["loss"], line["gradient_norm"], line["tokens"])
        for line in read_metrics(path / "metrics.jsonl")
        if line["event"] == "step"
    ]


def figures(path: Path) -> list[dict[str, Any]]:
    lines = [line for line in read_metrics(path / "metrics.jsonl") if line["event"] == "validation"]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


@pytest.fixture
def data(store: TokenStore, vocabulary: Vocabulary) -> TrainingData:
    return TrainingData(store=store, valid=store, vocabulary=vocabulary)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_stopped_twice_and_resumed_is_as_never_stopped(name: str, data: TrainingData, tmp_path: Path) -> None:
    whole = pretrain(settings(name), data, tmp_path / "whole")
    for stop in (2, 5):

        def interrupt(event: Event, stop: int = stop) -> None:
            if isinstance(event, Step) and event.step == stop:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(InterruptedRun):
            pretrain(settings(name), data, tmp_path / "parts", listen=interrupt)
    parts = pretrain(settings(name), data, tmp_path / "parts")
    assert losses(parts) == losses(whole)
    assert figures(parts) == figures(whole)
    for file in ("steps/00000006/model.safetensors", "steps/00000006/optimizer.safetensors", "model.safetensors"):
        expected = load_tensors(whole / file)[0]
        assert all(torch.equal(tensor, expected[key]) for key, tensor in load_tensors(parts / file)[0].items())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_size_of_a_pass_changes_rounding_only(name: str, data: TrainingData, tmp_path: Path) -> None:
    one = pretrain(settings(name, batch_size=4, accumulate=1, steps=3), data, tmp_path / "one")
    four = pretrain(settings(name, batch_size=1, accumulate=4, steps=3), data, tmp_path / "four")
    for (_, loss, norm, tokens), (_, other, other_norm, others) in zip(losses(one), losses(four), strict=True):
        assert tokens == others
        assert loss == pytest.approx(other, rel=1e-5)
        assert norm == pytest.approx(other_norm, rel=1e-3)
