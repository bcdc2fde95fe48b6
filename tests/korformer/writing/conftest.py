"""A small model that can be opened, and an engine whose messages are kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from korformer.model.backbone import ReformerModel
from korformer.model.config import ModelConfig
from korformer.model.directory import LoadedModel, load_model, parameters_to_save, publish, write_description
from korformer.text.wordpiece import VocabularySettings, train_vocabulary
from korformer.writing.engine import Engine
from korformer.writing.messages import GenerationEnded, Message
from korformer.writing.records import Candidate, TokenRecord

TEXTS = [
    "등대지기는 해가 지면 불을 켰다. 바다는 조용했고, 배는 한 척도 없었다.\n\n그는 오래된 공책을 폈다.",
    "할머니는 감나무 아래에 앉아 옛날이야기를 시작했다. 아이들은 숨을 죽이고 들었다.",
    "기차가 떠난 뒤 역에는 고양이 한 마리만 남았다. 고양이는 시계를 올려다보았다. 12시 30분이었다.",
]
Found = TypeVar("Found", bound=Message)


def make_model(directory: Path, *, training: dict[str, Any] | None = None, **shape: Any) -> Path:
    """A model directory with drawn weights."""
    vocabulary = train_vocabulary(TEXTS * 3, VocabularySettings(size=620))
    config = ModelConfig(
        **{"dim": 16, "depth": 2, "heads": 2, "max_seq_len": 64, "bucket_size": 8, "n_hashes": 2, **shape}
    )
    model = ReformerModel(config, vocabulary.size)
    model.initialise(1)
    for parameter in model.parameters():  # large enough for what is read to matter
        parameter.data.mul_(6.0)
    directory.mkdir()
    write_description(directory, model, vocabulary, objective="ar", training=training or {})
    publish(directory, parameters_to_save(model), "# a model for tests\n")
    return directory


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("writing") / "small")


@pytest.fixture(scope="session")
def filling_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("writing") / "filling", training={"objective": {"fim_rate": 0.5}})


@pytest.fixture(scope="session")
def loaded(model_path: Path) -> LoadedModel:
    return load_model(model_path)


@pytest.fixture
def model_maker() -> Callable[..., Path]:
    """Makes a model directory: `model_maker(path, training=…, max_seq_len=…)`."""
    return make_model


class Heard:
    """The messages of an engine, waited for."""

    def __init__(self) -> None:
        self.batches: list[tuple[Message, ...]] = []
        self._news = threading.Condition()

    def __call__(self, batch: tuple[Message, ...]) -> None:
        with self._news:
            self.batches.append(batch)
            self._news.notify_all()

    @property
    def all(self) -> list[Message]:
        with self._news:
            return [message for batch in self.batches for message in batch]

    def of(self, kind: type[Found]) -> list[Found]:
        return [message for message in self.all if isinstance(message, kind)]

    def wait(self, kind: type[Found], count: int = 1, seconds: float = 60.0) -> Found:
        """The `count`-th message of a kind."""
        deadline = time.monotonic() + seconds
        with self._news:
            while True:
                found = [message for batch in self.batches for message in batch if isinstance(message, kind)]
                if len(found) >= count:
                    return found[count - 1]
                if not self._news.wait(deadline - time.monotonic()):
                    raise AssertionError(
                        f"no {kind.__name__} came; {[type(m).__name__ for b in self.batches for m in b]}"
                    )

    def ended(self, generation: int) -> GenerationEnded:
        deadline = time.monotonic() + 60.0
        with self._news:
            while True:
                for batch in self.batches:
                    for message in batch:
                        if isinstance(message, GenerationEnded) and message.generation == generation:
                            return message
                assert self._news.wait(deadline - time.monotonic()), "the generation did not end"


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def engine(heard: Heard) -> Iterator[Engine]:
    engine = Engine(heard, messages_a_second=1000.0)
    yield engine
    assert engine.close(timeout=60.0)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions and presets of nobody else."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def tokens() -> Callable[..., tuple[TokenRecord, ...]]:
    """Makes records of tokens with the given texts."""

    def make(*texts: str) -> tuple[TokenRecord, ...]:
        return tuple(
            TokenRecord(
                token_id=10 + number,
                text=text,
                logprob=-0.5,
                filtered_probability=0.75,
                entropy=1.25,
                candidates=(
                    Candidate(token_id=10 + number, text=text, probability=0.6, filtered_probability=0.75, kept=True),
                    Candidate(token_id=99, text="##<0xEA>", probability=0.01, filtered_probability=0.0, kept=False),
                ),
            )
            for number, text in enumerate(texts)
        )

    return make
