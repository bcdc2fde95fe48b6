from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from korformer.errors import PathError, ResourceError
from korformer.storage import JsonLines


def records(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_line_is_there_at_once_and_later_runs_append(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with JsonLines(path) as log:
        log.append({"step": 1, "말": "한 줄\n두 줄"})
        assert records(path) == [{"step": 1, "말": "한 줄\n두 줄"}]
        log.append({"loss": float("nan")})
    log.close()
    with JsonLines(path) as log:
        log.append({"step": 3})
    assert records(path) == [{"step": 1, "말": "한 줄\n두 줄"}, {"loss": None}, {"step": 3}]


@pytest.mark.parametrize("torn", [b'{"step": 2, "lo', b"x" * 200_000])
def test_half_a_line_of_a_killed_writer_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    for whole in (b"", b'{"step": 1}\n'):
        path.write_bytes(whole + torn)
        with JsonLines(path) as log:
            log.append({"step": 2})
        assert path.read_bytes() == whole + b'{"step": 2}\n'


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    write = os.write
    room = [30]

    def full(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    with JsonLines(path) as log:
        monkeypatch.setattr(os, "write", full)
        log.append({"step": 1})
        with pytest.raises(ResourceError):
            log.append({"step": 2, "text": "too long for what is left"})
        room[0] = 100
        log.append({"step": 3})
    assert records(path) == [{"step": 1}, {"step": 3}]


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(PathError):
        JsonLines(tmp_path / "none" / "metrics.jsonl")
