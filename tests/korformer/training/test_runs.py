import json
import subprocess
import sys
from pathlib import Path

import pytest

from korformer.errors import PathError
from korformer.storage import lock_directory
from korformer.training.engine import TrainingData
from korformer.training.loop import pretrain
from korformer.training.runs import Run, find_runs
from korformer.training.settings import run_settings

VALUES = {
    "model": {"dim": 16, "depth": 1, "heads": 2, "max_seq_len": 64, "bucket_size": 8},
    "training": {"steps": 3, "batch_size": 2, "warmup_steps": 1, "threads": 1, "sample_every": 0, "eval_tokens": 100},
}


def begun(path: Path, step: int = 2, steps: int = 5, time: float = 1.7e9) -> Path:
    path.mkdir(parents=True)
    path.joinpath("run.toml").write_text(f'objective = "ar"\n[training]\nsteps = {steps}\n', encoding="utf-8")
    record = {"event": "step", "step": step, "steps": steps, "loss": 2.0, "average_loss": 2.0, "tokens": 8}
    path.joinpath("metrics.jsonl").write_text(json.dumps({**record, "time": time}) + "\n", encoding="utf-8")
    return path


def test_a_real_run_is_told_in_full(data: TrainingData, tmp_path: Path) -> None:
    path = pretrain(run_settings("ar", VALUES), data, tmp_path / "run")
    (run,) = find_runs([tmp_path])
    facts = run.facts(curve="loss")
    assert (facts["name"], facts["objective"], facts["state"]) == ("run", "ar", "finished")
    assert (facts["step"], facts["steps"], facts["figure"]) == (3, 3, "bits_per_character")
    assert facts["best"] == facts["validation"]["bits_per_character"]
    assert facts["curve"]["step"] == [1, 2, 3]
    assert facts["parameters"] > 1000
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert [run.path for run in find_runs([path, tmp_path, path])] == [path]


def test_states(tmp_path: Path) -> None:
    run = Run.at(begun(tmp_path / "run"))
    run.refresh()
    assert run.state == "stopped"
    with lock_directory(run.path):
        assert run.refresh()
        assert run.state == "running"
    run.refresh()
    assert run.state == "stopped"
    begun(tmp_path / "done", step=5)
    assert {run.name: run.state for run in find_runs([tmp_path])} == {"run": "stopped", "done": "finished"}


def test_other_folders_are_passed_over_and_broken_runs_are_listed(tmp_path: Path) -> None:
    begun(tmp_path / "sweep" / "나", time=2.0)
    begun(tmp_path / "가", time=1.0)
    begun(tmp_path / ".hidden")
    begun(tmp_path / "deep" / "er" / "and" / "deeper")
    (tmp_path / "vocabulary").mkdir()
    (tmp_path / "vocabulary" / "vocab.txt").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "run.toml").write_text("[broken", encoding="utf-8")
    (tmp_path / "new" / "model.safetensors").write_bytes(b"\xff" * 20)
    runs = {run.name: run for run in find_runs([tmp_path])}
    assert list(runs) == ["가", "sweep/나", "new"]
    assert (runs["new"].state, runs["new"].steps, runs["new"].objective, runs["new"].parameters) == (
        "new",
        0,
        None,
        None,
    )


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    places = [begun(tmp_path / sweep / "seed-0") for sweep in ("first", "second")]
    other = begun(tmp_path / "other")
    assert {run.name for run in find_runs([*places, other])} == {*map(str, places), "other"}


@pytest.mark.parametrize("name", ["none", "file"])
def test_what_is_no_folder_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PathError, match=name):
        find_runs([tmp_path / name])


def test_looking_at_runs_loads_no_torch() -> None:
    code = "import sys, korformer.training.runs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
