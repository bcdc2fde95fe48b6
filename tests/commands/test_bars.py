"""The picture over the bars of a training run."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from korformer.commands.bars import Bars
from korformer.events import Step


def step(number: int) -> Step:
    return Step(
        step=number, steps=50, loss=5.0, average_loss=5.0, learning_rate=0.1, gradient_norm=1.0, tokens=number,
        tokens_per_second=1.0, seconds_left=1.0, memory_bytes=1,
    )  # fmt: skip


def drawn(run: Path, columns: int, lines: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    bars = Bars(io.StringIO(), run)
    bars.step = step(30)
    return bars.draw().plain.split("\n")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    records = [
        {"event": "step", "step": n, "steps": 50, "loss": 9.0 - n / 10, "average_loss": 9.0} for n in range(1, 31)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 60), (45, 14)])
def test_the_picture_and_the_bars_fit_the_screen(
    run: Path, columns: int, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = drawn(run, columns, lines, monkeypatch)
    assert shown[0].startswith("loss")
    assert shown[-2].startswith("step 30/50 [")
    assert len(shown) < lines
    assert max(map(len, shown[:-2])) < columns
    assert any("\u2800" < character < "\u28ff" for character in "".join(shown))


@pytest.mark.parametrize(("columns", "lines"), [(80, 10), (30, 40)])
def test_a_small_screen_has_the_bars_alone(
    run: Path, columns: int, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(drawn(run, columns, lines, monkeypatch)) == 2


def test_the_last_picture_stays(run: Path) -> None:
    stream = io.StringIO()
    bars = Bars(stream, run)
    bars.take_step(step(30))
    bars.close()
    assert stream.getvalue().rstrip().count("loss, nats a token") >= 1


def test_without_a_run_nothing_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(tmp_path / "none", 80, 24, monkeypatch)
    assert "nothing yet" in "\n".join(shown)
