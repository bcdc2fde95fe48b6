from dataclasses import replace
from pathlib import Path

import pytest
import torch

from korformer.config import merge
from korformer.events import Event, Notice
from korformer.training import memory
from korformer.training.distributed import ALONE
from korformer.training.engine import TrainingData
from korformer.training.fitting import advice, as_before, out_of_memory, warning_of
from korformer.training.loop import pretrain
from korformer.training.metrics import read_metrics
from korformer.training.settings import RunSettings, run_settings

VALUES = {
    "model": {"dim": 16, "depth": 1, "heads": 2, "max_seq_len": 64, "bucket_size": 8},
    "training": {"steps": 2, "batch_size": 6, "accumulate": 2, "warmup_steps": 1, "threads": 1, "sample_every": 0},
}
CPU = torch.device("cpu")


def settings(**training: object) -> RunSettings:
    return run_settings("ar", merge(VALUES, {"training": training}))


def chosen(*, micro_batch: int = 6, passes: int = 2, reversible: bool = False, fits: bool = True) -> memory.Fit:
    parts = memory.StepMemory(process=1, weights=2, gradients=2, optimizer=4, activations=10**6)
    return memory.Fit(micro_batch=micro_batch, passes=passes, reversible=reversible, memory=parts, fits=fits)


def environment(path: Path) -> dict[str, str]:
    return next(line["environment"] for line in reversed(read_metrics(path / "metrics.jsonl")) if "environment" in line)


def losses(path: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(path / "metrics.jsonl") if line["event"] == "step"]


def test_a_run_that_does_not_fit_takes_smaller_passes_to_the_same_end(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pretrain(settings(), data, tmp_path / "whole")
    assert environment(whole)["micro-batch"] == "6"
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**6)
    heard: list[Event] = []
    small = pretrain(settings(reversible="never"), data, tmp_path / "small", listen=heard.append)
    assert environment(small)["micro-batch"] == "1"
    assert losses(small) == pytest.approx(losses(whole), rel=1e-4)
    warnings = [event.text for event in heard if isinstance(event, Notice) and event.level == "warning"]
    assert len(warnings) == 1
    assert "training.reversible=always" in warnings[0]
    # It goes on as it began, though there is room now.
    monkeypatch.undo()
    pretrain(settings(steps=3, reversible="never"), data, small)
    assert environment(small)["micro-batch"] == "1"
    pretrain(settings(steps=4, reversible="never", micro_batch=3), data, small)
    assert environment(small)["micro-batch"] == "3"


def test_the_micro_batch_of_the_save_holds_where_it_can() -> None:
    before = {"micro-batch": "3", "processes": "1"}
    assert as_before(settings(), before, (6, 2), ALONE) == (3, 4)
    assert as_before(settings(), {**before, "processes": "2"}, (6, 2), ALONE) == (6, 2)
    assert as_before(settings(), {**before, "micro-batch": "5"}, (6, 2), ALONE) == (6, 2)
    assert as_before(settings(), {}, (6, 2), ALONE) == (6, 2)
    assert as_before(settings(micro_batch=2), before, (2, 6), ALONE) == (2, 6)


def test_advice_names_settings_that_help() -> None:
    told = str(out_of_memory(settings(), 7, chosen()))
    assert "after step 7" in told
    assert "training.micro_batch=3 (now 6), or training.reversible=always" in told
    smallest = replace(chosen(micro_batch=1, passes=12, reversible=True))
    assert "micro_batch" not in advice(settings(), smallest)
    assert "reversible" not in advice(settings(), smallest)
    assert "data.pack_tokens=32 (now 64)" in advice(settings(), smallest)
    assert warning_of(settings(), chosen(), CPU) is None
    assert "1.0 MB" in (warning_of(settings(), chosen(fits=False), CPU) or "")
