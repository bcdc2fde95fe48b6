from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from korformer.config import merge
from korformer.data.mixing import Mixture
from korformer.errors import InputError, InterruptedRun, UsageError
from korformer.events import Event, Notice, Step
from korformer.storage.tensors import load_tensors
from korformer.training.corpora import training_data
from korformer.training.engine import TrainingData
from korformer.training.loop import pretrain
from korformer.training.metrics import read_metrics
from korformer.training.settings import DataSettings, RunSettings, run_settings

VALUES: dict[str, Any] = {
    "model": {"dim": 16, "depth": 1, "heads": 2, "max_seq_len": 64, "bucket_size": 8},
    "data": {"warmup_lengths": [16, 32], "length_warmup": 0.5, "weights": {"first": 2, "second": 1}},
    "training": {
        "steps": 8, "batch_size": 2, "accumulate": 2, "warmup_steps": 2, "save_every": 3, "sample_every": 0,
        "eval_every": 8, "eval_tokens": 200, "threads": 1,
    },
    "ar": {"fim_rate": 0.7},
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path, data: TrainingData) -> list[Path]:
    """The texts of the training store in two files."""
    assert not isinstance(data.store, Mixture)
    texts = [
        data.vocabulary.decode(ids, skip_special_tokens=True)
        for ids in (data.store.document(number).tolist() for number in range(data.store.documents))
    ]
    places = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for place, part in zip(places, (texts[:20], texts[20:]), strict=True):
        place.write_text("\n\n".join(part), encoding="utf-8")
    return places


def settings(**more: Any) -> RunSettings:
    return run_settings("ar", merge(VALUES, more))


def made(data: TrainingData, sources: list[str], valid: list[str], cache: Path, **given: Any) -> TrainingData:
    heard: list[Event] = given.pop("heard", [])
    strict = given.pop("strict", False)
    return training_data(
        sources, valid, data.vocabulary, DataSettings(**given), cache=cache, strict=strict, listen=heard.append
    )


def test_corpora_are_mixed_and_a_share_of_each_is_held_out(
    data: TrainingData, files: list[Path], tmp_path: Path
) -> None:
    named = [f"first={files[0]}", f"second={files[1]}"]
    weights = {"first": 2.0, "second": 1.0}
    mixed = made(data, named, [], tmp_path / "cache", weights=weights, valid_share=0.2)
    assert isinstance(mixed.store, Mixture)
    assert mixed.store.weights == weights
    assert mixed.valid is not None
    assert mixed.store.documents + mixed.valid.documents == data.store.documents
    assert mixed.sources == ("one.txt", "two.txt")
    one = made(data, [str(place) for place in files], [str(files[0])], tmp_path / "cache")
    assert not isinstance(one.store, Mixture)
    assert one.store.documents == data.store.documents
    assert one.valid is not None
    assert one.valid.documents == 20


def test_contradictions_and_problems_are_told(data: TrainingData, files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a held-out text is given, and a share"):
        made(data, [str(files[0])], [str(files[1])], tmp_path / "cache", valid_share=0.1)
    with pytest.raises(UsageError, match="no corpus is called third"):
        made(data, [str(files[0])], [], tmp_path / "cache", weights={"third": 1})
    heard: list[Event] = []
    made(data, [str(files[0])], [str(files[0])], tmp_path / "cache", heard=heard)
    told = [event.text for event in heard if isinstance(event, Notice) and event.level == "warning"]
    assert any("20 of the 20 held-out documents are in the training text" in text for text in told)
    with pytest.raises(InputError, match="20 of the 20 held-out documents"):
        made(data, [str(files[0])], [str(files[0])], tmp_path / "cache", strict=True)


def test_a_mixed_run_with_gaps_and_growing_lengths_resumes_to_the_same_bits(
    data: TrainingData, files: list[Path], tmp_path: Path
) -> None:
    named = [f"first={files[0]}", f"second={files[1]}"]
    mixed = made(data, named, [], tmp_path / "cache", weights={"first": 2.0, "second": 1.0}, valid_share=0.1)
    whole = pretrain(settings(), mixed, tmp_path / "whole")
    parts = tmp_path / "parts"
    for stop in (1, 3, 6):

        def interrupt(event: Event, stop: int = stop) -> None:
            if isinstance(event, Step) and event.step == stop:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(InterruptedRun):
            pretrain(settings(), mixed, parts, listen=interrupt)
    pretrain(settings(), mixed, parts)
    tensors = load_tensors(whole / "model.safetensors")[0]
    for name, tensor in load_tensors(parts / "model.safetensors")[0].items():
        assert torch.equal(tensor, tensors[name]), name
    lines = read_metrics(whole / "metrics.jsonl")
    steps = [line for line in lines if line["event"] == "step"]
    assert [line["loss"] for line in steps] == [
        line["loss"] for line in read_metrics(parts / "metrics.jsonl") if line["event"] == "step"
    ]
    # 256 tokens a step, in sequences of 16, 16, 32, 32 and then 64; two of three from the first corpus.
    place = [line for line in lines if line["event"] == "data"][-1]
    assert place["step"] == 8
    assert place["first.turns"] + place["second.turns"] == 2 * 16 + 2 * 8 + 4 * 4
    assert abs(place["first.turns"] - 64 * 2 / 3) < 1
    with pytest.raises(UsageError, match=r"data\.weights\.first was 2"):
        pretrain(settings(data={"weights": {"first": 3}}), mixed, whole)
