"""The program as a shell sees it: help, exit codes, signals, pipes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from korformer import __version__, errors
from korformer.commands import app, registry
from korformer.commands.app import main

FAULTY = """
import os, sys, types
from korformer.commands import registry
from korformer.commands.app import main

def command() -> None:
    "Made for a test."
    {body}

module = types.ModuleType("korformer.commands.faulty")
module.command = command
sys.modules[module.__name__] = module
registry.COMMANDS["faulty"] = "Made for a test."
main(["faulty", *sys.argv[1:]])
"""


def start(body: str, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
    """The program in a process of its own, with a command `faulty` that does `body`."""
    code = FAULTY.format(body=body.replace("\n", "\n    "))
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], **{**pipes, **options})  # type: ignore[call-overload,no-any-return]


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """The program itself in a process of its own."""
    command = [sys.executable, "-m", "korformer.commands.app", *arguments]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Adds a command `faulty` that does what it is given."""

    def add(body: Callable[[], None]) -> None:
        def command() -> None:
            """Made for a test."""
            body()

        module = types.ModuleType("korformer.commands.faulty")
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(registry.COMMANDS, "faulty", "Made for a test.")

    return add


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def left_with(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(list(arguments))
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


def test_help_lists_every_command_with_its_line_and_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert left_with("--help") == 0
    out = capsys.readouterr().out
    for name, line in registry.COMMANDS.items():
        assert f"{name} " in out
        assert line in out
    assert max(map(len, out.splitlines())) <= 80


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from korformer.commands.app import main
try:
    main(["--help"])
except SystemExit:
    pass
heavy = {"torch", "rich", "pydantic", "textual", "numpy", "tokenizers", "tomlkit"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}), file=sys.stderr)
print(sorted(name for name in sys.modules if name.startswith("korformer.commands.")), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, commands = done.stderr.splitlines()
    assert heavy == "[]"
    assert commands == str([f"korformer.commands.{name}" for name in ("app", "console", "lists", "registry")])


@pytest.mark.parametrize("name", registry.COMMANDS)
def test_every_command_explains_itself_in_80_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert left_with(name, "--help") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: korformer {name}")
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", registry.COMMANDS)
def test_the_head_of_a_command_imports_nothing_heavy(name: str) -> None:
    code = f"""
import sys
import {registry.module_of(name)}
heavy = {{"torch", "rich", "pydantic", "textual", "numpy", "tokenizers"}}
print(sorted(heavy & {{name.split(".")[0] for name in sys.modules}}))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_without_arguments_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert left_with() == 0
    assert "Commands:" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert left_with("--version") == 0
    assert capsys.readouterr().out == f"korformer {__version__}\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["genrate"], ["no such command: genrate", "Did you mean generate?"]),
        (["zzzzzzz"], ["no such command: zzzzzzz", "pretrain"]),
        (["--verson"], ["no such option: --verson", "Did you mean --version?", "korformer --help"]),
        (["doctor", "--jsn"], ["no such option: --jsn", "Did you mean --json?", "korformer doctor --help"]),
        (["doctor", "extra"], ["unexpected", "extra", "korformer doctor --help"]),
    ],
)
def test_a_wrong_line_is_told_and_leaves_with_2(
    line: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert left_with(*line) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("korformer: ")
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err


@pytest.mark.parametrize(
    ("error", "exit_code", "words"),
    [
        (errors.PathError("missing", where="a.txt"), 1, "a.txt: missing"),
        (errors.UsageError("bad value", hint="Use 3."), 2, "bad value. Use 3."),
        (errors.InputError("empty"), 3, "empty"),
        (errors.ModelDirectoryError("damaged"), 4, "damaged"),
        (errors.DivergedError("loss is not finite"), 5, "loss is not finite"),
        (errors.ResourceError("no memory"), 6, "no memory"),
        (errors.InterruptedRun("stopped", signal_number=15), 143, "stopped"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 6, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 6, "/x/y: no room to write"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 1, "/x/y: Permission denied"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 6, "out of memory"),
        (ZeroDivisionError("by zero"), 1, "internal error: ZeroDivisionError: by zero. Run again with --debug"),
    ],
)
def test_errors_end_in_one_message_and_their_exit_code(
    error: BaseException,
    exit_code: int,
    words: str,
    faulty: Callable[[Callable[[], None]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    faulty(raising(error))
    assert left_with("faulty") == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"korformer: {words}")
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("line", [["--debug", "faulty"], ["faulty", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(
    line: list[str], faulty: Callable[[Callable[[], None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    faulty(raising(errors.InputError("empty")))
    assert left_with(*line) == 3
    assert "Traceback" in capsys.readouterr().err


def test_debug_after_a_bare_double_dash_is_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert left_with("doctor", "--", "--debug") == 2
    error = capsys.readouterr().err
    assert "--debug" in error
    assert "Traceback" not in error


def test_terminal_escapes_in_a_message_come_out_inert(
    faulty: Callable[[Callable[[], None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    faulty(raising(errors.PathError("missing", where="한글\x1b]0;owned\x07.txt")))
    assert left_with("faulty") == 1
    error = capsys.readouterr().err
    assert "\x1b" not in error
    assert "한글\\x1b]0;owned\\x07.txt: missing" in error


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "exit_code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_unwind_and_leave_with_their_code(number: str, exit_code: int) -> None:
    body = """import time
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("unwound", flush=True)"""
    process = start(body)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(getattr(signal, number))
    out, error = process.communicate(timeout=30)
    assert (process.returncode, out, error) == (exit_code, b"unwound\n", b"korformer: interrupted\n")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")
def test_an_ignored_hangup_stays_ignored() -> None:
    body = """import signal
os.kill(os.getpid(), signal.SIGHUP)
print("still here", flush=True)"""
    process = start(body, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"still here\n")


def test_a_reader_that_goes_away_is_no_error() -> None:
    body = """for number in range(1_000_000):
    print(number)"""
    with start(body) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_told() -> None:
    with Path("/dev/full").open("wb") as full:
        process = start("print('x')", stdout=full)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 6
    assert error.startswith(b"korformer: output: no room to write")
    assert error.count(b"\n") == 1


@pytest.mark.parametrize(("variable", "locale"), [("LANG", "C"), ("LC_ALL", "C"), ("PYTHONIOENCODING", "ascii")])
def test_korean_goes_out_as_utf8_under_any_locale(variable: str, locale: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    body = """print("한글")
print("오류", file=sys.stderr)"""
    process = start(body, env={**kept, variable: locale})
    out, error = process.communicate(timeout=30)
    assert (out.decode(), error.decode()) == ("한글\n", "오류\n")


def test_warnings_for_programmers_are_shown_with_debug_only() -> None:
    body = "import warnings; warnings.warn('old call', FutureWarning)"
    assert start(body).communicate(timeout=30)[1] == b""
    assert b"old call" in start(body, "--debug").communicate(timeout=30)[1]


def test_shell_completion_knows_commands_and_options() -> None:
    environment = {**os.environ, "_KORFORMER_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "korformer pre"}
    assert b"pretrain" in run(env=environment).stdout
    environment["_TYPER_COMPLETE_ARGS"] = "korformer doctor --j"
    assert b"--json" in run(env=environment).stdout


@pytest.mark.parametrize(
    ("given", "env", "expected"),
    [
        (["pretrain", "-o", "x"], {}, "1000"),
        ([], {}, "1000"),
        (["generate", "글"], {}, None),
        (["tui"], {}, None),
        (["pretrain"], {"GOMP_SPINCOUNT": "7"}, "7"),
        (["pretrain"], {"OMP_WAIT_POLICY": "passive"}, None),
    ],
)
def test_threads_wait_as_the_command_needs_it(
    given: list[str], env: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.os, "environ", dict(env))
    app._choose_waiting(given)
    assert app.os.environ.get("GOMP_SPINCOUNT") == expected
