from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from korformer.events import Event, Notice, Progress
from korformer.generation.context import READING, Cancelled, ContextWindow, IncrementalState, window_start

MakeModel = Callable[..., Any]


@given(st.integers(1, 5000), st.integers(1, 600))
def test_the_cut_fits_the_window_and_moves_in_quarters(length: int, window: int) -> None:
    start = window_start(length, window)
    assert 1 <= length - start <= window
    assert start % max(1, window // 4) == 0
    assert start == 0 or length - start > window - max(1, window // 4)
    assert window_start(length + 1, window) >= start


def test_a_text_within_the_window_is_whole() -> None:
    assert window_start(64, 64) == 0
    assert window_start(65, 64) == 16
    assert window_start(80, 64) == 16
    assert window_start(81, 64) == 32


def test_the_scores_are_those_of_reading_the_window_at_once(make_model: MakeModel) -> None:
    model = make_model(max_tokens=16)
    window = ContextWindow(model)
    text = [2, 5, 6, 7]
    window.read(text)
    for token in range(8, 60):
        text.append(token)
        scores = window.push(token)
        assert torch.equal(scores, model.scores(text[window_start(len(text), 16) :]))
        assert torch.equal(scores, ContextWindow(model).read(text))


def test_between_cuts_each_token_is_read_once(make_model: MakeModel) -> None:
    model = make_model(max_tokens=16)
    window = ContextWindow(model)
    window.read([2])
    for token in range(5, 45):
        window.push(token)
    # 41 tokens: one by one until the 16th, then 13 again at each of the cuts, and one by one in between.
    assert model.states[0].appended == [1] * 16 + ([13] + [1] * 3) * 6 + [13]


def test_what_was_read_before_is_not_read_again(make_model: MakeModel) -> None:
    model = make_model()
    window = ContextWindow(model)
    window.read([2, 10, 11, 12, 13])
    assert torch.equal(window.read([2, 10, 11, 20]), model.scores([2, 10, 11, 20]))
    assert torch.equal(window.read([2, 10]), model.scores([2, 10]))
    assert torch.equal(window.read([2, 10]), model.scores([2, 10]))
    assert torch.equal(window.read([2, 10, 11]), model.scores([2, 10, 11]))
    assert model.states[0].appended == [5, 1, 1, 1, 1]


def test_going_back_over_a_cut(make_model: MakeModel) -> None:
    model = make_model(max_tokens=8)
    window = ContextWindow(model)
    long = [2, *range(10, 30)]
    window.read(long)
    assert torch.equal(window.read(long[:6]), model.scores(long[:6]))
    assert window.start == 0


def test_a_cut_is_told_once_with_what_is_lost(make_model: MakeModel) -> None:
    window = ContextWindow(make_model(max_tokens=16))
    events: list[Event] = []
    window.read(list(range(5, 35)), listen=events.append)
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "30 tokens" in notices[0]
    assert "first 16" in notices[0]
    events.clear()
    for token in range(35, 45):
        window.push(token, listen=events.append)
    assert sum(isinstance(event, Notice) for event in events) == 2


def test_progress_ends_at_the_total_and_is_not_told_for_every_token(make_model: MakeModel) -> None:
    events: list[Event] = []
    ContextWindow(make_model(max_tokens=3000)).read([2, *[5] * 2000], listen=events.append)
    steps = [event for event in events if isinstance(event, Progress)]
    assert {(step.stage, step.total, step.unit) for step in steps} == {(READING, 2001, "tokens")}
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == 2001
    assert len(steps) < 1000


def test_progress_counts_the_new_tokens_when_known_ones_are_read_again() -> None:
    class Rereading:
        """Reads everything again at each append, and says so."""

        length = 0
        max_tokens = 100

        def append(
            self, token_ids: Sequence[int], *, progress: Callable[[int, int], None] | None = None
        ) -> torch.Tensor:
            self.length += len(token_ids)
            if progress:
                for done in range(1, self.length + 1):
                    progress(done, self.length)
            return torch.zeros(1)

        def rewind(self, length: int) -> None:
            self.length = length

        def new_state(self) -> IncrementalState:
            return self

    window = ContextWindow(Rereading())
    events: list[Event] = []
    window.read([2, *range(30)])
    window.read([2, *range(50)], listen=events.append)
    assert [(e.done, e.total) for e in events if isinstance(e, Progress)][-1] == (20, 20)


@pytest.mark.parametrize("calls", [0, 1, 7])
def test_reading_can_be_cancelled_and_begun_again(make_model: MakeModel, calls: int) -> None:
    model = make_model()
    window = ContextWindow(model)
    window.read([2, 5])
    asked = iter(range(100))
    with pytest.raises(Cancelled):
        window.read([2, *range(5, 30)], cancelled=lambda: next(asked) >= calls)
    assert torch.equal(window.read([2, 5, 6]), model.scores([2, 5, 6]))
    assert torch.equal(window.push(9), model.scores([2, 5, 6, 9]))


def test_after_a_fault_in_the_model_the_window_reads_anew(make_model: MakeModel) -> None:
    model = make_model()
    window = ContextWindow(model)
    window.read([2, 5, 6])
    model.states[0].append = None
    with pytest.raises(TypeError):
        window.push(7)
    assert torch.equal(window.push(8), model.scores([2, 5, 6, 7, 8]))


def test_a_text_has_at_least_one_token(make_model: MakeModel) -> None:
    with pytest.raises(ValueError, match="at least one"):
        ContextWindow(make_model()).read([])


def test_what_was_read_before_a_cancel_counts(make_model: MakeModel) -> None:
    model = make_model()
    window = ContextWindow(model)
    asked = iter(range(100))
    with pytest.raises(Cancelled):
        window.read(list(range(5, 45)), cancelled=lambda: next(asked) >= 12)
    read = model.states[0].length
    assert 0 < read < 40
    model.states[0].appended.clear()
    assert torch.equal(window.read(list(range(5, 45))), model.scores(list(range(5, 45))))
    assert model.states[0].appended == [40 - read]
    assert len(model.states) == 1


def test_a_state_from_another_time_is_gone_on_with(make_model: MakeModel) -> None:
    model = make_model(max_tokens=16)
    text = list(range(5, 30))
    start = window_start(len(text), 16)
    state = model.new_state()
    state.append(text[start:])
    state.appended.clear()
    window = ContextWindow(model)
    window.adopt(state, text[start:], start=start)
    assert window.state is state
    assert torch.equal(window.read(text), model.scores(text[start:]))
    assert state.appended == [1]
    other = [*text[:20], 7, 8]
    assert torch.equal(window.read(other), model.scores(other[window_start(22, 16) :]))


def test_what_need_not_be_read_again(make_model: MakeModel) -> None:
    window = ContextWindow(make_model(max_tokens=16))
    assert window.shared_with([2, 5, 6]) == 0
    window.read([2, 5, 6, 7])
    assert window.shared_with([2, 5, 6, 7, 8]) == 4
    assert window.shared_with([2, 5, 9]) == 2
    assert window.shared_with([2, 5, 6]) == 2  # the last one has to be read for the scores behind it
    assert window.shared_with(list(range(40))) == 0


def test_watching_outlives_a_state(make_model: MakeModel) -> None:
    model = make_model()
    for_all = type(model.new_state())
    for_all.watch, for_all.attention = False, lambda self, layer: torch.zeros(1)
    try:
        window = ContextWindow(model)
        window.watch = True
        window.read([2, 5])
        model.states[-1].append = None
        with pytest.raises(TypeError):
            window.push(7)
        assert window.state is model.states[-1]
        assert window.state.watch
        window.watch = False
        assert not window.state.watch
    finally:
        del for_all.watch, for_all.attention
