"""Which model directory a command works with."""

from __future__ import annotations

from pathlib import Path

import pytest

from korformer.commands import checkpoint
from korformer.errors import ModelDirectoryError, PathError, UsageError


def test_a_given_directory_is_used(tmp_path: Path) -> None:
    assert checkpoint.resolve(tmp_path) == tmp_path


def test_without_a_model_the_weights_that_ship_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "shipped", lambda: tmp_path)
    assert checkpoint.resolve(None) == tmp_path
    monkeypatch.setattr(checkpoint, "shipped", lambda: None)
    with pytest.raises(UsageError, match="-m: needed"):
        checkpoint.resolve(None)


def test_a_missing_path_and_a_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(PathError, match="no such model directory"):
        checkpoint.resolve(tmp_path / "none")
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(ModelDirectoryError, match="a file, not a model directory"):
        checkpoint.resolve(file)


def test_the_name_of_a_run_is_found_where_runs_land(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints" / "first").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PathError, match="Did you mean checkpoints/first"):
        checkpoint.resolve(Path("first"))
