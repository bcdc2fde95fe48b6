"""Events on stderr: lines, bars, and what must never reach a terminal."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from korformer.commands import console
from korformer.commands.bars import Bars
from korformer.commands.console import (
    Lines,
    format_amount,
    format_bytes,
    format_figure,
    format_seconds,
    printable,
    reporting,
)
from korformer.events import Event, Notice, Progress, Sample, Saved, Step, Validation


class Clock:
    """Time that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(console.time, "monotonic", clock.monotonic)
    return clock


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    """A stream that fails, like a closed terminal or a full disk."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def a_step(step: int, steps: int = 100, **changes: float) -> Step:
    figures: dict[str, float] = {
        "loss": 5.0,
        "average_loss": 5.1234,
        "learning_rate": 3e-4,
        "gradient_norm": 1.5,
        "tokens_per_second": 12345.6,
        "seconds_left": 192.0,
    }
    return Step(step=step, steps=steps, tokens=step * 1000, memory_bytes=1_234_000_000, **{**figures, **changes})


def lines_of(events: list[Event], clock: Clock, seconds: float = 1.0) -> list[str]:
    """What `events`, so many seconds apart, leave on a stream that is no terminal."""
    stream = io.StringIO()
    reporter = Lines(stream)
    for event in events:
        reporter(event)
        clock.now += seconds
    reporter.close()
    return stream.getvalue().splitlines()


def test_plain_stages_are_throttled_and_their_last_line_is_always_there(clock: Clock) -> None:
    events: list[Event] = [Progress(stage="reading", done=i * 10**6, total=20 * 10**6, unit="bytes") for i in range(21)]
    assert lines_of(events, clock) == [
        "reading: 25%, 5 MB/20 MB, 1 MB/s, 0:00:15 left",
        "reading: 50%, 10 MB/20 MB, 1 MB/s, 0:00:10 left",
        "reading: 75%, 15 MB/20 MB, 1 MB/s, 0:00:05 left",
        "reading: 20 MB, 1 MB/s, took 0:00:20",
    ]


def test_a_stage_without_a_total_is_shown_when_all_is_over(clock: Clock) -> None:
    events: list[Event] = [Progress(stage="reading", done=i, total=None, unit="documents") for i in range(4)]
    assert lines_of(events, clock) == ["reading: 3 documents, 1 documents/s"]


def test_a_total_that_becomes_known_at_the_end_ends_the_stage_once(clock: Clock) -> None:
    events: list[Event] = [
        Progress(stage="reading", done=5, total=None, unit="words"),
        Progress(stage="reading", done=9, total=9, unit="words"),
        Progress(stage="reading", done=9, total=9, unit="words"),
    ]
    assert len(lines_of(events, clock)) == 1


def test_a_stage_that_begins_again_is_another_one(clock: Clock) -> None:
    once: list[Event] = [Progress(stage="counting", done=i, total=2, unit="words") for i in range(3)]
    assert len(lines_of(once * 2, clock)) == 2


def test_a_pace_counts_from_where_the_stage_began(clock: Clock) -> None:
    events: list[Event] = [Progress(stage="x", done=i, total=1200, unit="words") for i in (1000, 1100, 1200)]
    assert lines_of(events, clock) == ["x: 1,200 words, 100 words/s, took 0:00:02"]


def test_training_shows_its_first_and_last_step_and_some_between(clock: Clock) -> None:
    lines = lines_of([a_step(step, 12) for step in range(1, 13)], clock)
    assert [line.split(":")[0] for line in lines] == ["step 1/12", "step 6/12", "step 11/12", "step 12/12"]
    assert lines[0] == "step 1/12: loss 5.123, lr 3.00e-04, 12,346 tokens/s, grad 1.50, 1.23 GB, 0:03:12 left"
    assert "left" not in lines[-1]


def test_training_that_is_stopped_shows_where(clock: Clock) -> None:
    assert lines_of([a_step(1), a_step(2)], clock)[-1].startswith("step 2/100")


def test_the_gpu_is_shown_where_there_is_one(clock: Clock) -> None:
    assert "gpu 97%" in lines_of([a_step(1, gpu_utilisation=0.97)], clock)[0]


def test_long_runs_get_fewer_lines(clock: Clock) -> None:
    hours = 10 * 3600
    lines = lines_of([a_step(second + 1, hours) for second in range(hours)], clock)
    assert 550 < len(lines) < 800


def test_stages_inside_training_leave_no_line_of_their_own(clock: Clock) -> None:
    inside: list[Event] = [Progress(stage="validating", done=i, total=2, unit="packs") for i in range(3)]
    lines = lines_of([a_step(1), *inside, Validation(step=1, metrics={"perplexity": 12.3456}), a_step(100)], clock)
    assert [line.split(":")[0] for line in lines] == ["step 1/100", "step 1", "step 100/100"]
    assert lines[1] == "step 1: validation perplexity 12.35"


def test_samples_notices_and_saves(clock: Clock) -> None:
    events: list[Event] = [
        Notice(text="two documents are empty"),
        Notice(text="no validation text", level="warning"),
        Sample(step=20, prompt="봄이 ", text="오면\n[bold]꽃[/bold]이 핀다"),
        Saved(path=Path("checkpoints/x"), step=20),
        Saved(path=Path("vocab")),
    ]
    assert lines_of(events, clock) == [
        "two documents are empty",
        "warning: no validation text",
        "step 20: a sample",
        "  | 봄이 오면",
        "  | [bold]꽃[/bold]이 핀다",
        "saved checkpoints/x (step 20)",
        "saved vocab",
    ]


HOSTILE = "x\x1b[31m\x07\r\u202e[bold]y[/bold]\x9b2J"
HOSTILE_EVENTS: list[Event] = [
    Notice(text=HOSTILE),
    Notice(text=HOSTILE, level="warning"),
    Progress(stage=HOSTILE, done=1, total=2, unit="words"),
    Progress(stage=HOSTILE, done=2, total=2, unit="words"),
    Validation(step=1, metrics={HOSTILE: 1.0}),
    Sample(step=1, prompt=HOSTILE, text=HOSTILE),
    Saved(path=Path(HOSTILE)),
]


def test_escapes_and_markup_are_inert_in_lines(clock: Clock) -> None:
    text = "\n".join(lines_of(HOSTILE_EVENTS, clock))
    assert not {"\x1b", "\x07", "\r", "\u202e", "\x9b"} & set(text)
    assert text.count("x\\x1b[31m\\x07\\r\\u202e[bold]y[/bold]\\x9b2J") == 7


def test_escapes_and_markup_are_inert_beside_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    reporter = Bars(stream)
    for event in HOSTILE_EVENTS:
        reporter(event)
    reporter.close()
    text = stream.getvalue()
    assert not {"\x07", "\u202e", "\x9b"} & set(text)
    assert "\x1b[31m" not in text
    assert text.count("x\\x1b[31m\\x07\\r\\u202e[bold]y[/bold]\\x9b2J") >= 7


@pytest.mark.parametrize(
    "text", ["가나다", "Ⅳ½漢字", "👨\u200d👩\u200d👧", "a\u3000b\u00a0c", "각", "\ue000", "tab and [markup]"]
)
def test_printable_leaves_text_alone(text: str) -> None:
    assert printable(text) == text


def test_printable_spells_out_what_is_dangerous() -> None:
    assert printable("a\nb\ud800\u2028\ufeff") == "a\\nb\\ud800\\u2028\\ufeff"
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bars]:
    """Bars on a terminal of 80 columns, drawn when asked."""
    monkeypatch.setenv("COLUMNS", "80")
    bars = Bars(Terminal())
    yield bars
    bars.close()


def test_bars_fit_80_columns(screen: Bars) -> None:
    screen(Progress(stage="tokenizing", done=0, total=123_456_789_000, unit="bytes"))
    screen(Progress(stage="tokenizing", done=98_765_432_100, total=123_456_789_000, unit="bytes"))
    screen(Progress(stage="reading", done=123_456, total=None, unit="documents"))
    assert all(len(line) <= 80 for line in screen.draw().plain.split("\n"))
    screen(a_step(12_345, 100_000, tokens_per_second=123_456.0, gpu_utilisation=1.0, seconds_left=360_000.0))
    training = screen.draw().plain.split("\n")
    assert len(training) == 2
    assert all(len(line) <= 80 for line in training)
    assert training[0].isascii()


def test_a_bar_is_as_long_as_its_share(screen: Bars) -> None:
    screen(Progress(stage="x", done=0, total=4, unit="words"))
    screen(Progress(stage="x", done=3, total=4, unit="words"))
    assert screen.draw().plain.startswith("x [" + "=" * 16 + " " * 6 + "]  75%  3/4 words")


def test_a_finished_stage_leaves_a_line_and_takes_its_bar_away(screen: Bars) -> None:
    for done in range(3):
        screen(Progress(stage="x", done=done, total=2, unit="words"))
    assert screen.draw().plain == ""
    assert isinstance(screen.console.file.getvalue(), str)
    assert "x: 2 words" in screen.console.file.getvalue()


def test_reporting_on_a_terminal_restores_cursor_and_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(KeyboardInterrupt), reporting() as listen:
        listen(a_step(1))
        assert sys.stderr is not terminal
        raise KeyboardInterrupt
    assert sys.stderr is terminal
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1
    assert "step 1/100: loss 5.123" in terminal.getvalue()


def test_no_color_means_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn() -> str:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        with reporting() as listen:
            listen(Saved(path=Path("x")))
        return terminal.getvalue()

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m" in drawn()
    monkeypatch.setenv("NO_COLOR", "1")
    assert drawn() == "saved x\n"


@pytest.mark.parametrize("terminal", [io.StringIO(), Terminal()])
def test_nothing_goes_to_stdout(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with reporting() as listen:
        for event in [*HOSTILE_EVENTS, a_step(1), a_step(100)]:
            listen(event)
        print("data")
    assert capsys.readouterr().out == "data\n"
    assert "step 100/100" in terminal.getvalue()


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    with reporting() as listen:
        listen(a_step(1))
    assert "\x1b" not in terminal.getvalue()
    assert terminal.getvalue().startswith("step 1/100")


def test_quiet_shows_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(quiet=True) as listen:
        for event in [a_step(1), Notice(text="fine"), Notice(text="take care", level="warning"), Saved(path=Path("x"))]:
            listen(event)
    assert capsys.readouterr().err == "warning: take care\n"


@pytest.mark.parametrize("kind", [Lines, Bars])
def test_a_broken_stderr_stops_nothing(kind: type[Lines]) -> None:
    reporter = kind(Broken())
    for event in [*HOSTILE_EVENTS, a_step(1), a_step(100)]:
        reporter(event)
    reporter.close()


def test_no_stderr_at_all_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with reporting() as listen:
        listen(a_step(1))


def test_bars_leave_no_thread_behind() -> None:
    before = set(threading.enumerate())
    bars = Bars(Terminal())
    bars(Progress(stage="x", done=1, total=None, unit="words"))
    started = set(threading.enumerate()) - before
    assert len(started) == 1
    bars.close()
    for thread in started:
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_figures_for_people() -> None:
    assert [format_bytes(count) for count in (0, 999, 1000, 12_345_678, 999_600, 1.5e9, 2e15)] == [
        "0 B",
        "999 B",
        "1 kB",
        "12.3 MB",
        "1 MB",
        "1.5 GB",
        "2,000 TB",
    ]
    assert format_amount(1234, "words") == "1,234 words"
    assert [format_seconds(seconds) for seconds in (0, 59.6, 3725, 90_000, -5)] == [
        "0:00:00",
        "0:01:00",
        "1:02:05",
        "1 d 1:00:00",
        "0:00:00",
    ]
    assert format_seconds(float("inf")) == format_seconds(1e9)
    assert format_figure(12345.678) == "1.235e+04"
    assert format_figure(57970) == "57,970"


def test_environment_of_this_file_is_not_a_terminal() -> None:
    assert not console.is_terminal(None)
    with Path(os.devnull).open("w") as null:
        assert not console.is_terminal(null)
