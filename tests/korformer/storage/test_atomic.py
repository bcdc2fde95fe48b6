from __future__ import annotations

import errno
import itertools
import json
import os
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from korformer.errors import KorformerError, PathError, ResourceError
from korformer.storage import open_durable, sweep_orphans, write_bytes, write_json, write_text
from korformer.storage.atomic import temporary_path

OLD = "먼저 쓴 글".encode()
NEW = "나중에 쓴 긴 글. ".encode() * 100_000


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES])
def test_whatever_call_fails_the_previous_file_or_the_new_one_is_whole(
    tmp_path: Path, faults: Any, number: int, persistent: bool
) -> None:
    path = tmp_path / "글.txt"
    for nth in itertools.count(1):
        write_bytes(path, OLD)
        synced_too_late = False
        with faults.failing(nth, number, persistent=persistent):
            try:
                write_bytes(path, NEW)
                raised = None
            except KorformerError as error:
                raised = error
        if raised is None:
            assert path.read_bytes() == NEW
        else:
            assert isinstance(
                raised, ResourceError if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else PathError
            )
            synced_too_late = path.read_bytes() == NEW  # only the folder's fsync was left to do
            assert synced_too_late or path.read_bytes() == OLD
        if not persistent:
            assert os.listdir(tmp_path) == [path.name]
        if faults.seen < nth:
            assert nth > 5
            break


def test_file_is_synced_then_renamed_then_its_folder_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []

    def record(name: str) -> None:
        real = getattr(os, name)

        def call(first: Any, *rest: Any, **named: Any) -> Any:
            shown = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else str(first)
            calls.append((name, "folder" if Path(shown) == tmp_path else Path(shown).suffix or Path(shown).name[:15]))
            return real(first, *rest, **named)

        monkeypatch.setattr(os, name, call)

    for name in ("write", "fsync", "replace"):
        record(name)
    write_bytes(tmp_path / "a.txt", b"x")
    temporary = ".korformer-tmp-"
    assert calls == [("write", temporary), ("fsync", temporary), ("replace", temporary), ("fsync", "folder")]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_mode_follows_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_full_disk_names_the_bytes_needed(tmp_path: Path) -> None:
    program = """
        import resource, sys
        from pathlib import Path
        from korformer.errors import ResourceError
        from korformer.storage import write_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            write_bytes(Path(sys.argv[1]), bytes(3_000_000))
        except ResourceError as error:
            print(error.exit_code, error)
    """
    path = tmp_path / "a"
    write_bytes(path, OLD)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("6 ")
    assert "3.0 MB needed" in done.stdout
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["a"]


def test_killed_before_any_call_leaves_a_whole_file_and_the_rest_is_swept(tmp_path: Path) -> None:
    program = """
        import itertools, os, signal, sys
        from pathlib import Path
        from korformer.storage import sweep_orphans, write_bytes
        path = Path(sys.argv[1])
        names = ("open", "write", "fsync", "replace", "close")
        os.fsync = lambda descriptor: None  # no power cut comes
        real = {name: getattr(os, name) for name in names}
        for nth in itertools.count(1):
            write_bytes(path, b"old")
            child = os.fork()
            if child == 0:
                counter = itertools.count(1)
                def guard(name):
                    def call(*arguments, **named):
                        if next(counter) == nth:
                            os.kill(os.getpid(), signal.SIGKILL)
                        return real[name](*arguments, **named)
                    return call
                for name in names:
                    setattr(os, name, guard(name))
                write_bytes(path, b"new")
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            left = len(os.listdir(path.parent)) - 1
            swept = sweep_orphans(path.parent)
            print(path.read_bytes().decode(), left, swept, len(os.listdir(path.parent)))
            if status == 0:
                break
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "a")],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) > 6
    assert {line[0] for line in lines[:-1]} == {"old", "new"}
    assert lines[-1] == ["new", "0", "0", "1"]
    assert all(line[1] == line[2] and line[3] == "1" for line in lines)
    assert any(line[1] == "1" for line in lines)


class TestSweep:
    def test_leaves_what_a_living_process_writes(self, tmp_path: Path) -> None:
        with open_durable(tmp_path / "a") as file:
            file.write(b"x")
            assert sweep_orphans(tmp_path) == 0
        assert (tmp_path / "a").read_bytes() == b"x"

    def test_a_reused_process_number_does_not_protect(self, tmp_path: Path) -> None:
        mine = temporary_path(tmp_path)
        head, pid, started, tail = mine.name.rsplit("-", 3)
        mine.with_name(f"{head}-{pid}-{int(started) + 1}-{tail}").write_bytes(b"x")
        assert sweep_orphans(tmp_path) == 1
        assert not list(tmp_path.iterdir())

    def test_folders_go_too_and_other_files_stay(self, tmp_path: Path) -> None:
        mine = temporary_path(tmp_path)
        head, _, started, tail = mine.name.rsplit("-", 3)
        orphan = mine.with_name(f"{head}-999999999-{started}-{tail}")
        orphan.mkdir()
        (orphan / "model.safetensors").write_bytes(b"x")
        (tmp_path / ".korformer-tmp-notes").write_bytes(b"mine")
        assert sweep_orphans(tmp_path) == 1
        assert os.listdir(tmp_path) == [".korformer-tmp-notes"]

    def test_another_hosts_work_is_left_for_a_day(self, tmp_path: Path) -> None:
        stranger = tmp_path / ".korformer-tmp-00000000-1-1-00000000"
        stranger.write_bytes(b"x")
        assert sweep_orphans(tmp_path) == 0
        long_ago = time.time() - 2 * 24 * 3600
        os.utime(stranger, (long_ago, long_ago))
        assert sweep_orphans(tmp_path) == 1

    def test_missing_folder_is_nothing_to_sweep(self, tmp_path: Path) -> None:
        assert sweep_orphans(tmp_path / "none") == 0


class TestOpenDurable:
    def test_nothing_appears_before_the_end_and_nothing_stays_after_a_failure(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), open_durable(tmp_path / "a") as file:
            file.write(b"x" * 10)
            assert not (tmp_path / "a").exists()
            raise KeyboardInterrupt
        assert not list(tmp_path.iterdir())

    def test_large_streams_arrive_whole(self, tmp_path: Path) -> None:
        pieces = [bytes([index % 251]) * size for index, size in enumerate((1, 1 << 20, 3, (1 << 21) + 5, 0, 70_000))]
        with open_durable(tmp_path / "a") as file:
            for piece in pieces:
                file.write(piece)
        assert (tmp_path / "a").read_bytes() == b"".join(pieces)

    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_bytes(b"old")
        (tmp_path / "link").symlink_to("real")
        write_bytes(tmp_path / "link", b"new")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_bytes() == b"new"

    def test_a_pipe_is_written_into_and_stays(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
        reader.start()
        write_bytes(pipe, b"through")
        reader.join()
        assert got == [b"through"]
        assert pipe.is_fifo()

    def test_missing_folder_and_folder_in_its_place(self, tmp_path: Path) -> None:
        with pytest.raises(PathError, match="its folder does not exist"):
            write_bytes(tmp_path / "none" / "a", b"")
        with pytest.raises(PathError, match="is a folder"):
            write_bytes(tmp_path, b"")

    def test_a_name_as_long_as_names_may_be(self, tmp_path: Path) -> None:
        write_bytes(tmp_path / ("가" * 85), b"x")
        assert (tmp_path / ("가" * 85)).read_bytes() == b"x"


def test_json_is_readable_korean_in_the_given_order_without_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"나": [1.5, float("nan")], "가": {"x": float("-inf"), "y": (True, None)}})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"나": [1.5, None], "가": {"x": None, "y": [True, None]}}
    assert text.index("나") < text.index("가")
    assert text.endswith("}\n")


def test_a_private_file_stays_private_when_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "일기.txt"
    write_text(path, "어제")
    for mode in (0o600, 0o664):
        path.chmod(mode)
        with open_durable(path) as file:
            file.write("오늘".encode())
            (temporary,) = (entry for entry in tmp_path.iterdir() if entry != path)
            assert stat.S_IMODE(temporary.stat().st_mode) == mode
        assert stat.S_IMODE(path.stat().st_mode) == mode
