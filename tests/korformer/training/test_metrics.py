from pathlib import Path

import pytest

from korformer.errors import PathError
from korformer.events import Notice, Sample, Step, Validation
from korformer.training.metrics import MetricsLog, read_metrics


def step(number: int, loss: float) -> Step:
    return Step(
        step=number, steps=9, loss=loss, average_loss=loss, learning_rate=0.1, gradient_norm=1.0, tokens=number,
        tokens_per_second=1.0, seconds_left=1.0, memory_bytes=1,
    )  # fmt: skip


def test_a_resumption_replaces_what_it_undid(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.begin(0, {})
    for number in (1, 2, 3):
        log(step(number, 1.0))
    log.close()
    log = MetricsLog(path)
    log.begin(2, {"environment": {"torch": "x"}})
    log(step(3, 5.0))
    log(Validation(step=3, metrics={"bits_per_character": 2.5}))
    log(Sample(step=3, prompt="가", text="나\n다"))
    log(Notice(text="not a curve"))
    log.close()
    lines = read_metrics(path)
    assert [(line["step"], line["loss"]) for line in lines if line["event"] == "step"] == [(1, 1.0), (2, 1.0), (3, 5.0)]
    assert [line["bits_per_character"] for line in lines if line["event"] == "validation"] == [2.5]
    assert [line["text"] for line in lines if line["event"] == "sample"] == ["나\n다"]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 8


def test_what_is_done_again_after_a_step_counts_once(tmp_path: Path) -> None:
    """A validation that a signal cut short is still to be done; where a kill undoes that, it is done once more."""
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.begin(0, {})
    log(step(1, 1.0))
    for value in (2.0, 3.0):
        log.begin(1, {"pending": ["validation"]})
        log(Validation(step=1, metrics={"bits_per_character": value}))
    log.close()
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["bits_per_character"] for line in lines if line["event"] == "validation"] == [3.0]
    assert [line["step"] for line in lines if line["event"] == "step"] == [1]


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "step", "step": 1, "loss": 2.0}\n{"event": "st', encoding="utf-8")
    assert [line["step"] for line in read_metrics(path)] == [1]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PathError, match=r"none\.jsonl"):
        read_metrics(tmp_path / "none.jsonl")
