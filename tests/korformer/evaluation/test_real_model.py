"""Measuring a Reformer with a lossless vocabulary: nothing depends on what shares a row or a batch."""

from __future__ import annotations

import math

import pytest
import torch

from korformer.evaluation.language_model import LmSettings, evaluate_lm, token_characters
from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

TEXTS = [
    "첫눈이 내린 아침, 아이들은 장갑도 없이 뛰어나왔다.\n\n눈사람은 해가 지도록 서 있었다. " * 4,
    "가게 문을 닫고 ☕ 한 잔",
    "낯선 글자: 뷁 쀍 \t### 제목 [SEP] café 🧑‍🚀",
    "기차는 들판을 지나 강을 건너고, 다시 산을 돌아 바다에 닿았다. " * 9,
    "끝",
]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return train_vocabulary(TEXTS * 2, VocabularySettings(size=600))


@pytest.fixture(scope="module")
def model(vocabulary: Vocabulary) -> ReformerModel:
    config = ModelConfig(
        dim=16, depth=2, heads=2, max_seq_len=64, bucket_size=8, n_hashes=2, n_local_attn_heads=1, local_window=16
    )
    model = ReformerModel(config, vocabulary.size)
    model.initialise(3)
    return model.double()


def test_characters_of_tokens_add_up_to_the_text(vocabulary: Vocabulary) -> None:
    characters = token_characters(vocabulary)
    assert characters is not None
    for text, ids in zip(TEXTS, vocabulary.encode_batch(TEXTS, add_special_tokens=True), strict=True):
        assert characters[ids].sum() == len(text)


def test_each_document_by_itself_gives_the_same_bits(vocabulary: Vocabulary, model: ReformerModel) -> None:
    with torch.no_grad():
        together = evaluate_lm(model, vocabulary, TEXTS)
        alone = [evaluate_lm(model, vocabulary, [text], LmSettings(batch_tokens=1)) for text in TEXTS]
    assert together.bits == pytest.approx(sum(result.bits for result in alone), rel=1e-6)
    assert together.not_comparable is None


def test_the_bits_are_those_of_plain_forward_passes(vocabulary: Vocabulary, model: ReformerModel) -> None:
    expected = 0.0
    model.eval()
    for ids in vocabulary.encode_batch(TEXTS, add_special_tokens=True):
        start = counted = 0
        while counted < len(ids) - 1:
            window = torch.tensor([ids[start : min(start + 64, len(ids) - 1)]])
            with torch.no_grad():
                scores = torch.log_softmax(model.logits(model(window)).double(), dim=-1)[0]
            for index in range(counted - start, window.shape[1]):
                expected -= float(scores[index, ids[start + index + 1]]) / math.log(2)
            counted = start + window.shape[1]
            start += 32
    assert evaluate_lm(model, vocabulary, TEXTS).bits == pytest.approx(expected, rel=1e-6)
