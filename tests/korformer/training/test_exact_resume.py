"""Killed anywhere, however often, a run ends with the bits of one that was never interrupted.

The processes are killed for good (SIGKILL, no clean-up), at calls of functions drawn by a seed: half of them anywhere,
half of them while a step is being saved.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from korformer.commands.app import main
from korformer.config import merge
from korformer.errors import InterruptedRun, ResourceError
from korformer.events import Event, Listener, Notice, Progress, Saved, Step, ignore
from korformer.objectives import objectives
from korformer.storage import atomic, staged_directory, verify_manifest
from korformer.training.engine import TrainingData
from korformer.training.loop import pretrain
from korformer.training.metrics import read_metrics
from korformer.training.run_directory import read_saved_step
from korformer.training.settings import run_settings

Forks = Callable[..., dict[str, Any]]

VALUES: dict[str, Any] = {
    "model": {"dim": 16, "depth": 2, "heads": 2, "max_seq_len": 64, "bucket_size": 8, "n_local_attn_heads": 1},
    "training": {
        "precision": "fp32",
        "steps": 10, "batch_size": 2, "accumulate": 2, "warmup_steps": 2, "save_every": 3, "eval_every": 4,
        "sample_every": 4, "sample_tokens": 4, "threads": 1, "eval_tokens": 200, "device": "cpu",
    },
}  # fmt: skip
EVERYTHING = {
    "model": {"ff_dropout": 0.1, "post_attn_dropout": 0.1, "layer_dropout": 0.3},
    "training": {"reversible": "always"},
    "ar": {"fim_rate": 0.5},
    "data": {"warmup_lengths": [32], "length_warmup": 0.5},
}
OTHERWISE = {"data": {"shuffle": False, "pack_tokens": 24}, "training": {"accumulate": 1, "precision": "bf16"}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in objectives()} | {
    "everything": ("ar", EVERYTHING),
    "otherwise": ("ar", OTHERWISE),
}


def result(path: Path) -> dict[str, Any]:
    """Everything about a run that must not hang on how it came about."""
    verify_manifest(path)
    saved = read_saved_step(path)
    loop = {key: value for key, value in vars(saved.loop).items() if key not in ("seconds", "environment")}
    lines = [line for line in read_metrics(path / "metrics.jsonl") if line["event"] != "start"]
    chance = {"time", "tokens_per_second", "seconds_left", "memory_bytes", "gpu_utilisation"}
    return {
        "model": saved.model,
        "optimizer": saved.optimizer,
        "published": (path / "model.safetensors").read_bytes(),
        "loop": loop,
        "curves": [{key: value for key, value in line.items() if key not in chance} for line in lines],
    }


def assert_same(run: Path, whole: Path) -> None:
    one, other = result(run), result(whole)
    for part in ("model", "optimizer"):
        tensors, expected = one.pop(part), other.pop(part)
        assert tensors.keys() == expected.keys()
        assert [name for name in tensors if not torch.equal(tensors[name], expected[name])] == [], part
    assert one["curves"] == other["curves"]
    assert one == other


@pytest.fixture(scope="module")
def whole(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, list[int]]]:
    """The run of a case that nothing interrupts, and the calls it makes: in all, and while saving."""
    known: dict[str, tuple[Path, list[int]]] = {}

    def run(case: str) -> tuple[Path, list[int]]:
        if case not in known:
            objective, values = CASES[case]
            path = tmp_path_factory.mktemp("whole") / "run"
            done = forks(path, objective, merge(VALUES, values), count=True)
            assert done["exits"] == [0], done
            known[case] = path, done["calls"]
        return known[case]

    return run


@pytest.mark.parametrize("case", CASES)
def test_killed_at_random_moments(
    case: str, forks: Forks, whole: Callable[[str], tuple[Path, list[int]]], tmp_path: Path
) -> None:
    objective, values = CASES[case]
    expected, calls = whole(case)
    draw = random.Random(f"kill {case}")
    run = tmp_path / "run"
    exits = []
    for within in (False, True, False, True):
        kill = {"rank": 0, "at": draw.randrange(calls[within] // 2), "within": within}
        exits += forks(run, objective, merge(VALUES, values), kill=kill)["exits"]
    assert set(exits) <= {-signal.SIGKILL, 0}
    assert exits.count(-signal.SIGKILL) >= 2
    assert forks(run, objective, merge(VALUES, values))["exits"] == [0]
    assert_same(run, expected)


@pytest.fixture(scope="module")
def uninterrupted(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(run_settings("ar", VALUES), data, tmp_path_factory.mktemp("uninterrupted") / "run")


def go_on(data: TrainingData, run: Path, listen: Listener = ignore, **training: object) -> Path:
    return pretrain(run_settings("ar", merge(VALUES, {"training": training})), data, run, listen=listen)


def stop_at(moment: Callable[[Event], bool]) -> Listener:
    """Ask to stop, as Ctrl-C does, at the first event of that kind."""
    asked: Iterator[None] = iter([None])

    def hear(event: Event) -> None:
        if moment(event) and next(asked, 0) is None:
            os.kill(os.getpid(), signal.SIGINT)

    return hear


MOMENTS: dict[str, Callable[[Event], bool]] = {
    "first step": lambda event: isinstance(event, Step) and event.step == 1,
    "a step that is saved anyway": lambda event: isinstance(event, Step) and event.step == 3,
    "validation": lambda event: isinstance(event, Progress) and event.stage == "validating",
    "last step": lambda event: isinstance(event, Step) and event.step == VALUES["training"]["steps"],
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_stopped_by_a_signal(moment: str, data: TrainingData, uninterrupted: Path, tmp_path: Path) -> None:
    """What a signal cuts short after a step, such as its validation, is done when the run goes on."""
    with pytest.raises(InterruptedRun, match="saved"):
        go_on(data, tmp_path / "run", stop_at(MOMENTS[moment]))
    run = go_on(data, tmp_path / "run")
    ours, theirs = result(run), result(uninterrupted)
    assert ours["published"] == theirs["published"]
    assert ours["loop"] == theirs["loop"]
    for event in ("step", "validation", "sample"):
        assert [line for line in ours["curves"] if line["event"] == event] == [
            line for line in theirs["curves"] if line["event"] == event
        ]


def test_a_moved_run_with_a_torn_curve_goes_on(data: TrainingData, uninterrupted: Path, tmp_path: Path) -> None:
    """Its last line half written, as a power cut leaves it, and the folder under another name."""
    with pytest.raises(InterruptedRun):
        go_on(data, tmp_path / "here", stop_at(lambda event: isinstance(event, Step) and event.step == 6))
    run = (tmp_path / "here").rename(tmp_path / "there")
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"event": "step", "step": 7, "lo')
    assert result(go_on(data, run))["published"] == (uninterrupted / "model.safetensors").read_bytes()
    steps = [line["step"] for line in result(run)["curves"] if line["event"] == "step"]
    assert steps == list(range(1, VALUES["training"]["steps"] + 1))


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(
    data: TrainingData, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second save finds no room: the first one is whole, nothing else is left, and the run goes on from it."""
    run = tmp_path / "run"
    write = os.write
    saved: list[Event] = []

    def full(descriptor: int, content: bytes) -> int:
        if len(content) > 4096 and saved:
            raise OSError(28, "No space left on device")
        return write(descriptor, content)

    def hear(event: Event) -> None:
        if isinstance(event, Saved):
            saved.append(event)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "write", full)
        with pytest.raises(ResourceError, match=r"disk is full; .* needed") as caught:
            go_on(data, run, hear)
    assert caught.value.exit_code == 6
    assert sorted(path.name for path in (run / "steps").iterdir()) == ["00000003"]
    assert read_saved_step(run).loop.step == 3
    verify_manifest(run)
    assert_same(go_on(data, run), uninterrupted)


def test_another_micro_batch_goes_on_and_is_told(data: TrainingData, uninterrupted: Path, tmp_path: Path) -> None:
    """Four sequences a step stay four, so the losses are the same but for rounding; that is said."""
    run = tmp_path / "run"
    with pytest.raises(InterruptedRun):
        go_on(data, run, stop_at(lambda event: isinstance(event, Step) and event.step == 5))
    heard: list[Event] = []
    go_on(data, run, heard.append, batch_size=4, accumulate=1, micro_batch=4)
    told = [event.text for event in heard if isinstance(event, Notice) and event.level == "warning"]
    assert len(told) == 1
    assert "micro-batch changed since the save (micro-batch 2, now 4)" in told[0]
    assert "not bit for bit" in told[0]
    ours, theirs = (
        [line for line in result(path)["curves"] if line["event"] == "step"] for path in (run, uninterrupted)
    )
    assert [line["tokens"] for line in ours] == [line["tokens"] for line in theirs]
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], abs=1e-5)


def test_the_program_killed_twice(data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`korformer pretrain` killed from outside, whatever it is at, and started again with the same command."""
    monkeypatch.chdir(tmp_path)
    with staged_directory(tmp_path / "vocab") as staged:
        data.vocabulary.save_files(staged)
    Path("train.txt").write_text("\n\n".join(f"할머니가 시장에서 {n}번 쉬었다." for n in range(400)), encoding="utf-8")
    values = merge(VALUES, {"training": {"steps": 40, "save_every": 5}})
    settings = [f"{section}.{key}={value}" for section, each in values.items() for key, value in each.items()]
    command = ["pretrain", "--vocab", "vocab", "--corpus", "train.txt", "--cache", "cache"]
    command += [word for setting in settings for word in ("--set", setting)]
    for target in (7, 23):
        process = subprocess.Popen(
            [sys.executable, "-m", "korformer.commands.app", *command, "-o", "run"], stderr=subprocess.DEVNULL
        )
        while process.poll() is None and steps_done(Path("run")) < target:
            time.sleep(0.02)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    for name in ("run", "whole"):
        with pytest.raises(SystemExit) as left:
            main([*command, "-o", name])
        assert left.value.code == 0
    assert_same(Path("run"), Path("whole"))
    assert len([line for line in Path("run/metrics.jsonl").read_text().splitlines() if '"start"' in line]) == 3


def steps_done(run: Path) -> int:
    if not (run / "metrics.jsonl").exists():
        return 0
    return max((line["step"] for line in read_metrics(run / "metrics.jsonl")), default=0)
