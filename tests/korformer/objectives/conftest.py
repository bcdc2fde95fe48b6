from __future__ import annotations

import pytest

from korformer.data.store import build_store
from korformer.data.token_store import TokenStore
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

SUBJECTS = ("고양이가", "할머니가", "바람이", "어부가", "아이가", "선생님이", "강아지가")
PLACES = ("마당에서", "바닷가에서", "골목에서", "부엌에서", "시장에서")
VERBS = ("천천히 걸어간다.", "조용히 노래한다.", "오래 쉬었다.", "밥을 먹었다.", "웃으며 돌아왔다.")


def documents() -> list[str]:
    """Some eighty short texts."""
    lines = [f"{s} {p} {v}" for s in SUBJECTS for p in PLACES for v in VERBS]
    return ["\n".join(lines[i : i + 2 + i % 3]) for i in range(0, len(lines), 2)]


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return train_vocabulary(documents(), VocabularySettings(size=560))


@pytest.fixture(scope="session")
def store(vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return build_store(documents(), vocabulary, tmp_path_factory.mktemp("objectives") / "store")
