"""Cutting documents and sharing rows: nothing is lost, counted twice or put beside its own future."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korformer.evaluation.windows import IGNORED, Segment, batches, document_segments


@settings(max_examples=200, deadline=None)
@given(length=st.integers(0, 70), window=st.integers(2, 20))
def test_every_token_after_the_first_is_predicted_once_with_half_a_window_of_context(length: int, window: int) -> None:
    tokens = np.arange(100, 100 + length)
    predicted = []
    for segment in document_segments(7, tokens, window):
        assert segment.document == 7
        assert 1 <= len(segment) <= window
        np.testing.assert_array_equal(segment.inputs, tokens[segment.start : segment.start + len(segment)])
        for index in np.flatnonzero(segment.targets != IGNORED):
            assert segment.targets[index] == tokens[segment.start + index + 1]
            context = index + 1
            assert context >= window // 2 or segment.start == 0
            predicted.append(int(segment.targets[index]))
    assert predicted == tokens[1:].tolist()


@pytest.mark.parametrize("pack", [True, False])
@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 16), max_size=60), batch_tokens=st.integers(1, 80))
def test_batches_hold_every_segment_whole_and_apart(pack: bool, lengths: list[int], batch_tokens: int) -> None:
    segments = [
        Segment(document=number, start=0, inputs=np.full(length, number + 5), targets=np.full(length, number + 6))
        for number, length in enumerate(lengths)
    ]
    seen = []
    for batch in batches(iter(segments), row_tokens=16, batch_tokens=batch_tokens, pack=pack):
        rows, width = batch.tokens.shape
        assert width <= 16
        assert rows == 1 or rows * width <= batch_tokens
        covered = np.zeros((rows, width), dtype=bool)
        for row, column, segment in batch.places:
            span = (row, slice(column, column + len(segment)))
            assert not covered[span].any()
            covered[span] = True
            np.testing.assert_array_equal(batch.tokens[span], segment.inputs)
            np.testing.assert_array_equal(batch.targets[span], segment.targets)
            np.testing.assert_array_equal(batch.positions[span], np.arange(len(segment)))
            assert len(set(batch.documents[span].tolist())) == 1
            seen.append(segment.document)
        for row in range(rows):
            beside = [segment for place, _, segment in batch.places if place == row]
            assert len(set(batch.documents[row][covered[row]].tolist())) == len(beside)
            assert pack or len(beside) == 1
        assert (batch.documents[~covered] == -1).all()
        assert (batch.targets[~covered] == IGNORED).all()
        assert pack or covered.all()  # what must stand alone is not padded either
    assert sorted(seen) == list(range(len(lengths)))


def test_short_segments_share_rows() -> None:
    segments = [Segment(document=number, start=0, inputs=np.full(5, 9), targets=np.full(5, 9)) for number in range(30)]
    rows = sum(len(batch.tokens) for batch in batches(segments, row_tokens=16, batch_tokens=64, pack=True))
    assert rows == 10
