from __future__ import annotations

import errno
import itertools
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from korformer.errors import KorformerError, PathError, ResourceError
from korformer.storage import (
    check_writable,
    directories,
    remove_directory,
    require_free,
    staged_directory,
    sweep_orphans,
    verify_manifest,
    write_text,
)

FILES = ("config.json", "inner/state.json")


def fill(directory: Path, text: str) -> None:
    for name in FILES:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(directory / name, f"{text} {name}")


def content(directory: Path) -> str:
    """What `fill` was told, of a directory that is whole by its manifest."""
    verify_manifest(directory, required=FILES)
    texts = {(directory / name).read_text(encoding="utf-8").split()[0] for name in FILES}
    assert len(texts) == 1
    return texts.pop()


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    ("number", "exchange"), [(errno.ENOSPC, True), (errno.EIO, True), (errno.EIO, False), (errno.EACCES, True)]
)
def test_whatever_call_fails_the_previous_folder_or_the_new_one_is_whole(
    tmp_path: Path, faults: Any, monkeypatch: pytest.MonkeyPatch, number: int, persistent: bool, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(directories, "_exchange", lambda one, other: False)
    model = tmp_path / "model"
    with staged_directory(model) as staged:
        fill(staged, "old")
    for nth in itertools.count(1):
        raised = None
        with faults.failing(nth, number, persistent=persistent):
            try:
                with staged_directory(model, replace=True) as staged:
                    fill(staged, "new")
            except KorformerError as error:
                raised = error
            except OSError:  # mkdir of this test's own fill
                raised = PathError("")
        sweep_orphans(tmp_path)
        now = content(model)
        assert now == "new" if raised is None else now in ("old", "new")
        if now == "new":
            with staged_directory(model, replace=True) as staged:
                fill(staged, "old")
        if faults.seen < nth:
            assert nth > 20
            break


def test_killed_before_any_call_leaves_a_whole_folder(tmp_path: Path) -> None:
    program = """
        import itertools, os, signal, sys
        from pathlib import Path
        from korformer.storage import directories, staged_directory, sweep_orphans, verify_manifest, write_text
        model = Path(sys.argv[1])
        if sys.argv[2] == "renames":
            directories._exchange = lambda one, other: False
        names = ("open", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir")
        os.fsync = lambda descriptor: None  # no power cut comes
        real = {name: getattr(os, name) for name in names}
        def save(text):
            with staged_directory(model, replace=True) as staged:
                write_text(staged / "a", text)
                write_text(staged / "b", text)
        for nth in itertools.count(1):
            save("old")
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
                save("new")
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            sweep_orphans(model.parent)
            verify_manifest(model, required=("a", "b"))
            assert (model / "a").read_text() == (model / "b").read_text()
            assert os.listdir(model.parent) == ["model"], os.listdir(model.parent)
            print((model / "a").read_text())
            if status == 0:
                break
    """
    for way in ("exchange", "renames"):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "model"), way],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        seen = done.stdout.split()
        assert len(seen) > 20
        assert set(seen[:-1]) == {"old", "new"}
        assert seen == sorted(seen, key=["old", "new"].index)


class TestStagedDirectory:
    def test_makes_parents_and_follows_umask(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            with staged_directory(tmp_path / "runs" / "첫째") as staged:
                assert not (tmp_path / "runs" / "첫째").exists()
                fill(staged, "x")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "runs" / "첫째").stat().st_mode) == 0o750
        assert content(tmp_path / "runs" / "첫째") == "x"

    def test_a_failure_leaves_nothing_not_even_parents(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), staged_directory(tmp_path / "a" / "b" / "c") as staged:
            fill(staged, "x")
            raise KeyboardInterrupt
        assert not list(tmp_path.iterdir())

    def test_refuses_a_filled_folder_before_the_work(self, tmp_path: Path) -> None:
        fill(tmp_path / "model", "mine")
        with pytest.raises(PathError, match="already exists"), staged_directory(tmp_path / "model"):
            pytest.fail("the block must not run")
        assert (tmp_path / "model" / FILES[0]).exists()

    def test_refuses_a_folder_filled_meanwhile(self, tmp_path: Path) -> None:
        with pytest.raises(PathError, match="already exists"), staged_directory(tmp_path / "model") as staged:
            fill(staged, "late")
            fill(tmp_path / "model", "first")
        assert os.listdir(tmp_path) == ["model"]
        assert (tmp_path / "model" / FILES[0]).read_text(encoding="utf-8").startswith("first")

    def test_takes_an_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        with staged_directory(tmp_path / "model") as staged:
            fill(staged, "x")
        assert content(tmp_path / "model") == "x"

    def test_refuses_a_file_even_when_replacing(self, tmp_path: Path) -> None:
        (tmp_path / "model").write_text("x", encoding="utf-8")
        with pytest.raises(PathError, match="is a file"), staged_directory(tmp_path / "model", replace=True):
            pytest.fail("the block must not run")

    def test_parent_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x", encoding="utf-8")
        with pytest.raises(PathError, match="cannot make it"), staged_directory(tmp_path / "file" / "model"):
            pytest.fail("the block must not run")

    def test_files_are_synced_before_the_rename_and_the_parent_after(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []
        fsync, rename = os.fsync, os.rename

        def record_fsync(descriptor: int) -> None:
            calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)

        def record_rename(source: Path, target: Path) -> None:
            calls.append(f"rename {source} {target}")
            rename(source, target)

        monkeypatch.setattr(os, "fsync", record_fsync)
        monkeypatch.setattr(os, "rename", record_rename)
        with staged_directory(tmp_path / "model") as staged:
            (staged / "by another library").write_text("x", encoding="utf-8")
        moved = calls.index(f"rename {staged} {tmp_path / 'model'}")
        assert calls.index(f"{staged}/by another library") < moved
        assert calls.index(f"{staged}/manifest.json") < calls.index(str(staged), calls.index(f"{staged}/manifest.json"))
        assert calls[moved + 1] == str(tmp_path)

    def test_the_disk_running_full_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        with pytest.raises(ResourceError, match="disk is full"), staged_directory(tmp_path / "model") as staged:
            monkeypatch.setattr(os, "write", full)
            fill(staged, "x")
        assert not list(tmp_path.iterdir())


def test_without_exchange_a_failed_rename_gives_the_old_folder_its_name_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "_exchange", lambda one, other: False)
    model = tmp_path / "model"
    with staged_directory(model) as staged:
        fill(staged, "old")
    rename = os.rename

    def refuse_staged(source: Path, target: Path) -> None:
        if Path(target) == model and "tmp" in Path(source).name:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse_staged)
    with pytest.raises(PathError), staged_directory(model, replace=True) as staged:
        fill(staged, "new")
    assert content(model) == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_a_removed_folder_loses_its_name_first(tmp_path: Path, faults: Any) -> None:
    for nth in itertools.count(1):
        with staged_directory(tmp_path / "step", replace=True) as staged:
            fill(staged, "x")
        with faults.failing(nth, errno.EIO, persistent=True):
            try:
                remove_directory(tmp_path / "step")
                assert faults.seen < nth
            except PathError:
                pass
        if (tmp_path / "step").exists():
            assert content(tmp_path / "step") == "x"
        if faults.seen < nth:
            break


class TestChecks:
    def test_writable_looks_at_the_nearest_parent_and_makes_nothing(self, tmp_path: Path) -> None:
        check_writable(tmp_path / "a" / "b")
        assert not list(tmp_path.iterdir())

    def test_not_writable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write anywhere
        with pytest.raises(PathError, match="no files can be made"):
            check_writable(tmp_path / "a" / "b")

    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("x", encoding="utf-8")
        with pytest.raises(PathError, match="is a file"):
            check_writable(tmp_path / "a" / "b")

    def test_a_filesystem_that_does_not_tell_its_size_is_tried(self) -> None:
        require_free(Path("/proc/self"), 10**15)

    def test_room(self, tmp_path: Path) -> None:
        require_free(tmp_path / "not yet", 1)
        with pytest.raises(ResourceError, match=r"needs 1000\.0 TB on disk, .* free"):
            require_free(tmp_path / "not yet", 10**15)
