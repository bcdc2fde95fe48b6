from __future__ import annotations

import numpy as np
import pytest
import torch

from korformer.writing.lens import PASSAGE_CHARACTERS, mean_attention, passages

TEXT = "등대가 섰다. 배가 왔다!\n\n고양이는 잔다. 끝"


def places(*pairs: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([start for start, _ in pairs]), np.array([end for _, end in pairs])


def test_tokens_of_a_sentence_are_a_passage() -> None:
    starts, ends = places((0, 0), (0, 3), (3, 7), (7, 10), (10, 14), (16, 20), (20, 24))
    weights = np.array([0.5, 0.05, 0.1, 0.02, 0.01, 0.2, 0.12])
    found = passages(TEXT, weights, starts, ends, most=2)
    assert [TEXT[passage.start : passage.end] for passage in found] == ["고양이는 잔다.", "등대가 섰다. "]
    assert [passage.weight for passage in found] == pytest.approx([0.32, 0.15])
    assert [TEXT[passage.peak_start : passage.peak_end] for passage in found] == ["고양이는", " 섰다."]


def test_long_sentences_are_cut() -> None:
    text = "가" * (3 * PASSAGE_CHARACTERS)
    starts = np.arange(len(text))
    found = passages(text, np.full(len(text), 1.0), starts, starts + 1, most=9)
    assert [(passage.start, passage.end) for passage in found] == [(0, 160), (160, 320), (320, 480)]


def test_a_full_stop_behind_a_digit_ends_no_passage() -> None:
    text = "너비는 1.5cm, 원색에는 1.\n2.5배다. 끝?"
    starts = np.arange(len(text))
    found = passages(text, np.full(len(text), 1.0), starts, starts + 1, most=9)
    assert sorted(text[passage.start : passage.end] for passage in found) == [
        "2.5배다. ",
        "끝?",
        "너비는 1.5cm, 원색에는 1.\n",
    ]


def test_nothing_to_show() -> None:
    nothing = np.zeros(0)
    assert passages(TEXT, nothing, nothing, nothing, most=3) == ()
    starts, ends = places((0, 0), (0, 3))
    assert passages(TEXT, np.array([1.0, 0.0]), starts, ends, most=3) == ()


def test_the_mean_of_heads_and_layers() -> None:
    layers = [torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])]
    assert mean_attention(lambda layer: layers[layer], 2).tolist() == [0.375, 0.625]


def test_blank_lines_are_no_passages() -> None:
    text = "앞.\n\n뒤."
    starts, ends = places((0, 2), (2, 4), (4, 6))
    found = passages(text, np.array([0.2, 0.5, 0.3]), starts, ends, most=2)
    assert [text[passage.start : passage.end] for passage in found] == ["뒤.", "앞."]
