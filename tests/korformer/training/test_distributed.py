"""Several processes train what one does, and end together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from korformer.commands.app import main
from korformer.config import merge
from korformer.errors import ResourceError, UsageError
from korformer.objectives import objectives
from korformer.storage import staged_directory
from korformer.storage.tensors import load_tensors
from korformer.training.distributed import ALONE, Group, joined
from korformer.training.engine import TrainingData
from korformer.training.metrics import read_metrics
from korformer.training.run_directory import read_saved_step
from korformer.training.sharing import divided, require_same

Forks = Callable[..., dict[str, Any]]

VALUES: dict[str, Any] = {
    "model": {"dim": 16, "depth": 2, "heads": 2, "max_seq_len": 64, "bucket_size": 8, "n_local_attn_heads": 1},
    "training": {
        "precision": "fp32",
        "steps": 6, "batch_size": 4, "accumulate": 3, "warmup_steps": 2, "save_every": 4, "eval_every": 3,
        "sample_every": 3, "sample_tokens": 4, "threads": 1, "eval_tokens": 200, "device": "cpu",
    },
}  # fmt: skip
DROPOUT = {"model": {"ff_dropout": 0.1, "layer_dropout": 0.4}, "training": {"reversible": "always"}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in objectives()} | {
    "dropout": ("ar", DROPOUT),
}


def figures(path: Path, event: str = "step") -> list[dict[str, Any]]:
    return [line for line in read_metrics(path / "metrics.jsonl") if line["event"] == event]


def assert_close(run: Path, whole: Path) -> None:
    """The same losses to 1e-5, the same tokens, validations and samples at the same steps."""
    ours, theirs = figures(run), figures(whole)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    assert [line["tokens"] for line in ours] == [line["tokens"] for line in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-3)
    for event in ("validation", "sample"):
        assert [line["step"] for line in figures(run, event)] == [line["step"] for line in figures(whole, event)]


@pytest.mark.parametrize("case", CASES)
def test_several_processes_lose_what_one_does(case: str, forks: Forks, tmp_path: Path) -> None:
    objective, values = CASES[case]
    values = merge(VALUES, values)
    assert forks(tmp_path / "one", objective, values)["exits"] == [0]
    for processes in (2, 3) if case == "ar" else (2,):
        run = tmp_path / str(processes)
        done = forks(run, objective, values, processes=processes)
        assert done["exits"] == [0] * processes, done
        assert_close(run, tmp_path / "one")
        assert read_saved_step(run).loop.sampler == read_saved_step(tmp_path / "one").loop.sampler


def test_another_number_of_processes_goes_on(forks: Forks, tmp_path: Path) -> None:
    """One signal to one process stops all after the same step; others in another number go on, and at last one.

    The first signal comes while the first process validates and the others wait; that is done when the run goes on.
    """
    run, whole = tmp_path / "run", tmp_path / "whole"
    forks(whole, "ar", VALUES)
    stop = {"rank": 0, "number": signal.SIGTERM}
    first = forks(run, "ar", VALUES, processes=2, signal={**stop, "step": 3})
    assert first["exits"] == [143, 143], first
    assert "stopped after step 3, saved" in first["errors"][0]
    assert first["told"] == [True, False]
    assert forks(run, "ar", VALUES, processes=3, signal={**stop, "step": 4})["exits"] == [143] * 3
    assert forks(run, "ar", VALUES)["exits"] == [0]
    assert_close(run, whole)
    counts = [line["environment"]["processes"] for line in figures(run, "start")]
    assert counts == ["2", "3", "1"]


def test_the_first_process_killed_ends_the_others_and_the_run_goes_on(forks: Forks, tmp_path: Path) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    done = forks(run, "ar", VALUES, processes=2, kill={"rank": 0, "at": 9000, "within": False})
    assert done["exits"] == [-signal.SIGKILL, ResourceError.exit_code], done
    assert "another process of this run has ended" in done["errors"][1]
    assert done["told"] == [False, False]
    forks(whole, "ar", VALUES)
    assert forks(run, "ar", VALUES, processes=2)["exits"] == [0, 0]
    assert_close(run, whole)


def test_the_same_number_of_processes_goes_on_bit_for_bit(forks: Forks, tmp_path: Path) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    forks(whole, "ar", VALUES, processes=2)
    killed = forks(run, "ar", VALUES, processes=2, fail={"rank": 1, "step": 6})
    assert killed["exits"] == [ResourceError.exit_code, 99]
    assert read_saved_step(run).loop.step == 5  # what was done before the loss is kept
    assert forks(run, "ar", VALUES, processes=2)["exits"] == [0, 0]
    ours, _ = load_tensors(run / "model.safetensors")
    theirs, _ = load_tensors(whole / "model.safetensors")
    assert [name for name, tensor in theirs.items() if not torch.equal(tensor, ours[name])] == []
    assert [line["loss"] for line in figures(run)] == [line["loss"] for line in figures(whole)]


def test_what_is_wrong_is_told_once(forks: Forks, tmp_path: Path) -> None:
    """Two processes and a batch of three; then a run that is another one."""
    odd = merge(VALUES, {"training": {"batch_size": 3, "accumulate": 1}})
    done = forks(tmp_path / "odd", "ar", odd, processes=2)
    assert done["exits"] == [2, 2]
    assert "Nearest: training.batch_size=2 training.accumulate=2" in done["errors"][0]
    assert done["told"] == [True, False]
    forks(tmp_path / "run", "ar", merge(VALUES, {"training": {"steps": 1}}))
    done = forks(tmp_path / "run", "ar", merge(VALUES, {"training": {"seed": 5}}), processes=2)
    assert done["exits"] == [2, 2]
    assert "training.seed was 0, now 5" in done["errors"][0]
    assert done["told"] == [True, False]


def test_dividing_the_sequences_of_a_step() -> None:
    assert divided(4, 3, 1) == (4, 3)
    assert divided(4, 3, 2) == (3, 2)
    assert divided(4, 3, 3) == (4, 1)
    assert divided(8, 1, 4) == (2, 1)
    for batch_size, accumulate, processes in ((3, 1, 2), (1, 1, 4), (5, 2, 4), (7, 3, 2)):
        with pytest.raises(UsageError) as caught:
            divided(batch_size, accumulate, processes)
        assert caught.value.hint is not None
        size, passes = (int(word.split("=")[1].rstrip(",")) for word in caught.value.hint.split()[1:3])
        assert size <= batch_size
        size_each, passes_each = divided(size, passes, processes)
        assert size_each * passes_each * processes == size * passes
        assert abs(size * passes - batch_size * accumulate) <= max(processes / 2, processes - batch_size * accumulate)


def test_one_process_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined() as group:
        assert group is ALONE
    assert ALONE.sum({"loss": 2.5}) == {"loss": 2.5}
    assert ALONE.agreed_stop(None) is None
    assert ALONE.agreed_stop(15) == 15
    assert ALONE.first(lambda: 3) == 3
    tensor = torch.ones(2)
    assert ALONE.share({"a": tensor})["a"] is tensor


def test_other_files_on_another_machine_are_told() -> None:
    class Second(Group):
        def first(self, work: Callable[[], Any]) -> Any:
            return {"corpus": "one", "configuration": "same"}

    with pytest.raises(UsageError, match="has another corpus than the first process"):
        require_same(Second(1, 2), {"corpus": "other", "configuration": "same"})


@pytest.mark.parametrize(("number", "tells"), [("0", True), ("1", False)])
def test_a_wrong_command_line_is_told_by_one_process(
    number: str, tells: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", number)
    for line in (["pretrain", "--no-such-option"], ["pretrain", "--preset", "nothing"], ["pretrain", "--vocab", "v"]):
        with pytest.raises(SystemExit) as left:
            main(line)
        assert left.value.code == 2
        assert bool(capfd.readouterr().err) is tells


@pytest.fixture
def command(data: TrainingData, tmp_path: Path) -> list[str]:
    """`korformer pretrain` in two processes under torchrun, in a folder of its own."""
    with staged_directory(tmp_path / "vocab") as staged:
        data.vocabulary.save_files(staged)
    text = "\n\n".join(" ".join(f"어부가 바닷가에서 {n}번 노래한다." for n in range(i, i + 9)) for i in range(60))
    (tmp_path / "train.txt").write_text(text, encoding="utf-8")
    settings = [f"{section}.{key}={value}" for section, each in VALUES.items() for key, value in each.items()]
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "korformer.commands.app",
        "pretrain", "--vocab", "vocab", "--corpus", "train.txt", "--cache", "cache", "-o", "run", "--steps", "100000",
        *(word for setting in settings for word in ("--set", setting) if not setting.startswith("training.steps")),
    ]  # fmt: skip


def steps_of(run: Path) -> int:
    return len(figures(run)) if (run / "metrics.jsonl").exists() else 0


def start(command: list[str], folder: Path, steps: int) -> subprocess.Popen[str]:
    """Start it and come back when so many steps are done."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    while steps_of(folder / "run") < steps:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    return process


def test_torchrun_from_start_to_end(command: list[str], tmp_path: Path) -> None:
    """A worker is killed; the same command goes on; SIGTERM to torchrun saves once and leaves nothing running."""
    process = start(command, tmp_path, 6)
    workers = children_of(process.pid)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    _, told = process.communicate()
    assert process.returncode != 0
    assert told.count("another process of this run has ended") == 1
    kept = read_saved_step(tmp_path / "run").loop.step
    assert kept >= 4

    process = start(command, tmp_path, kept + 3)
    workers = children_of(process.pid)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate()
    assert process.returncode != 0
    assert told.count(f"going on after step {kept:,} of") == 1
    assert told.count("korformer: run: stopped after step") == 1
    saved = read_saved_step(tmp_path / "run").loop.step
    assert saved == figures(tmp_path / "run")[-1]["step"] > kept
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def children_of(process: int) -> list[int]:
    import psutil

    return sorted(child.pid for child in psutil.Process(process).children())
