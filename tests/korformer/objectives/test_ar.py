import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from korformer.data.packing import Packs, PackSampler
from korformer.data.store import build_store
from korformer.errors import UsageError
from korformer.events import ignore
from korformer.model.backbone import TrainingDraw
from korformer.model.config import ModelConfig
from korformer.objectives.ar import OBJECTIVE, ArLearner, ArSettings
from korformer.text.vocabulary import MASK_ID
from korformer.text.wordpiece import VocabularySettings, train_vocabulary
from korformer.training.settings import run_settings

SHAPE: dict[str, Any] = {"dim": 16, "depth": 1, "heads": 2, "max_seq_len": 32, "bucket_size": 4}


class TwentyTokens:
    size = 20


def test_loss_is_the_mean_over_tokens_with_a_next_one() -> None:
    learner = OBJECTIVE.learner(ModelConfig(**SHAPE), ArSettings(), cast(Any, TwentyTokens()))
    learner.initialise(0)
    tokens = np.array([[2, 7, 8, 3, 2, 9, 3, 0]])
    targets = np.array([[7, 8, 3, -100, 9, 3, -100, -100]])
    packs = Packs(
        tokens=tokens,
        targets=targets,
        documents=np.array([[0, 0, 0, 0, 1, 1, 1, -1]], dtype=np.int32),
        positions=np.array([[0, 1, 2, 3, 0, 1, 2, 0]], dtype=np.int32),
    )
    draw = TrainingDraw(seed=0, step=1, samples=range(1))
    batch = learner.loss(packs, draw)
    assert batch.terms["tokens"].count == 5
    assert learner.predicted(packs, draw) == {"tokens": 5}
    with torch.no_grad():
        hidden = learner.model(
            torch.from_numpy(tokens),
            documents_BT=torch.from_numpy(packs.documents),
            positions_BT=torch.from_numpy(packs.positions).long(),
            draw=draw,
        )
        each = -torch.log_softmax(learner.model.logits(hidden), dim=-1)[0]
    expected = sum(float(each[t, target]) for t, target in enumerate(targets[0]) if target >= 0) / 5
    assert math.isclose(float(batch.mean.detach()), expected, rel_tol=1e-5)


def test_what_is_trained_is_the_model_under_its_own_names() -> None:
    learner = ArLearner(ModelConfig(**SHAPE), ArSettings(), cast(Any, TwentyTokens()))
    assert dict(learner.module.named_parameters()) == dict(learner.model.lm.named_parameters())


def test_an_encoder_would_see_what_it_is_to_predict() -> None:
    with pytest.raises(UsageError, match=r"set model.causal = true"):
        run_settings("ar", {"model": {"causal": False, "attention": "lsh"}})


TEXTS = [
    f"{who} {where}에서 오래 쉬었다. 그리고 {who} 다시 {where} 쪽으로 천천히 걸어갔다."
    for who in ("고양이가", "아이가", "바람이", "할머니가")
    for where in ("마당", "골목", "시장", "부엌", "강가")
]


def test_filling_in_the_middle_is_trained_and_measured(tmp_path: Path) -> None:
    """At rate 0 the packs are as ever; above it [MASK] comes and is never a target, and middles are measured."""
    vocabulary = train_vocabulary(TEXTS, VocabularySettings(size=500))
    store = build_store(TEXTS, vocabulary, tmp_path / "store")
    config = ModelConfig(**{**SHAPE, "max_seq_len": 64, "bucket_size": 8})
    never, often = (OBJECTIVE.learner(config, ArSettings(fim_rate=rate), vocabulary) for rate in (0, 0.7))
    plain = PackSampler(store, pack_tokens=64, seed=1).next_packs(8)
    same, changed = (each.sampler(store, pack_tokens=64, seed=1).next_packs(8) for each in (never, often))
    assert np.array_equal(same.tokens, plain.tokens)
    assert np.array_equal(same.targets, plain.targets)
    assert MASK_ID in changed.tokens
    assert MASK_ID not in changed.targets
    draw = TrainingDraw(seed=0, step=1, samples=range(8))
    assert often.predicted(changed, draw)["tokens"] < never.predicted(same, draw)["tokens"]
    for learner, expected in ((never, False), (often, True)):
        learner.initialise(1)
        figures = learner.validate(store, vocabulary, max_tokens=500, listen=ignore)
        assert figures["bits_per_character"] > 0
        assert figures.get("middle_bits_per_character", 0) > 0 or not expected
        assert ("middle_bits_per_character" in figures) is expected


def test_a_lossy_vocabulary_cannot_tell_characters(tmp_path: Path) -> None:
    bert = train_vocabulary(["봄이 오면 꽃이 핀다"] * 3, VocabularySettings(size=30, scheme="bert"))
    learner = OBJECTIVE.learner(ModelConfig(**SHAPE), ArSettings(fim_rate=0.5), bert)
    with pytest.raises(UsageError, match="lossless"):
        learner.sampler(build_store(TEXTS, bert, tmp_path / "store"), pack_tokens=16, seed=0)
