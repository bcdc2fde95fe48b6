"""Help for tests of readers: documents of bytes that lie in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from korformer.events import Event, Notice
from korformer.text import files, reading
from korformer.text.documents import Documents, ReadSettings


class Reading:
    """What reading one file came to."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.events: list[Event] = []
        self.documents = Documents([str(path)], ReadSettings(**settings), listen=self.events.append)
        self.texts = list(self.documents)
        self.counts = self.documents.counts

    @property
    def kind(self) -> str:
        """The kind of source that was detected."""
        notices = [event.text for event in self.events if isinstance(event, Notice)]
        told = next(notice for notice in notices if "--from" in notice)
        return told.rpartition("--from ")[2].rstrip(")")

    @property
    def warnings(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice) and event.level == "warning"]


@pytest.fixture
def arriving(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the bytes of plain files arrive a few at a time, and no more be looked at than arrives."""

    def set_size(size: int) -> None:
        monkeypatch.setattr(files, "CHUNK_BYTES", size)
        monkeypatch.setattr(files.InputStream, "_first_block", lambda stream: stream._read(size))
        monkeypatch.setattr(reading, "HEAD_CHARACTERS", 1)

    return set_size


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Reading]:
    """Write `data` to a file and read it, with settings as keywords."""

    def read_one(data: str | bytes, name: str = "source", **settings: Any) -> Reading:
        path = tmp_path / name
        path.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
        return Reading(path, settings)

    return read_one
