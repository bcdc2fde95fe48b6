from __future__ import annotations

import pytest

from korformer.writing import outbox as module
from korformer.writing.messages import ContextMeter, Message, Notified, ReadingProgress, StateChanged, Wrote
from korformer.writing.outbox import Outbox
from korformer.writing.records import TokenRecord


def wrote(generation: int, *texts: str) -> Wrote:
    return Wrote(
        generation=generation,
        tokens=tuple(TokenRecord(token_id=1, text=text, logprob=0.0) for text in texts),
        tokens_per_second=1.0,
        meter=ContextMeter(window_tokens=1, text_tokens=1, read_tokens=1, outside_tokens=0, outside_characters=0),
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_what_comes_fast_comes_together(clock: list[float]) -> None:
    batches: list[tuple[Message, ...]] = []
    outbox = Outbox(batches.append, 10.0)
    outbox.add(wrote(1, "가"))
    assert batches == [(wrote(1, "가"),)]  # nothing waits that need not
    for text in ("나", "다", "라"):
        clock[0] += 0.02
        outbox.add(wrote(1, text))
    assert len(batches) == 1
    clock[0] += 0.05
    outbox.add(wrote(1, "마"))
    assert batches[1:] == [(wrote(1, "나", "다", "라", "마"),)]
    outbox.flush()
    assert len(batches) == 2


def test_messages_keep_their_order_and_old_progress_goes(clock: list[float]) -> None:
    batches: list[tuple[Message, ...]] = []
    outbox = Outbox(batches.append, 1.0)
    outbox.flush()
    outbox.add(StateChanged(state="reading"))
    batches.clear()
    progress = [ReadingProgress(done=done, total=3, tokens_per_second=1.0, seconds_left=None) for done in (1, 2, 3)]
    for message in (*progress, wrote(1, "가"), Notified(text="!"), wrote(1, "나"), wrote(2, "다")):
        outbox.add(message)
    outbox.flush()
    assert batches == [(progress[2], wrote(1, "가"), Notified(text="!"), wrote(1, "나"), wrote(2, "다"))]
