from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from korformer.data.infilling import lay_out
from korformer.data.store import build_store
from korformer.errors import InputError
from korformer.evaluation.infilling import MOST_WORDS, middle_bits, sample_gaps
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.text.vocabulary import CLS_ID, Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

TEXTS = [
    " ".join(f"{subject} {place}에서 {verb}" for subject in ("고양이가", "바람이", "할머니가") for place in places)
    for places in (("마당", "골목", "시장"), ("부엌", "강가"), ("산", "바다", "들", "길"))
    for verb in ("쉬었다.", "노래한다.")
]


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    return train_vocabulary(TEXTS, VocabularySettings(size=500))


@pytest.fixture(scope="module")
def model(words: Vocabulary) -> ReformerModel:
    reformer = ReformerModel(ModelConfig(dim=16, depth=1, heads=2, max_seq_len=64, bucket_size=8), words.size)
    reformer.initialise(3)
    return reformer.eval()


def test_gaps_are_words_inside_one_document(tmp_path: Path, words: Vocabulary) -> None:
    store = build_store(TEXTS, words, tmp_path / "store")
    gaps = sample_gaps(store, words, examples=60, context_tokens=40, seed=1)
    assert len(gaps) > 50
    again = sample_gaps(store, words, examples=60, context_tokens=40, seed=1)
    assert all(np.array_equal(one.middle, other.middle) for one, other in zip(gaps, again, strict=True))
    for gap in gaps:
        parts = [words.decode(part.tolist()) for part in (gap.prefix, gap.middle, gap.suffix)]
        text = "".join(parts)
        assert sum(text in whole for whole in TEXTS) >= 1
        assert gap.begins <= any(whole.startswith(text) for whole in TEXTS)
        assert 1 <= len(parts[1].split()) <= MOST_WORDS
        assert parts[1].startswith(" ")
        assert parts[2].startswith(" ")
        assert words.encode_batch(parts) == [gap.prefix.tolist(), gap.middle.tolist(), gap.suffix.tolist()]
        assert len(gap.prefix) + len(gap.middle) + len(gap.suffix) + 4 <= 40
    assert {gap.begins for gap in gaps} == {True, False}


def test_only_the_middle_counts_in_every_order(tmp_path: Path, words: Vocabulary, model: ReformerModel) -> None:
    store = build_store(TEXTS, words, tmp_path / "store")
    gaps = sample_gaps(store, words, examples=12, context_tokens=50, seed=2)
    for order in ("left_to_right", "prefix_first", "suffix_first"):
        bits, characters = middle_bits(model, words, gaps, order)
        for number, gap in enumerate(gaps):
            size = len(gap.middle)
            assert characters[number] == len(words.decode(gap.middle.tolist()))
            shown = [*([CLS_ID] if gap.begins else []), *gap.prefix.tolist(), *gap.middle.tolist()]
            behind = 0
            if order != "left_to_right":
                slots = len(shown) + len(gap.suffix) + 3
                first = order == "suffix_first"
                parts = (gap.prefix, gap.middle, gap.suffix)
                laid = lay_out(*parts, slots=slots, begins=gap.begins, suffix_first=first)
                assert laid is not None
                shown, behind = [*laid[0].tolist(), int(laid[1][-1])], 1
            ids = torch.tensor([shown])
            with torch.no_grad():
                logs = torch.log_softmax(model.logits(model(ids)), dim=-1)[0]
            first_place = len(shown) - behind - size
            places = range(first_place, first_place + size)
            expected = -sum(float(logs[place - 1, shown[place]]) for place in places) / np.log(2)
            assert bits[number] == pytest.approx(expected, abs=1e-3)


def test_texts_without_room_for_a_gap_are_refused(tmp_path: Path, words: Vocabulary) -> None:
    store = build_store(["짧은 글", "또 하나"], words, tmp_path / "store")
    with pytest.raises(InputError, match="long enough"):
        sample_gaps(store, words, examples=20, context_tokens=40)
