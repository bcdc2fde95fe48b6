import json
import math
from pathlib import Path
from typing import Any

import pytest

from korformer.errors import PathError
from korformer.events import Step, Validation
from korformer.training import history as history_module
from korformer.training.history import History
from korformer.training.metrics import MetricsLog


def step(number: int, loss: float, steps: int = 9) -> Step:
    return Step(
        step=number, steps=steps, loss=loss, average_loss=loss + 1, learning_rate=0.1, gradient_norm=1.0,
        tokens=10 * number, tokens_per_second=7.0, seconds_left=1.0, memory_bytes=1,
    )  # fmt: skip


def lines(path: Path, records: list[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def raw(number: int, loss: float = 1.0) -> dict[str, Any]:
    return {"event": "step", "step": number, "steps": 10**6, "loss": loss, "average_loss": loss, "tokens": number}


def test_what_a_run_writes_is_read_back_and_read_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    history = History(path)
    assert not history.refresh()
    log = MetricsLog(path)
    log.begin(0, {"environment": {}})
    log(step(1, 5.0))
    log(Validation(step=1, metrics={"bits_per_character": 3.0, "tokens": 100}))
    assert history.refresh()
    assert (history.step, history.steps, history.tokens, history.tokens_per_second) == (1, 9, 10, 7.0)
    assert history.headline is not None
    assert (history.headline.name, history.headline.best) == ("bits_per_character", (1, 3.0))
    assert history.time is not None
    assert history.time > 1.7e9
    assert not history.refresh()
    log(step(2, 4.0))
    assert history.refresh()
    assert [point.value for point in history.loss.points()] == [5.0, 4.0]
    curve = history.curve("loss")
    assert curve is not None
    assert [point.value for point in curve.points()] == [6.0, 5.0]
    assert history.curve("none") is None
    log.close()


def test_a_run_that_went_back_shows_what_holds(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    validation = {"event": "validation", "step": 3, "perplexity": 1.0}
    lines(path, [{"event": "start", "step": 0}, *(raw(n, 1.0) for n in (1, 2, 3)), validation])
    lines(path, [{"event": "start", "step": 2}, raw(3, 7.0)])
    history = History(path)
    history.refresh()
    assert [(point.step, point.value) for point in history.loss.points()] == [(1, 1.0), (2, 1.0), (3, 7.0)]
    assert history.figures == {}
    assert (history.step, history.resumptions) == (3, 1)


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rubbish = [b"", b"{", b"[1]", b"null", b'{"event": "step"}', b'{"event": "step", "step": "x"}', b"\xff\xfe", b"\0"]
    rubbish += [b'{"event": "step", "step": -1}', b'{"event": "step", "step": 2, "loss": null}', b"[" * 100000]
    rubbish += [b'{"event": "validation", "step": 1, "f1": ' + b"9" * 400 + b"}"]
    path.write_bytes(b"\n".join([json.dumps(raw(1)).encode(), *rubbish]) + b'\n{"event": "step", "step": 3, "lo')
    history = History(path)
    history.refresh()
    assert [point.step for point in history.loss.points()] == [1]
    with path.open("ab") as file:  # the writer finishes the line that was torn while we looked
        file.write(b'ss": 2.0}\n')
    assert history.refresh()
    assert [point.step for point in history.loss.points()] == [1, 3]


def test_a_file_that_began_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines(path, [raw(1), raw(2), raw(3)])
    history = History(path)
    history.refresh()
    path.write_text(json.dumps(raw(1, 9.0)) + "\n", encoding="utf-8")
    history.refresh()
    assert [point.value for point in history.loss.points()] == [9.0]


def test_of_a_long_file_a_part_is_parsed_and_nothing_else_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    records = [{"event": "start", "step": 0}]
    for number in range(1, 20001):
        records.append(raw(number, 1.0))
        if number % 1000 == 0:
            records.append({"event": "validation", "step": number, "f1": number})
    lines(path, records)
    monkeypatch.setattr(history_module, "PARSED_BYTES", path.stat().st_size // 10)
    parsed = []
    real = json.loads
    monkeypatch.setattr(history_module.json, "loads", lambda line: parsed.append(line) or real(line))
    history = History(path)
    history.refresh()
    assert len(parsed) < len(records) / 8
    assert history.step == 20000
    figure = history.headline
    assert figure is not None
    assert (len(figure.curve), figure.best) == (20, (20000, 20000.0))
    assert [point.tokens for point in figure.curve.points()] == list(range(1000, 20001, 1000))


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(PathError, match="cannot be read"):
        History(tmp_path).refresh()


def test_numbers_that_are_none_do_not_count() -> None:
    assert history_module._number(True) is None
    assert history_module._number(math.nan) is None
    assert history_module._number(10**400) is None
    assert history_module._number(3) == 3.0
