from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from korformer.data.infilling import lay_out
from korformer.errors import UsageError
from korformer.events import Event, Notice
from korformer.generation.context import ContextWindow
from korformer.generation.infilling import Order, infill, order_of
from korformer.generation.settings import SamplingSettings
from korformer.text.vocabulary import CLS_ID, MASK_ID, SEP_ID

SETTINGS = SamplingSettings(temperature=0, max_new_tokens=20)


ORDERS: list[Order] = ["suffix_first", "prefix_first"]


def written(model: Any, vocabulary: Any, prefix: str, suffix: str, order: Order = "suffix_first") -> list[int]:
    """What the model has read when it writes the first token."""
    window = ContextWindow(model)
    next(infill(window, vocabulary, prefix, suffix, SETTINGS, order=order))
    return window.tokens


@pytest.mark.parametrize("order", ORDERS)
def test_the_model_reads_what_it_was_trained_on(vocabulary: Any, make_model: Callable[..., Any], order: Order) -> None:
    prefix, suffix = vocabulary.encode("봄이 오"), vocabulary.encode(" 핀다")
    texts = (np.array(part, np.int64) for part in (prefix, [20, 21], suffix))
    laid = lay_out(*texts, slots=len(prefix) + len(suffix) + 6, begins=True, suffix_first=order == "suffix_first")
    assert laid is not None
    read = written(make_model(), vocabulary, "봄이 오", " 핀다", order)
    assert read == laid[0].tolist()[:-2]
    assert written(make_model(), vocabulary, "", "핀다", order) == [
        CLS_ID,
        MASK_ID,
        *vocabulary.encode("핀다"),
        MASK_ID,
    ]


def test_it_ends_where_the_middle_does(vocabulary: Any, speller: Callable[..., Any]) -> None:
    ids = vocabulary.encode("꽃")
    model = speller(ids, prompt_tokens=len(written(speller([]), vocabulary, "봄", "핀다")))
    stream = infill(model, vocabulary, "봄", "핀다", SETTINGS)
    assert [token.token_id for token in stream] == [*ids, SEP_ID]
    assert stream.summary.text == "꽃"
    assert stream.summary.stop_reason == "end"


@pytest.mark.parametrize(
    ("before", "after", "left_before", "left_after"),
    [(10, 10, 10, 10), (100, 10, 32, 10), (10, 100, 10, 31), (100, 100, 21, 21), (100, 22, 21, 21), (20, 100, 20, 21)],
)
@pytest.mark.parametrize("order", ORDERS)
def test_of_long_texts_what_is_near_the_gap_is_read(
    vocabulary: Any,
    make_model: Callable[..., Any],
    before: int,
    after: int,
    left_before: int,
    left_after: int,
    order: Order,
) -> None:
    """A window of 64 has room for 42 tokens of both texts, [CLS] among them, beside 20 new ones and two marks."""
    assert len(vocabulary.encode("a" * 7)) == 7
    heard: list[Event] = []
    window = ContextWindow(make_model(max_tokens=64))
    stream = infill(window, vocabulary, "a" * before, "b" * after, SETTINGS, order=order, listen=heard.append)
    next(stream)
    whole = left_before == before
    prefix, suffix = vocabulary.encode("a" * left_before), vocabulary.encode("b" * left_after)
    start = [CLS_ID] if whole else []
    if order == "prefix_first":
        assert window.tokens == [*start, *prefix, MASK_ID, *suffix, MASK_ID]
    else:
        assert window.tokens == [*start, MASK_ID, *suffix, MASK_ID, *prefix]
    notices = [event.text for event in heard if isinstance(event, Notice)]
    if before == left_before and after == left_after:
        assert notices == []
    else:
        assert f"the first {before - left_before:,} of the text before" in notices[0]
        assert f"the last {after - left_after:,} of the text after" in notices[0]
    assert len(list(stream)) < 20
    assert window.start == 0


def test_a_middle_has_at_most_half_of_the_window(vocabulary: Any, make_model: Callable[..., Any]) -> None:
    heard: list[Event] = []
    window = ContextWindow(make_model(max_tokens=64))
    many = SamplingSettings(seed=1, max_new_tokens=1000, banned_tokens=(SEP_ID,))
    stream = infill(window, vocabulary, "a" * 100, "b" * 100, many, listen=heard.append)
    assert len(list(stream)) == 32
    assert stream.summary.stop_reason == "length"
    assert window.start == 0
    assert any(isinstance(event, Notice) and "at most 32 tokens" in event.text for event in heard)


def test_without_a_suffix_there_is_nothing_to_fill(vocabulary: Any, make_model: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="suffix is empty"):
        infill(make_model(), vocabulary, "봄", "", SETTINGS)


@pytest.mark.parametrize(
    "config_json", [{}, {"training": {}}, {"training": {"objective": {"fim_rate": 0.0}}}, {"training": [1]}]
)
def test_a_model_that_never_saw_a_gap_is_refused(config_json: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"models/one.*ar\.fim_rate is 0.*fim_rate=0\.5"):
        order_of(config_json, where="models/one")


@pytest.mark.parametrize(("share", "order"), [(0.5, "suffix_first"), (1.0, "suffix_first"), (0.0, "prefix_first")])
def test_a_model_is_shown_an_order_that_it_knows(share: float, order: Order) -> None:
    settings = {"fim_rate": 0.1, "fim_spm_share": share}
    assert order_of({"training": {"objective": settings}}, where="models/one") == order


@pytest.mark.parametrize("order", ORDERS)
def test_texts_can_be_given_as_tokens(vocabulary: Any, make_model: Callable[..., Any], order: Order) -> None:
    prefix, suffix = [CLS_ID, *vocabulary.encode("봄이 오")], vocabulary.encode(" 핀다")
    window = ContextWindow(make_model())
    next(infill(window, vocabulary, prefix, suffix, SETTINGS, order=order))
    assert window.tokens == written(make_model(), vocabulary, "봄이 오", " 핀다", order)
    assert prefix[0] == CLS_ID


def test_settings_may_change_while_it_fills(vocabulary: Any, make_model: Callable[..., Any]) -> None:
    limits = iter([500, 500, 500, 3, 3, 3, 3])
    heard: list[Event] = []
    stream = infill(
        make_model(max_tokens=64),
        vocabulary,
        "봄",
        "핀다",
        lambda: SamplingSettings(max_new_tokens=next(limits), seed=3, banned_tokens=(SEP_ID,)),
        alternatives=2,
        listen=heard.append,
    )
    tokens = list(stream)
    assert len(tokens) == 3
    assert all(len(token.alternatives) >= 2 for token in tokens)
    assert any(isinstance(event, Notice) and "at most 32" in event.text for event in heard)


def test_the_end_of_a_sentence_fits_into_the_window_too(vocabulary: Any, make_model: Callable[..., Any]) -> None:
    window = ContextWindow(make_model(max_tokens=64))
    settings = SamplingSettings(max_new_tokens=20, sentence_tokens=1000, seed=1, banned_tokens=(SEP_ID,))
    assert len(list(infill(window, vocabulary, "봄", "핀다", settings))) <= 32
    assert window.start == 0
