"""Files that must not replace anything."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from korformer.errors import PathError
from korformer.storage import check_new, write_new


def test_a_new_file_is_written(tmp_path: Path) -> None:
    check_new(tmp_path / "new.json")
    write_new(tmp_path / "new.json", b"{}\n")
    assert (tmp_path / "new.json").read_bytes() == b"{}\n"
    assert os.listdir(tmp_path) == ["new.json"]


@pytest.mark.parametrize("kind", ["file", "empty", "folder", "link", "dangling"])
def test_what_is_there_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.json"
    if kind == "folder":
        path.mkdir()
    elif kind in {"link", "dangling"}:
        (tmp_path / "kept").write_bytes(b"kept") if kind == "link" else None
        path.symlink_to(tmp_path / "kept")
    else:
        path.write_bytes(b"kept" if kind == "file" else b"")
    before = sorted(os.listdir(tmp_path))
    for attempt in (check_new, lambda path: write_new(path, b"new")):
        with pytest.raises(PathError, match=r"out\.json: is there already, and is never overwritten"):
            attempt(path)
    assert sorted(os.listdir(tmp_path)) == before
    if kind in {"file", "link"}:
        assert path.read_bytes() == b"kept"


def test_a_missing_folder_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(PathError, match="folder does not exist"):
        check_new(tmp_path / "none" / "out.json")


def test_one_of_several_writers_wins_and_the_others_are_told(tmp_path: Path) -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        try:
            write_new(tmp_path / "out", str(number).encode())
        except PathError:
            outcomes.append("refused")
        else:
            outcomes.append(str(number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [outcome for outcome in outcomes if outcome != "refused"]
    assert (tmp_path / "out").read_text() == winner
    assert os.listdir(tmp_path) == ["out"]


def test_a_filesystem_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_new(tmp_path / "out", b"one")
    assert (tmp_path / "out").read_bytes() == b"one"
    with pytest.raises(PathError):
        write_new(tmp_path / "out", b"two")
    assert os.listdir(tmp_path) == ["out"]


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    check_new(path)
    write_new(path, b"through")
    reader.join(timeout=10)
    assert read == [b"through"]
