from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from korformer.errors import ModelDirectoryError, ResourceError, UsageError
from korformer.generation.sentences import ends_sentence
from korformer.generation.settings import SamplingSettings
from korformer.model.decode import DecodeState
from korformer.writing.draft import Draft
from korformer.writing.engine import Engine
from korformer.writing.messages import (
    Attended,
    ContextMeter,
    Failed,
    Inspected,
    LoadProgress,
    Message,
    ModelLoaded,
    Notified,
    ReadingProgress,
    StateChanged,
    StateRestored,
    StateSaved,
    Wrote,
)
from korformer.writing.session import Session

OPEN = SamplingSettings(seed=4, max_new_tokens=12, banned_tokens=(3,), temperature=1.2, top_p=1.0)
TEXT = "등대지기는 해가 지면 불을 켰다."
DRAFT = Draft(text=TEXT, cursor=len(TEXT))


@pytest.fixture
def ready(engine: Engine, heard: Any, model_path: Path) -> Engine:
    engine.load(model_path)
    heard.wait(ModelLoaded)
    engine.set_settings(OPEN)
    return engine


def text_of(heard: Any, generation: int) -> str:
    return "".join(t.text for wrote in heard.of(Wrote) if wrote.generation == generation for t in wrote.tokens)


def test_loading_tells_its_steps_and_the_model(engine: Engine, heard: Any, model_path: Path) -> None:
    engine.load(model_path, hashes=3)
    info = heard.wait(ModelLoaded).info
    steps = heard.of(LoadProgress)
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert {step.steps for step in steps} == {4}
    assert (info.name, info.device, info.weights, info.window_tokens, info.hashes) == ("small", "cpu", "fp32", 64, 3)
    assert (info.fills_in_the_middle, info.vocabulary_size > 300, info.parameters > 1000) == (False, True, True)
    heard.wait(StateChanged, 2)
    assert [message.state for message in heard.of(StateChanged)] == ["loading", "idle"]
    assert engine.info == info


def test_it_writes_into_a_session(ready: Engine, heard: Any) -> None:
    session = Session()
    session.insert(0, TEXT)
    number = session.begin_generation(session.length, OPEN, vocabulary=ready.info.vocabulary if ready.info else "")
    ready.generate(session.draft(), number)
    ended = heard.ended(number)
    for wrote in heard.of(Wrote):
        assert session.extend_generation(number, wrote.tokens) is not None
    session.end_generation(number, ended.reason, seed=ended.seed)
    assert heard.of(Failed) == []
    assert (ended.reason, ended.seed, ended.tokens) == ("length", 4, 12)
    assert ended.tokens_per_second > 0
    assert session.text == TEXT + text_of(heard, number)
    assert "\ufffd" not in session.text
    assert all(len(view.record.candidates) >= 10 for view in session.tokens())
    assert all(view.record.entropy is not None for view in session.tokens())
    states = [message.state for message in heard.of(StateChanged)]
    assert states[2:4] == ["reading", "writing"]
    last = heard.of(Wrote)[-1].meter
    assert (last.window_tokens, last.text_tokens > 12, last.outside_tokens) == (64, True, 0)
    assert heard.of(ReadingProgress)[-1].done == heard.of(ReadingProgress)[-1].total


def test_a_change_of_settings_counts_from_the_next_token(
    ready: Engine, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it writes, one token after another is allowed alone."""
    append, ids = DecodeState.append, []

    def change(self: DecodeState, token_ids: Any, **given: Any) -> Any:
        ids.append(list(token_ids))
        kept = 40 + len(ids)
        ready.set_settings(OPEN.model_copy(update={"logit_bias": {kept: 1000.0}}))
        ready.set_candidates(len(ids) % 3)
        return append(self, token_ids, **given)

    monkeypatch.setattr(DecodeState, "append", change)
    ready.generate(DRAFT, 1)
    heard.ended(1)
    records = [token for wrote in heard.of(Wrote) for token in wrote.tokens]
    assert [record.token_id for record in records] == [41 + number for number in range(len(records))]
    assert [bool(record.candidates) for record in records] == [(1 + n) % 3 > 0 for n in range(len(records))]


def test_it_stops_within_a_token(ready: Engine, heard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ready.set_settings(OPEN.model_copy(update={"max_new_tokens": 100_000, "logit_bias": {40: 1000.0}}))
    append, calls = DecodeState.append, []

    def stop(self: DecodeState, token_ids: Any, **given: Any) -> Any:
        calls.append(1)
        if len(calls) == 7:
            ready.stop()
        return append(self, token_ids, **given)

    monkeypatch.setattr(DecodeState, "append", stop)
    ready.generate(DRAFT, 1)
    ready.generate(DRAFT, 2)  # waits, and is stopped too
    assert (heard.ended(1).reason, heard.ended(1).tokens) == ("cancelled", 6)
    assert (heard.ended(2).reason, heard.ended(2).tokens) == ("cancelled", 0)
    assert len(calls) <= 8
    assert len(text_of(heard, 1)) == 6


def test_reading_stops_too(ready: Engine, heard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    append = DecodeState.append

    def stop(self: DecodeState, token_ids: Any, **given: Any) -> Any:
        ready.stop()
        return append(self, token_ids, **given)

    monkeypatch.setattr(DecodeState, "append", stop)
    ready.generate(DRAFT, 1)
    ended = heard.ended(1)
    assert (ended.reason, ended.tokens, ended.seed) == ("cancelled", 0, None)
    monkeypatch.undo()
    ready.generate(DRAFT, 2)
    assert heard.ended(2).reason == "length"


def test_a_single_step_is_a_whole_character(ready: Engine, heard: Any, loaded: Any) -> None:
    byte = next(t for t in range(5, loaded.vocabulary.size) if loaded.vocabulary.token_bytes(t) == b"\xea")
    ready.generate(DRAFT, 1, first_token=byte, max_tokens=1)
    assert heard.ended(1).tokens == 3
    (wrote,) = heard.of(Wrote)
    assert [len(token.text) for token in wrote.tokens] == [0, 0, 1]
    assert [token.chosen for token in wrote.tokens] == [True, False, False]
    ready.set_settings(OPEN.model_copy(update={"sentence_tokens": 50}))
    ready.generate(DRAFT, 2, max_tokens=1)
    assert heard.ended(2).tokens <= 4


def test_text_behind_the_cursor(ready: Engine, heard: Any, filling_path: Path) -> None:
    between = Draft(text=TEXT, cursor=6)
    ready.generate(between, 1)
    heard.ended(1)
    assert "ignored" in heard.of(Notified)[0].text
    ready.load(filling_path)
    ready.generate(between, 2)
    heard.ended(2)
    assert len(heard.of(Notified)) == 1
    ready.set_settings(OPEN.model_copy(update={"banned_tokens": (), "logit_bias": {3: 1000.0}}))
    ready.generate(between, 3)
    assert heard.ended(3).reason == "joined"
    ready.generate(DRAFT, 4)
    assert heard.ended(4).reason == "end"


def test_it_ends_where_the_sentence_does(ready: Engine, heard: Any, loaded: Any) -> None:
    stop = next(t for t in range(5, loaded.vocabulary.size) if loaded.vocabulary.token_bytes(t) == b".")
    ready.set_settings(OPEN.model_copy(update={"max_new_tokens": 3, "sentence_tokens": 500, "logit_bias": {stop: 4.0}}))
    ready.generate(DRAFT, 1)
    assert heard.ended(1).reason == "sentence"
    assert heard.ended(1).tokens > 3
    assert ends_sentence(text_of(heard, 1))


def test_stop_strings_leave_nothing_behind(ready: Engine, heard: Any, loaded: Any) -> None:
    stop = next(t for t in range(5, loaded.vocabulary.size) if loaded.vocabulary.token_bytes(t) == b".")
    ready.set_settings(OPEN.model_copy(update={"logit_bias": {stop: 1000.0}, "stop": ("..",)}))
    ready.generate(DRAFT, 1)
    assert heard.ended(1).reason == "stop"
    assert text_of(heard, 1) == ""


def test_the_lens_can_be_switched_on_while_it_writes(
    ready: Engine, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("korformer.writing.run.LENS_SECONDS", 0.0)
    watched: list[bool] = []
    append = DecodeState.append

    def watch(self: DecodeState, token_ids: Any, **given: Any) -> Any:
        watched.append(self.watch)
        ready.set_lens(len(watched) in range(4, 8))
        return append(self, token_ids, **given)

    monkeypatch.setattr(DecodeState, "append", watch)
    ready.generate(DRAFT, 1)
    heard.ended(1)
    assert 3 <= sum(watched) <= 5
    assert 2 <= len(heard.of(Attended)) <= 5
    assert all(message.lens.passages for message in heard.of(Attended))


def test_looking_at_a_token(ready: Engine, heard: Any) -> None:
    ready.set_candidates(0)
    ready.inspect(DRAFT, 3, tag="here")
    found = heard.wait(Inspected)
    assert found.tag == "here"
    assert found.start <= 3 < found.end
    assert len(found.record.candidates) >= 10


def test_reading_ahead_gives_way(ready: Engine, heard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()
    append = DecodeState.append

    def slow(self: DecodeState, token_ids: Any, **given: Any) -> Any:
        began.set()
        assert go_on.wait(30)
        return append(self, token_ids, **given)

    monkeypatch.setattr(DecodeState, "append", slow)
    ready.prepare(DRAFT)
    assert began.wait(30)
    ready.measure(DRAFT)
    ready.prepare(Draft(text=TEXT * 2, cursor=2 * len(TEXT)))  # none of them is of use when the next is asked for
    ready.generate(DRAFT, 1)
    assert ready.busy
    go_on.set()
    assert heard.ended(1).reason == "length"
    assert heard.of(Failed) == []
    assert [meter.text_tokens for meter in heard.of(ContextMeter)] == [heard.of(ContextMeter)[0].text_tokens]


def test_what_was_prepared_is_not_read_again(ready: Engine, heard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ready.prepare(DRAFT)
    heard.wait(StateChanged, 4)
    counts: list[int] = []
    append = DecodeState.append

    def count(self: DecodeState, token_ids: Any, **given: Any) -> Any:
        counts.append(len(token_ids))
        return append(self, token_ids, **given)

    monkeypatch.setattr(DecodeState, "append", count)
    ready.generate(DRAFT, 1)
    heard.ended(1)
    assert set(counts) == {1}


def test_another_number_of_hashes(ready: Engine, heard: Any) -> None:
    ready.rehash(3, DRAFT)
    info = heard.wait(ModelLoaded, 2).info
    assert (info.hashes, info.own_hashes) == (3, 2)
    heard.wait(StateChanged, 4)
    ready.rehash(999)
    failed = heard.wait(Failed)
    assert failed.doing == "rehash"
    assert "256" in str(failed.error)
    progress = heard.of(ReadingProgress)
    assert progress[-1].done == progress[-1].total > 3
    ready.generate(DRAFT, 1)
    assert heard.ended(1).reason == "length"


def test_another_number_of_hashes_counts_from_the_next_token(
    ready: Engine, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, lengths = DecodeState.append, []

    def change(self: DecodeState, token_ids: Any, **given: Any) -> Any:
        lengths.append(len(token_ids))
        if len(lengths) == 5:
            ready.rehash(3, DRAFT)
            ready.rehash(5, DRAFT)
        return append(self, token_ids, **given)

    monkeypatch.setattr(DecodeState, "append", change)
    ready.generate(DRAFT, 1)
    ended = heard.ended(1)
    assert (ended.reason, ended.tokens) == ("length", 12)
    assert [message.info.hashes for message in heard.of(ModelLoaded)] == [2, 5]
    assert lengths == [lengths[0], 1, 1, 1, 1, lengths[0] + 5, *[1] * 6]  # the whole text once more, then tokens again
    states = [message.state for message in heard.of(StateChanged)]
    assert states[2:6] == ["reading", "writing", "reading", "writing"]
    assert heard.of(Failed) == []


def test_reading_with_other_hashes_gives_way_to_the_next_number_and_to_a_stop(
    ready: Engine, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, read = DecodeState.append, []

    def change(self: DecodeState, token_ids: Any, **given: Any) -> Any:
        read.append(ready.info.hashes if ready.info else 0)
        if len(read) == 1:
            ready.rehash(4, DRAFT)
            ready.rehash(5, DRAFT)
        else:
            ready.rehash(6, DRAFT)
            ready.stop()
        return append(self, token_ids, **given)

    monkeypatch.setattr(DecodeState, "append", change)
    ready.rehash(3, DRAFT)
    assert heard.wait(ModelLoaded, 3).info.hashes == 5
    heard.wait(StateChanged, 4)
    assert read == [3, 5]
    monkeypatch.undo()
    ready.generate(DRAFT, 1)
    assert heard.ended(1).reason == "length"
    assert heard.wait(ModelLoaded, 4).info.hashes == 6
    assert heard.of(Failed) == []


def test_states_are_kept_and_taken_up(ready: Engine, heard: Any, tmp_path: Path) -> None:
    ready.prepare(DRAFT)
    heard.wait(StateChanged, 4)
    ready.save_state(tmp_path / "state")
    saved = heard.wait(StateSaved)
    ready.restore_state(tmp_path / "state")
    assert heard.wait(StateRestored).tokens == saved.tokens > 3
    (tmp_path / "state").write_bytes(b"nonsense")
    ready.restore_state(tmp_path / "state")
    assert "read again" in str(heard.wait(Failed).error)
    ready.save_state(tmp_path / "no folder" / "state")
    assert heard.wait(Failed, 2).doing == "save"


def test_without_a_model(engine: Engine, heard: Any) -> None:
    engine.measure(DRAFT)
    engine.generate(DRAFT, 1)
    assert heard.ended(1).reason == "failed"
    engine.inspect(DRAFT, 0)
    for number in (1, 2):
        error = heard.wait(Failed, number).error
        assert isinstance(error, UsageError)
        assert "no model is loaded" in str(error)


def test_a_model_that_cannot_be_loaded_leaves_the_one_before(
    ready: Engine, heard: Any, model_path: Path, tmp_path: Path
) -> None:
    shutil.copytree(model_path, tmp_path / "broken")
    weights = tmp_path / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    ready.load(tmp_path / "broken")
    assert isinstance(heard.wait(Failed).error, ModelDirectoryError)
    ready.load(tmp_path / "nowhere")
    assert heard.wait(Failed, 2).doing == "load"
    ready.generate(DRAFT, 1)
    assert heard.ended(1).reason == "length"


def test_a_model_whose_folder_is_gone_goes_on_writing(
    engine: Engine, heard: Any, model_path: Path, tmp_path: Path
) -> None:
    shutil.copytree(model_path, tmp_path / "gone")
    engine.load(tmp_path / "gone")
    heard.wait(ModelLoaded)
    shutil.rmtree(tmp_path / "gone")
    engine.rehash(3, DRAFT)
    engine.set_settings(OPEN)
    engine.generate(DRAFT, 1)
    assert heard.ended(1).reason == "length"


@pytest.mark.parametrize(
    ("fault", "kind"), [(MemoryError(), ResourceError), (RuntimeError("odd"), ModelDirectoryError)]
)
def test_what_nobody_foresaw_is_told_and_the_thread_lives(
    ready: Engine, heard: Any, monkeypatch: pytest.MonkeyPatch, fault: Exception, kind: type
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise fault

    monkeypatch.setattr(DecodeState, "append", fail)
    ready.generate(DRAFT, 1)
    assert heard.ended(1).reason == "failed"
    failed = heard.of(Failed)[0]
    assert isinstance(failed.error, kind)
    assert failed.error.__cause__ is fault
    monkeypatch.undo()
    ready.generate(DRAFT, 2)
    assert heard.ended(2).reason == "length"


def test_settings_that_name_no_token_are_told(ready: Engine, heard: Any) -> None:
    ready.set_settings(OPEN.model_copy(update={"banned_tokens": (10**6,)}))
    ready.generate(DRAFT, 1)
    assert heard.ended(1).reason == "failed"
    assert "no such token" in str(heard.of(Failed)[0].error)


def test_messages_come_in_batches(heard: Any, model_path: Path) -> None:
    slow: list[tuple[Message, ...]] = []
    times: list[float] = []

    def deliver(batch: tuple[Message, ...]) -> None:
        times.append(time.monotonic())
        slow.append(batch)
        heard(batch)

    engine = Engine(deliver, messages_a_second=5.0)
    engine.load(model_path)
    engine.set_settings(OPEN.model_copy(update={"max_new_tokens": 40}))
    engine.generate(DRAFT, 1)
    assert heard.ended(1).tokens >= 40
    assert engine.close(timeout=60)
    assert len(slow) < 30
    wrote = [message for batch in slow for message in batch if isinstance(message, Wrote)]
    assert max(len(message.tokens) for message in wrote) > 1
    assert all(sum(isinstance(message, Wrote) for message in batch) <= 1 for batch in slow)


def test_closing_ends_the_thread_while_it_writes(heard: Any, model_path: Path) -> None:
    engine = Engine(heard)
    engine.load(model_path)
    engine.set_settings(OPEN.model_copy(update={"max_new_tokens": 10**6}))
    engine.generate(DRAFT, 1)
    heard.wait(Wrote)
    assert engine.close(timeout=60)
    assert heard.ended(1).reason == "cancelled"


def test_torch_is_not_imported_before_a_model_is_loaded() -> None:
    code = (
        "import sys, korformer.writing.engine as engine, korformer.writing.session, korformer.writing.store\n"
        "import korformer.writing.presets, korformer.writing.export\n"
        "running = engine.Engine(print)\n"
        "running.close()\n"
        "print('torch' in sys.modules, 'tokenizers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
