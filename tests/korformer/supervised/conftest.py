from collections.abc import Callable
from pathlib import Path

import pytest

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.supervised.task import Reader
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

TEXTS = [
    "등대지기는 아침이면 유리를 닦고 저녁이면 불을 켰다.",
    "시장 골목의 생선 장수는 새벽마다 얼음을 깨었다.",
    "바람이 센 날에는 종을 울렸고 사람들은 천천히 걸었다.",
]
SHAPE = {
    "dim": 16, "depth": 2, "heads": 2, "max_seq_len": 64, "bucket_size": 8, "causal": False, "attention": "full",
    "segments": 2, "axial_position_emb": False,
}  # fmt: skip


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return train_vocabulary(TEXTS * 3, VocabularySettings(size=500))


@pytest.fixture
def reader(vocabulary: Vocabulary) -> Reader:
    return Reader(vocabulary=vocabulary, max_tokens=64)


@pytest.fixture
def shaped() -> Callable[..., ModelConfig]:
    """A tiny shape; keywords replace its values."""

    def make(**options: object) -> ModelConfig:
        return ModelConfig.model_validate({**SHAPE, **options})

    return make


@pytest.fixture
def model(vocabulary: Vocabulary, shaped: Callable[..., ModelConfig]) -> ReformerModel:
    made = ReformerModel(shaped(), vocabulary.size)
    made.initialise(1)
    return made.eval()


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., str]:
    """Writes rows of cells as a tab-separated file."""

    def write(name: str, *rows: tuple[str, ...]) -> str:
        path = tmp_path / name
        path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write
