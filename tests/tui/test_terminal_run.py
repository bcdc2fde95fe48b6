"""The program in a real terminal, driven by keys alone: what a person does on the first evening, and on the second."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import parameters_to_save, publish, write_description
from korformer.text.wordpiece import VocabularySettings, train_vocabulary
from korformer.writing import store

TMUX = shutil.which("tmux")
DOCUMENTS = [
    "등대지기의 딸은 매일 아침 계단을 세었다. 아흔여섯 개였다.\n바람이 창을 두드렸고, 멀리서 배가 들어왔다.",
    "편지는 봄이 끝날 무렵에 왔다. 아이는 그것을 세 번 읽고 다시 접었다. " * 8,
]
PATIENCE_SECONDS = 60.0
"""Only what goes wrong takes this long."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("작은 모델")
    vocabulary = train_vocabulary(DOCUMENTS, VocabularySettings(size=600))
    config = ModelConfig(dim=32, depth=2, heads=2, max_seq_len=256, bucket_size=16, n_hashes=2)
    reformer = ReformerModel(config, vocabulary.size)
    reformer.initialise(1)
    write_description(directory, reformer, vocabulary, objective="ar", training={})
    publish(directory, parameters_to_save(reformer), "# a model for tests\n")
    return directory


class Terminal:
    """A terminal of 100 x 30 cells in which programs run one after another."""

    def __init__(self, home: Path) -> None:
        self._started = 0
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("LC_", "TMUX"))},
            "LC_ALL": "ko_KR.UTF-8",
            "TERM": "xterm-256color",
            "OMP_NUM_THREADS": "1",
            **{f"XDG_{name}_HOME": str(home / name.lower()) for name in ("STATE", "CONFIG", "DATA", "CACHE")},
        }
        self._environment.pop("NO_COLOR", None)

    def tmux(self, *arguments: str) -> str:
        assert TMUX is not None
        socket = f"korformer-{os.getpid()}-{self._started}"
        command = [TMUX, "-u", "-L", socket, "-f", "/dev/null", *arguments]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False, encoding="utf-8"
        )
        return done.stdout

    def start(self, *command: str | Path) -> None:
        self.close()
        self._started += 1
        words = [sys.executable, "-m", "korformer", *map(str, command)]
        line = " ".join(f"'{word}'" for word in words) + "; echo LEFT $?; cat"
        self.tmux("new-session", "-d", "-x", "100", "-y", "30", line)

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.tmux("send-keys", key)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def wait(self, wanted: Callable[[str], object] | str) -> str:
        """What is on the screen once it holds what is wanted."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            seen = self.screen()
            if wanted in seen if isinstance(wanted, str) else wanted(seen):
                return seen
            time.sleep(0.05)
        pytest.fail(f"never came: {wanted}\n{self.screen()}")

    def program(self) -> int:
        """The process of what runs in it."""
        pane = self.tmux("list-panes", "-F", "#{pane_pid}").strip()
        return int(subprocess.run(["pgrep", "-P", pane], capture_output=True, text=True, check=True).stdout.split()[0])

    def close(self) -> None:
        self.tmux("kill-server")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if TMUX is None:
        pytest.skip("tmux is not installed")
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def characters(screen: str) -> int:
    """Length of the text, from the status line."""
    found = re.search(r"([\d,]+)자", screen)
    return int(found[1].replace(",", "")) if found else -1


def test_an_evening_of_writing(terminal: Terminal, model: Path) -> None:
    terminal.start("tui", "-m", model)
    terminal.type("봄이 오면 등대에")  # before the model is open
    terminal.wait("봄이 오면 등대에")
    assert characters(terminal.wait("준비됨")) == 9

    terminal.keys("F4", "End", *["Up"] * 5)  # ban the token that ends a document: drawn weights write it now and then
    terminal.type("3")
    terminal.keys("Enter", "End", "Up", "Up")  # the number of tokens to write
    terminal.type("9000")
    terminal.keys("Enter", "Home", "F4")
    terminal.wait("9000")
    terminal.keys("F5")
    terminal.wait(lambda seen: "쓰는 중" in seen and characters(seen) > 40)

    terminal.keys("F4", "Left", "Left")  # the temperature, while it streams
    changed = terminal.wait(lambda seen: re.search(r"온도 +0\.9", seen))
    assert "쓰는 중" in changed
    terminal.wait(lambda seen: characters(seen) > characters(changed))
    terminal.keys("F4", "Escape")
    terminal.wait("준비됨")
    stopped = characters(terminal.screen())
    assert stopped == characters(terminal.screen())

    terminal.keys("F6")  # again, beside the first
    terminal.wait(lambda seen: "버전 2/2" in seen or ("쓰는 중" in seen and characters(seen) > 20))
    terminal.keys("Escape")
    second = characters(terminal.wait("버전 2/2"))
    terminal.keys("F7")
    assert characters(terminal.wait("버전 1/2")) == stopped
    terminal.keys("F8")
    assert characters(terminal.wait("버전 2/2")) == second

    terminal.keys("Left", "Left", "Left", "C-b")  # branch, and take it back; a step may pass several characters
    terminal.wait(lambda seen: 0 < characters(seen) <= second - 3)
    terminal.keys("C-z")
    terminal.wait(lambda seen: characters(seen) == second)

    terminal.keys("C-q")
    assert "LEFT 0" in terminal.wait("LEFT")
    terminal.start("tui")  # the next evening: the same text, the same model
    seen = terminal.wait(lambda seen: "준비됨" in seen and "버전 2/2" in seen)
    assert characters(seen) == second
    terminal.type("!")
    terminal.wait(lambda seen: characters(seen) == second + 1)
    terminal.keys("C-q")
    terminal.wait("LEFT 0")


def test_a_full_disk_is_told_and_the_text_kept(terminal: Terminal, tmp_path: Path) -> None:
    """The system refuses to let any file grow, as it does on a full disk; later there is room again."""
    terminal.start("tui", tmp_path / "글.txt", "-m", tmp_path)
    terminal.type("처음")
    sessions = tmp_path / "state" / "korformer" / "sessions"
    terminal.wait(lambda _: "처음" in saved(sessions))
    child = terminal.program()
    before = resource.prlimit(child, resource.RLIMIT_FSIZE)
    resource.prlimit(child, resource.RLIMIT_FSIZE, (1, before[1]))
    terminal.type(" 자리가 없어도 쓴다")
    told = terminal.wait("저장 안 됨")
    assert "저장하지 못했습니다" in told
    assert "자리를 만들거나 다른 폴더를 고르세요" in told.replace("\n", "")
    terminal.type(" 그리고 더")  # the page goes on
    assert characters(terminal.wait("그리고 더")) == len("처음 자리가 없어도 쓴다 그리고 더")
    resource.prlimit(child, resource.RLIMIT_FSIZE, before)
    terminal.wait(lambda seen: "저장 안 됨" not in seen)
    terminal.wait(lambda _: "그리고 더" in saved(sessions))
    os.kill(child, 9)
    terminal.wait("LEFT 137")
    (info,) = store.list_sessions(sessions)
    again = store.open_session(info.path)
    assert again.session.text == "처음 자리가 없어도 쓴다 그리고 더"
    again.close()


def test_a_signal_leaves_text_and_terminal_in_order(terminal: Terminal, tmp_path: Path) -> None:
    terminal.start("tui", tmp_path / "글.txt", "-m", tmp_path)
    terminal.type("잃지 않을 글")
    terminal.wait(lambda seen: characters(seen) == 7)
    os.kill(terminal.program(), 15)
    assert "LEFT 143" in terminal.wait("LEFT")
    (info,) = store.list_sessions(tmp_path / "state" / "korformer" / "sessions")
    again = store.open_session(info.path)
    assert again.session.text == "잃지 않을 글"
    again.close()


def saved(sessions: Path) -> str:
    """What the journals of these sessions put into their texts, one after another."""
    lines = [line for path in sessions.glob("*/session.jsonl") for line in path.read_text("utf-8").splitlines()]
    return "".join(str(json.loads(line).get("text", "")) for line in lines)


def test_a_kill_costs_a_moment_at_most(terminal: Terminal, tmp_path: Path) -> None:
    terminal.start("tui", tmp_path / "글.txt", "-m", tmp_path)
    terminal.type("거의 다 썼다")
    terminal.wait(lambda seen: characters(seen) == 7)
    sessions = tmp_path / "state" / "korformer" / "sessions"
    terminal.wait(lambda _: "거의 다 썼다" in saved(sessions))
    os.kill(terminal.program(), 9)
    terminal.wait("LEFT 137")
    (info,) = store.list_sessions(sessions)
    again = store.open_session(info.path)
    assert again.session.text == "거의 다 썼다"
    again.close()
