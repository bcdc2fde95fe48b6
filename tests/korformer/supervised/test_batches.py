from collections.abc import Callable

import numpy as np
import pytest
import torch

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.supervised.batches import ROW_TOKENS, Window, collate, passes
from korformer.text.vocabulary import Vocabulary


def windows(*lengths: int, seed: int = 0) -> list[Window]:
    generator = np.random.default_rng(seed)
    return [
        Window(
            example=number,
            tokens=generator.integers(5, 300, length),
            segments=generator.integers(0, 2, length) if number % 2 else None,
        )
        for number, length in enumerate(lengths)
    ]


def test_rows_hold_every_token_once_each_window_a_document_that_begins_at_position_zero() -> None:
    given = windows(3, 40, 7, 1, 12)
    batch = collate(given, share_rows=True)
    assert batch.tokens_BT.shape == (1, 63)
    assert batch.real_tokens == 63
    assert batch.lengths.tolist() == [3, 40, 7, 1, 12]
    assert (batch.documents_BT.diff(dim=1) >= 0).all()
    for number, window in enumerate(given):
        places = batch.places_WL[number][batch.mask_WL[number]]
        assert batch.tokens_BT.flatten()[places].tolist() == window.tokens.tolist()
        assert batch.positions_BT.flatten()[places].tolist() == list(range(len(window)))
        assert len(set(batch.documents_BT.flatten()[places].tolist())) == 1
        expected = [0] * len(window) if window.segments is None else window.segments.tolist()
        assert batch.segments_BT.flatten()[places].tolist() == expected


def test_rows_are_as_long_as_the_longest_window_or_the_row_that_short_ones_share() -> None:
    assert collate(windows(*[20] * 100), share_rows=True).tokens_BT.shape[1] <= ROW_TOKENS
    assert collate(windows(900, 20, 20), share_rows=True).tokens_BT.shape == (2, 900)
    alone = collate(windows(9, 4), share_rows=False)
    assert alone.documents_BT.tolist() == [[0] * 9, [0] * 4 + [-1] * 5]


def test_padding_lies_behind_and_belongs_to_no_document() -> None:
    batch = collate(windows(300, 300, 30), share_rows=True)
    padding = batch.documents_BT == -1
    assert int(padding.sum()) == batch.tokens_BT.numel() - 630
    assert not (padding[:, :-1] & ~padding[:, 1:]).any()


@pytest.mark.parametrize("share_rows", [True, False])
def test_passes_take_every_window_once_and_like_lengths_together(share_rows: bool) -> None:
    given = windows(5, 60, 9, 200, 8, 61, 7)
    found = list(passes(given, pass_tokens=130, share_rows=share_rows))
    assert sorted(number for numbers in found for number in numbers) == list(range(7))
    assert [3] in found
    for numbers in found:
        lengths = [len(given[number]) for number in numbers]
        tokens = sum(lengths) if share_rows else max(lengths) * len(lengths)
        assert len(numbers) == 1 or tokens <= 130


@pytest.mark.parametrize(
    "options", [{}, {"attention": "local"}, {"causal": True, "attention": "causal_lsh", "segments": 0}]
)
def test_a_window_reads_the_same_alone_and_beside_others(
    vocabulary: Vocabulary, shaped: Callable[..., ModelConfig], options: dict[str, object]
) -> None:
    model = ReformerModel(shaped(**options), vocabulary.size)
    model.initialise(0)
    given = windows(30, 5, 17, 1, 9)

    def read(some: list[Window], *, share_rows: bool) -> list[torch.Tensor]:
        batch = collate(some, share_rows=share_rows)
        segments = {"segments_BT": batch.segments_BT} if model.config.segments else {}
        with torch.no_grad():
            hidden = model(
                batch.tokens_BT, documents_BT=batch.documents_BT, positions_BT=batch.positions_BT, **segments
            )
        by_window = batch.by_window(hidden)
        assert not by_window[~batch.mask_WL].any()
        return [by_window[number, : len(window)] for number, window in enumerate(some)]

    together, padded = read(given, share_rows=True), read(given, share_rows=False)
    for window, one, other in zip(given, together, padded, strict=True):
        (alone,) = read([window], share_rows=False)
        torch.testing.assert_close(one, alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(other, alone, rtol=1e-4, atol=1e-5)
