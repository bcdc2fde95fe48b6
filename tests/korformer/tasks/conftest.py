from collections.abc import Callable
from pathlib import Path

import pytest

from korformer.supervised.task import Reader
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

TEXTS = ["등대지기는 아침이면 유리를 닦았다.", "바람이 센 날에는 종을 울렸다.", "골목은 조용하고 길은 멀었다."]


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return train_vocabulary(TEXTS * 3, VocabularySettings(size=500))


@pytest.fixture
def reader(vocabulary: Vocabulary) -> Reader:
    return Reader(vocabulary=vocabulary, max_tokens=32)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes a text under a name; the path as text."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write
