from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korformer.errors import UsageError
from korformer.training.lengths import StepShape, length_at, length_problems, step_shape
from korformer.training.settings import run_settings


def test_each_length_has_an_equal_part_of_the_beginning() -> None:
    lengths = [
        length_at(step, steps=100, pack_tokens=5120, warmup_lengths=(512, 1024), warmup_share=0.2)
        for step in range(1, 101)
    ]
    assert lengths == [512] * 10 + [1024] * 10 + [5120] * 80
    assert length_at(1, steps=100, pack_tokens=64, warmup_lengths=(), warmup_share=0.2) == 64
    assert length_at(1, steps=3, pack_tokens=64, warmup_lengths=(16, 32), warmup_share=0.2) == 16


@given(
    length=st.sampled_from([16, 32, 48, 64, 96, 192]),
    micro_batch=st.integers(1, 9),
    passes=st.integers(1, 5),
)
def test_a_step_has_as_many_tokens_and_a_pass_no_more(length: int, micro_batch: int, passes: int) -> None:
    shape = step_shape(length, pack_tokens=192, micro_batch=micro_batch, passes=passes)
    assert shape.pack_tokens == length
    assert shape.rows * shape.passes * length == micro_batch * passes * 192
    assert shape.rows * length <= micro_batch * 192
    assert step_shape(192, pack_tokens=192, micro_batch=3, passes=2) == StepShape(192, 3, 2)


def test_illegal_lengths_are_told_with_the_nearest_legal_one() -> None:
    assert length_problems((512, 1024, 2560), pack_tokens=5120, step_sequences=4) == []
    problems = length_problems((600, 512, 5120), pack_tokens=5120, step_sequences=1)
    assert [problem.removeprefix("data.warmup_lengths: ") for problem in problems] == [
        "600 does not divide the 5,120 tokens of a step (batch_size x accumulate x max_seq_len); nearest: 640",
        "5120 is not shorter than the full length (pack_tokens or max_seq_len), 5120",
        "they do not grow; in order: 512, 600, 5120",
    ]
    with pytest.raises(UsageError, match=r"max_seq_len.*48 does not divide the 512 tokens of a step .*; nearest: 32"):
        run_settings(
            "ar",
            {
                "model": {"max_seq_len": 64, "bucket_size": 8},
                "data": {"warmup_lengths": [48], "pack_tokens": 128},
                "training": {"batch_size": 4},
            },
        )
