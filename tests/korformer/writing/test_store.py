from __future__ import annotations

import errno
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from korformer.errors import InputError, KorformerError, PathError, ResourceError, UsageError
from korformer.generation.settings import SamplingSettings
from korformer.writing import store
from korformer.writing.autosave import AutosaveResult
from korformer.writing.records import TokenRecord
from korformer.writing.store import (
    create_session,
    delete_session,
    is_session,
    list_sessions,
    open_session,
    open_text_file,
    sessions_directory,
)

Make = Callable[..., tuple[TokenRecord, ...]]


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power cut comes: syncing would only make the tests slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def reopened(path: Path) -> str:
    file = open_session(path)
    text = file.session.text
    file.close()
    return text


def test_a_session_is_there_again(tokens: Make) -> None:
    file = create_session("봄이 오면 ")
    session = file.session
    number = session.begin_generation(6, SamplingSettings())
    session.extend_generation(number, tokens("꽃이", " 핀다."))
    session.end_generation(number, "length", seed=1)
    session.settings = SamplingSettings(temperature=0.3)
    session.cursor = 4
    assert file.save()
    assert not file.save()
    session.undo()
    file.close()
    file.close()
    assert file.path.parent == sessions_directory()
    again = open_session(file.path / "session.jsonl")
    assert again.session.text == "봄이 오면 "
    assert again.session.settings.temperature == 0.3
    assert again.session.cursor == 4
    assert not again.session.can_undo
    again.session.redo()
    assert again.session.text == "봄이 오면 꽃이 핀다."
    assert again.session.tokens()[1].record.text == " 핀다."
    again.close()


def test_only_its_owner_can_look_into_it() -> None:
    old = os.umask(0)
    try:
        file = create_session("비밀")
        file.session.insert(2, "!")
        file.save()
        file.close()
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o700
    for path in file.path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_second_process_is_told() -> None:
    file = create_session("글")
    for _ in range(2):
        with pytest.raises(UsageError, match=f"in use by process {os.getpid()}.*another one"):
            open_session(file.path)
    assert list_sessions()[0].in_use
    with pytest.raises(UsageError, match="in use"):
        delete_session(file.path)
    file.close()
    assert reopened(file.path) == "글"
    with pytest.raises(UsageError, match="has a session already"):
        create_session(directory=file.path)


def test_what_is_no_session(tmp_path: Path) -> None:
    (tmp_path / "글.txt").write_text("글", encoding="utf-8")
    for path in (tmp_path, tmp_path / "글.txt", tmp_path / "nowhere"):
        assert not is_session(path)
        with pytest.raises(PathError, match="no session is there"):
            open_session(path)
        with pytest.raises(PathError, match="no session is there"):
            delete_session(path)
    folder = tmp_path / "own"
    create_session("글", directory=folder).close()
    (folder / "session.jsonl").write_text("hello\n", encoding="utf-8")
    with pytest.raises(InputError, match="is not a session"):
        open_session(folder)


def test_a_damaged_session_is_refused_and_can_be_recovered() -> None:
    file = create_session("첫 줄\n")
    for number in range(20):
        file.session.seal()
        file.session.insert(file.session.length, f"{number}번째 줄\n")
    file.save()
    file.close()
    path = file.path / "session.jsonl"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"session.jsonl: is damaged at line \d+.*recovered"):
        open_session(file.path)
    assert path.read_bytes() == data
    again = open_session(file.path, recover=True)
    assert again.session.text.startswith("첫 줄\n0번째 줄\n")
    again.session.insert(0, "새 ")
    again.save()
    again.close()
    assert (file.path / "session.jsonl.damaged").read_bytes() == data
    assert reopened(file.path).startswith("새 첫 줄\n")


WRITER = """
import random, sys
from pathlib import Path
from korformer.writing import store
store._COMPACT_LINES = 0
dice = random.Random(int(sys.argv[2]))
file = store.open_session(Path(sys.argv[1]))
number = int(file.session.text.rpartition(" ")[2] or 0) if file.session.text else 0
while True:
    number += 1
    file.session.seal()
    file.session.insert(file.session.length, f" {number}")
    if dice.random() < 0.5:
        file.save()
        print(number, flush=True)
    if dice.random() < 0.1:
        file._write_whole()
        print(number, flush=True)
"""


def test_whenever_the_writer_is_killed_what_was_saved_is_there() -> None:
    """Killed at any moment, saves and rewrites among them: every number that was saved stands in the text in order."""
    folder = create_session("")
    folder.close()
    dice = random.Random(5)
    for seed in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder.path), str(seed)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        saved = writer.stdout.readline()
        time.sleep(dice.random() * 0.15)
        writer.send_signal(signal.SIGKILL)
        rest = [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()
        newest = int((rest or [saved])[-1])
        text = reopened(folder.path)
        numbers = [int(number) for number in text.split()]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= newest
    assert sorted(path.name for path in folder.path.iterdir()) == ["session.jsonl", "summary.json"]


FULL = """
import resource, signal, sys
from pathlib import Path
from korformer.errors import ResourceError
from korformer.writing.store import open_session
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = open_session(Path(sys.argv[1]))
size = (file.path / "session.jsonl").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 700, resource.RLIM_INFINITY))
told, session = 0, file.session
for number in range(60):
    session.seal()
    session.insert(session.length, f"{number} ")
    try:
        file.save()
    except ResourceError as error:
        told += 1
        assert "needed" in str(error), error
try:
    file.close()
    raise SystemExit("it said nothing")
except ResourceError:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.close()
print(told, session.text)
"""


def test_a_full_disk_costs_nothing() -> None:
    """A real limit of the file's size: saves tell it, the file stays whole, and once there is room all is saved."""
    file = create_session("시작 ")
    file.close()
    done = subprocess.run([sys.executable, "-c", FULL, str(file.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, _, text = done.stdout.removesuffix("\n").partition(" ")
    assert int(told) > 40
    assert reopened(file.path) == text == "시작 " + "".join(f"{number} " for number in range(60))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("persistent", [False, True])
def test_whichever_call_fails_nothing_is_lost(monkeypatch: pytest.MonkeyPatch, number: int, persistent: bool) -> None:
    names = ("open", "write", "replace", "unlink", "ftruncate")
    real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in names}
    seen, nth = 0, 0

    def guard(name: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == nth or (persistent and seen > nth):
                raise OSError(number, os.strerror(number))
            return real[name](*given, **named)

        return call

    for nth in range(1, 40):
        file = create_session("글")
        file.session.insert(1, "!")
        seen = 0
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(os, name, guard(name))
            try:
                file.save()
                file.session.insert(2, "?")
                file._write_whole()
            except (KorformerError, OSError):
                pass
        if seen < nth:
            file.close()
            break
        assert file.session.text in {"글!", "글!?"}
        copy = (file.path / "session.jsonl").read_bytes()
        assert copy.startswith(b'{"c"')
        file.save()
        file.close()
        assert reopened(file.path) == file.session.text
    else:
        raise AssertionError("there is no end of calls")
    assert nth > 4


def test_a_folder_that_somebody_removed_is_made_again() -> None:
    file = create_session("글")
    file.session.insert(1, "을")
    file.save()
    for path in file.path.iterdir():
        path.unlink()
    file.path.rmdir()
    file.session.insert(2, " 쓴다")
    assert file.save()
    file.close()
    assert reopened(file.path) == "글을 쓴다"


def test_a_long_session_is_written_anew_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_COMPACT_LINES", 10)
    file = create_session("글")
    for number in range(40):
        file.session.insert(file.session.length, "가")
        file.save()
        if number % 10 == 0:
            file.session.undo()
            file.session.redo()
    before = (file.path / "session.jsonl").stat().st_size
    text, outline = file.session.text, file.session.outline()
    file.close()
    assert (file.path / "session.jsonl").stat().st_size < before / 2
    again = open_session(file.path)
    assert (again.session.text, again.session.outline()) == (text, outline)
    again.close()


def test_the_list_of_sessions(tmp_path: Path) -> None:
    assert list_sessions() == []
    for number, text in enumerate(("하나\n둘", "", "셋")):
        file = create_session(text)
        file.session.model = "/모델"
        file.close()
        os.utime(file.path / "session.jsonl", (number, number))
    found = list_sessions()
    assert [(info.title, info.characters, info.model) for info in found] == [
        ("셋", 1, "/모델"), ("", 0, "/모델"), ("하나", 4, "/모델"),
    ]  # fmt: skip
    (found[0].path / "summary.json").write_text("{", encoding="utf-8")
    (found[1].path / "summary.json").write_text(json.dumps({"title": 5, "characters": "x"}), encoding="utf-8")
    assert [(info.title, info.characters) for info in list_sessions()] == [("", 0), ("", 0), ("하나", 4)]
    delete_session(found[0].path)
    assert len(list_sessions()) == 2


# Text files


def test_a_text_file_has_one_session(tmp_path: Path) -> None:
    path = tmp_path / "이야기.txt"
    path.write_bytes("\ufeff첫 줄\r\n둘째 줄\r\n".encode())
    file = open_text_file(path)
    assert file.session.text == "첫 줄\n둘째 줄\n"
    assert not file.session.can_undo
    file.session.insert(0, "새 ")
    file.close()
    link = tmp_path / "link.txt"
    link.symlink_to(path)
    again = open_text_file(link)
    assert again.path == file.path
    assert not again.changed_outside
    assert again.session.text == "새 첫 줄\n둘째 줄\n"
    again.close()
    path.write_text("첫 줄\n셋째 줄\n", encoding="utf-8")
    changed = open_text_file(path)
    assert changed.changed_outside
    assert changed.session.text == "첫 줄\n셋째 줄\n"
    changed.session.undo()
    assert changed.session.text == "새 첫 줄\n둘째 줄\n"
    changed.close()


def test_a_text_file_that_is_not_there_yet(tmp_path: Path) -> None:
    file = open_text_file(tmp_path / "새 글.txt")
    assert (file.session.text, file.session.file) == ("", str(tmp_path / "새 글.txt"))
    file.close()
    assert not (tmp_path / "새 글.txt").exists()


def test_text_files_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "cp949.txt").write_bytes("한글".encode("cp949"))
    os.mkfifo(tmp_path / "pipe")
    for name, kind, told in (
        ("cp949.txt", InputError, "not UTF-8 at byte 0.*iconv"),
        ("pipe", PathError, "is not a file"),
        (".", PathError, "is not a file"),
        ("nowhere/x.txt", PathError, "folder does not exist"),
    ):
        with pytest.raises(kind, match=told):
            open_text_file(tmp_path / name)
    assert list_sessions() == []


# Autosave


def test_it_saves_by_itself() -> None:
    file = create_session("글")
    heard: list[AutosaveResult] = []
    news = threading.Event()

    def listen(result: AutosaveResult) -> None:
        heard.append(result)
        news.set()

    file.start_autosave(listen, seconds=0.01)
    file.session.insert(1, "!")
    assert news.wait(30)
    data = (file.path / "session.jsonl").read_text(encoding="utf-8")
    assert '"text": "!"' in data
    file.close()
    assert all(result.error is None for result in heard)


def test_a_fault_is_told_once_until_it_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    file = create_session("글")
    heard: list[AutosaveResult] = []
    tries, mended = threading.Semaphore(0), threading.Event()
    real = file.save

    def save() -> bool:
        tries.release()
        if not mended.is_set():
            raise ResourceError("the disk is full")
        return real()

    monkeypatch.setattr(file, "save", save)
    file.session.insert(1, "!")
    file.start_autosave(heard.append, seconds=0.005)
    for _ in range(4):
        assert tries.acquire(timeout=30)
    mended.set()
    for _ in range(3):
        assert tries.acquire(timeout=30)
    file.close()
    assert [str(result.error) for result in heard] == ["the disk is full", "None"]
    assert reopened(file.path) == "글!"


def test_a_fault_that_nobody_foresaw_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    file = create_session("글")
    heard: list[AutosaveResult] = []
    news, real = threading.Semaphore(0), file.save

    def save() -> bool:
        if not heard:
            raise RuntimeError("odd")
        return real()

    def listen(result: AutosaveResult) -> None:
        heard.append(result)
        news.release()

    monkeypatch.setattr(file, "save", save)
    file.session.insert(1, "!")
    file.start_autosave(listen, seconds=0.005)
    for _ in range(2):
        assert news.acquire(timeout=30)
    file.close()
    assert "RuntimeError: odd" in str(heard[0].error)
    assert heard[1].error is None


def test_typing_while_it_saves_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SUMMARY_SECONDS", 0.0)
    file = create_session("")
    file.start_autosave(lambda result: None, seconds=0.001)
    for number in range(400):
        file.session.seal()
        file.session.insert(file.session.length, f"{number} ")
        if number % 7 == 0:
            file.session.undo()
            file.session.redo()
    text = file.session.text
    file.close()
    assert reopened(file.path) == text
