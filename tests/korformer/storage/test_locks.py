from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from korformer.errors import PathError, UsageError
from korformer.storage import is_locked, lock_directory, write_manifest
from korformer.storage.manifest import read_manifest

HOLDER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from korformer.storage import is_locked, lock_directory
    with lock_directory(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
""")


def test_a_second_process_is_refused_until_the_first_ends_however_it_ends(tmp_path: Path) -> None:
    for way in ("kill", "end"):
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(UsageError, match=f"in use by process {holder.pid}"), lock_directory(tmp_path):
                pytest.fail("the lock must not be given")
            if way == "kill":
                holder.kill()
            holder.communicate()
        with lock_directory(tmp_path):
            pass
    assert not list(tmp_path.iterdir())


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with lock_directory(tmp_path):
        with pytest.raises(UsageError, match=str(os.getpid())), lock_directory(tmp_path):
            pytest.fail("the lock must not be given")
        with pytest.raises(UsageError), lock_directory(tmp_path):
            pytest.fail("a refused locker must not loosen the lock")


def test_a_missing_folder_is_made_and_goes_again_if_empty(tmp_path: Path) -> None:
    with lock_directory(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
    assert not (tmp_path / "run").exists()
    with lock_directory(tmp_path / "run"):
        (tmp_path / "run" / "log").write_text("x", encoding="utf-8")
    assert os.listdir(tmp_path / "run") == ["log"]


def test_a_name_that_vanishes_while_locking_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, calls = fcntl.flock, iter(range(100))

    def steal(descriptor: int, operation: int) -> None:
        if next(calls) == 0:
            (tmp_path / ".lock").unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", steal)
    with lock_directory(tmp_path):
        assert (tmp_path / ".lock").exists()
        with pytest.raises(UsageError), lock_directory(tmp_path):
            pytest.fail("the lock must not be given")


def test_filesystems_without_locks_are_worked_on_unlocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with lock_directory(tmp_path):
        pass


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x", encoding="utf-8")
    with pytest.raises(PathError), lock_directory(tmp_path / "run"):
        pytest.fail("there is nothing to lock")


def test_the_lock_is_no_part_of_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x", encoding="utf-8")
    with lock_directory(tmp_path):
        write_manifest(tmp_path)
    assert list(read_manifest(tmp_path)) == ["a"]


def test_whether_a_folder_is_locked_can_be_seen_and_looking_takes_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert not is_locked(tmp_path / "none")
    with lock_directory(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    (tmp_path / ".lock").write_text("1 nowhere\n")  # what a killed process leaves
    assert not is_locked(tmp_path)
    assert (tmp_path / ".lock").exists()


def test_who_wants_the_lock_waits_for_a_look(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.02, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        with lock_directory(tmp_path):
            assert is_locked(tmp_path)
