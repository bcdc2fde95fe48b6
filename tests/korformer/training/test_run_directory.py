from pathlib import Path

import pytest
import torch

from korformer.errors import ModelDirectoryError, UsageError
from korformer.events import Event, Notice
from korformer.training.run_directory import LoopState, RunDirectory, read_saved_step
from korformer.training.settings import run_settings

TENSORS = {"a": torch.arange(6.0)}


def loop(step: int) -> LoopState:
    return LoopState(
        step=step, tokens=10 * step, sampler={"epoch": 1}, weighted_loss=0.5, loss_weight=0.25, seconds=3.5,
        corpus="c", vocabulary="v", environment={"torch": "x"},
    )  # fmt: skip


def save(run: RunDirectory, step: int, keep: int = 2) -> None:
    run.save({"a": TENSORS["a"] + step}, TENSORS, loop(step), keep=keep)


def test_the_newest_step_comes_back_and_old_ones_go(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.newest() is None
    for step in (5, 10, 15):
        save(run, step)
    newest = run.newest()
    assert newest is not None
    assert newest.loop == loop(15)
    assert torch.equal(newest.model["a"], TENSORS["a"] + 15)
    assert sorted(folder.name for folder in (tmp_path / "steps").iterdir()) == ["00000010", "00000015"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "loop.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_step_is_passed_over(tmp_path: Path, name: str, damage: str) -> None:
    run = RunDirectory(tmp_path)
    save(run, 5)
    save(run, 10)
    path = tmp_path / "steps" / "00000010" / name
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "truncate":
        path.write_bytes(data[:-3])
    else:
        path.unlink()
    heard: list[Event] = []
    newest = run.newest(heard.append)
    assert newest is not None
    assert newest.loop.step == 5
    (told,) = heard
    assert isinstance(told, Notice)
    assert told.level == "warning"
    assert "00000010" in told.text


def test_damaged_steps_do_not_count_as_kept(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for step in (5, 10):
        save(run, step)
    (tmp_path / "steps" / "00000010" / "loop.json").unlink()
    save(run, 15)
    assert sorted(folder.name for folder in (tmp_path / "steps").iterdir()) == ["00000005", "00000010", "00000015"]
    save(run, 20)
    assert sorted(folder.name for folder in (tmp_path / "steps").iterdir()) == ["00000015", "00000020"]


def test_nothing_saved_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match="no saved step"):
        read_saved_step(tmp_path)


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert not run.holds_run()
    run.begin(run_settings("ar", {"model": {"dim": 64}, "training": {"seed": 1, "steps": 10}}))
    assert run.holds_run()
    run.check_settings(run_settings("ar", {"model": {"dim": 64}, "training": {"seed": 1, "steps": 99, "keep": 5}}))
    with pytest.raises(UsageError) as caught:
        run.check_settings(
            run_settings("ar", {"model": {"dim": 32}, "training": {"seed": 2}, "data": {"pack_tokens": 8}})
        )
    message = str(caught.value)
    assert "model.dim was 64, now 32" in message
    assert "training.seed was 1, now 2" in message
    assert "data.pack_tokens was not given, now 8" in message
    assert "steps" not in message


def test_a_run_whose_steps_are_all_damaged_does_not_begin_anew(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for step in (5, 10):
        save(run, step)
        (tmp_path / "steps" / f"{step:08d}" / "loop.json").unlink()
    with pytest.raises(ModelDirectoryError, match="none of the 2 saved steps is whole"):
        run.newest()


def test_a_run_whose_steps_were_taken_away_does_not_begin_anew(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.begin(run_settings("ar", {}))
    run.require_steps()
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelDirectoryError, match="no saved step to go on from"):
        run.require_steps()
    save(run, 5)
    run.require_steps()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "README.md", "manifest.json", "steps"])
def test_what_is_no_run_is_not_written_over(tmp_path: Path, name: str) -> None:
    run = RunDirectory(tmp_path)
    (tmp_path / "notes.txt").touch()
    run.require_unused()
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match=f"holds no run, but {name}"):
        run.require_unused()
    run.begin(run_settings("ar", {}))
    run.require_unused()


def test_what_a_run_holds_is_counted(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.held_bytes() == 0
    save(run, 5)
    (tmp_path / "model.safetensors").write_bytes(bytes(100))
    files = (tmp_path / "steps" / "00000005").iterdir()
    assert run.held_bytes() == 100 + sum(file.stat().st_size for file in files)


def test_the_pace_of_learning_may_change_and_is_told(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.begin(run_settings("ar", {}))
    slower = run_settings("ar", {"training": {"learning_rate": 1e-5, "warmup_steps": 7, "steps": 9}})
    told = run.check_settings(slower)
    assert [text.split(" ")[0] for text in told] == ["training.learning_rate", "training.warmup_steps"]
    assert "now 1e-05" in told[0]
    assert run.check_settings(run_settings("ar", {"training": {"steps": 9}})) == []
