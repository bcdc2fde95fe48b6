from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korformer.generation.stops import StopQueue

STOPS = st.lists(st.text("ab끝", min_size=1, max_size=4), max_size=3)


def run(texts: list[str], stops: list[str]) -> tuple[list[tuple[int, str]], bool, list[list[int]]]:
    """Everything that comes out, whether it stopped, and what came out at each token."""
    queue: StopQueue[int] = StopQueue()
    out: list[tuple[int, str]] = []
    steps = []
    for index, text in enumerate(texts):
        released, stopped = queue.push(index, text, stops)
        out += released
        steps.append([token for token, _ in released])
        if stopped:
            assert queue.flush() == []
            return out, True, steps
    return out + queue.flush(), False, steps


@given(st.lists(st.text("ab끝", max_size=3), max_size=12), STOPS)
@settings(max_examples=500)
def test_the_text_is_what_stands_before_the_first_stop_string(texts: list[str], stops: list[str]) -> None:
    out, stopped, _ = run(texts, stops)
    # Token by token: the first token whose text completes a stop string ends it, at the earliest place of any.
    expected, expected_stop, count = "".join(texts), False, len(texts)
    for read in range(1, len(texts) + 1):
        text = "".join(texts[:read])
        places = [text.find(stop) for stop in stops if stop in text]
        if places:
            expected, expected_stop, count = text[: min(places)], True, read
            break
    assert "".join(text for _, text in out) == expected
    assert stopped == expected_stop
    assert [token for token, _ in out] == list(range(count))
    for token, text in out:
        assert texts[token].startswith(text)


@given(st.lists(st.text("ab끝", max_size=3), max_size=12), STOPS)
def test_a_token_waits_only_while_a_stop_string_may_begin_in_it(texts: list[str], stops: list[str]) -> None:
    queue: StopQueue[int] = StopQueue()
    out = 0
    for index, text in enumerate(texts):
        released, stopped = queue.push(index, text, stops)
        if stopped:
            return
        out += len(released)
        so_far = "".join(texts[: index + 1])
        shown = len("".join(texts[:out]))
        begins = [n for stop in stops for n in range(1, len(stop)) if so_far.endswith(stop[:n])]
        undecided = len(so_far) - max(begins, default=0)
        assert shown <= undecided
        # The next token in line does reach into the undecided part.
        assert out == index + 1 or len("".join(texts[: out + 1])) > undecided


def test_without_stop_strings_nothing_waits() -> None:
    _, _, steps = run(["가", "", "나"], [])
    assert steps == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("texts", "stops", "text", "steps"),
    [
        (["안녕", "하", "세요"], ["하세"], "안녕", [[0], [], [1, 2]]),
        (["안녕", "하", "자"], ["하세"], "안녕하자", [[0], [], [1, 2]]),
        (["끝.끝", "", "!"], ["끝!"], "끝.", [[], [], [0, 1, 2]]),
        (["aab"], ["ab", "b"], "a", [[0]]),
    ],
)
def test_examples(texts: list[str], stops: list[str], text: str, steps: list[list[int]]) -> None:
    out, _, seen = run(texts, stops)
    assert "".join(part for _, part in out) == text
    assert seen == steps


def test_stop_strings_may_change_on_the_way() -> None:
    queue: StopQueue[int] = StopQueue()
    assert queue.push(0, "하", ["하세"]) == ([], False)
    assert queue.push(1, "세", ["그만"]) == ([(0, "하"), (1, "세")], False)
