from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from korformer.config import merge
from korformer.finetuning.settings import FinetuneSettings, finetune_settings
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

GOOD, BAD = ("좋다", "재미있다", "훌륭하다", "즐겁다"), ("나쁘다", "지루하다", "아깝다", "슬프다")
FILLING = ("정말", "아주", "오늘 본 것이", "이 영화는", "끝까지", "배우가")
SHAPE: dict[str, Any] = {
    "dim": 16, "depth": 1, "heads": 2, "max_seq_len": 32, "bucket_size": 8, "causal": False, "attention": "full",
    "axial_position_emb": False,
}  # fmt: skip


def reviews(begin: int, end: int) -> list[tuple[str, str]]:
    """Some of a few hundred short texts with labels that a word decides."""
    found = []
    for number in range(begin, end):
        words, label = ((GOOD, "1"), (BAD, "0"))[number % 2]
        filling = " ".join(FILLING[(number * k) % len(FILLING)] for k in (1, 5, 7))
        found.append((f"{filling} {words[(number // 2) % 4]}", label))
    return found


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return train_vocabulary([text for text, _ in reviews(0, 60)], VocabularySettings(size=500))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Training and validation data of `classify`, and plain text."""
    folder: Path = tmp_path_factory.mktemp("examples")
    for name, some in (("train", reviews(0, 40)), ("valid", reviews(40, 60))):
        rows = "".join(f"{text}\t{label}\n" for text, label in some)
        (folder / f"{name}.tsv").write_text(rows, encoding="utf-8")
        texts = "".join(f"{text}\n\n" for text, _ in some)
        (folder / f"{name}.txt").write_text(texts, encoding="utf-8")
    return {name: [str(folder / name)] for name in ("train.tsv", "valid.tsv", "train.txt", "valid.txt")}


@pytest.fixture
def settled() -> Callable[..., FinetuneSettings]:
    """Settings of a tiny run; keywords are sections over them."""

    def make(task: str = "classify", **sections: Any) -> FinetuneSettings:
        tiny = {"model": SHAPE, "training": {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "device": "cpu"}}
        return finetune_settings(task, merge(tiny, sections))

    return make
