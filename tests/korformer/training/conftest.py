import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from korformer.data.store import build_store
from korformer.text.wordpiece import VocabularySettings, train_vocabulary
from korformer.training.engine import TrainingData

SUBJECTS = ("고양이가", "할머니가", "바람이", "어부가", "아이가", "선생님이", "강아지가")
PLACES = ("마당에서", "바닷가에서", "골목에서", "부엌에서", "시장에서")
VERBS = ("천천히 걸어간다.", "조용히 노래한다.", "오래 쉬었다.", "밥을 먹었다.", "웃으며 돌아왔다.")


def documents() -> list[str]:
    """Some eighty short original texts."""
    lines = [f"{s} {p} {v}" for s in SUBJECTS for p in PLACES for v in VERBS]
    return ["\n".join(lines[i : i + 2 + i % 3]) for i in range(0, len(lines), 2)]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder: Path = tmp_path_factory.mktemp("training")
    vocabulary = train_vocabulary(documents(), VocabularySettings(size=600))
    return TrainingData(
        store=build_store(documents(), vocabulary, folder / "train"),
        valid=build_store(documents()[::9], vocabulary, folder / "valid"),
        vocabulary=vocabulary,
        sources=("짧은 글.txt",),
    )


class Forks:
    """Runs in processes of their own, which may be killed; see forked.py."""

    def __init__(self, data: TrainingData, folder: Path) -> None:
        assert data.valid is not None
        data.vocabulary.save_files(folder)
        self._places = {
            "store": str(data.store.path), "valid": str(data.valid.path), "vocabulary": str(folder),
        }  # fmt: skip
        self._program = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "forked.py")],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, path: Path, objective: str, values: dict[str, Any], **order: Any) -> dict[str, Any]:
        """Train in `path`; what comes of it."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        asked = {"path": str(path), "objective": objective, "values": values, **self._places, **order}
        self._program.stdin.write(json.dumps(asked) + "\n")
        self._program.stdin.flush()
        answer: dict[str, Any] = json.loads(self._program.stdout.readline())
        return answer

    def close(self) -> None:
        """End the program."""
        self._program.communicate()


@pytest.fixture(scope="session")
def forks(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    program = Forks(data, tmp_path_factory.mktemp("forks"))
    yield program
    program.close()
