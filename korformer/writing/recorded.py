"""The part of a session that hands over what was done: its versions, the facts beside its text, and its actions."""

from __future__ import annotations

import threading
from typing import Any

from korformer.config import build
from korformer.generation.settings import SamplingSettings
from korformer.writing.tree import Change, Node
from korformer.writing.versions import Action, Versions


class Recorded:
    """Versions that every action is done to, and remembered of.

    Args:
        versions: those of a session that is opened again; none where not given.
    """

    def __init__(self, versions: Versions | None = None) -> None:
        self._versions = Versions() if versions is None else versions
        self._tree = self._versions.tree
        self._text: str | None = None
        self._run: Node | None = None
        self._new: list[Action] = []
        self._lock = threading.Lock()

    # The text

    @property
    def text(self) -> str:
        """All of it. Putting it together takes as long as copying it, once after every change."""
        if self._text is None:
            self._text = self._tree.table.text()
        return self._text

    @property
    def length(self) -> int:
        """Characters of the text."""
        return self._tree.table.length

    def slice(self, start: int, end: int) -> str:
        """The characters between two places; costs no more than they do."""
        return self._tree.table.text(start, end)

    @property
    def title(self) -> str:
        """The beginning of the text, for lists."""
        return next((line.strip()[:60] for line in self.slice(0, 2000).splitlines() if line.strip()), "")

    def _do(self, action: Action) -> Change:
        with self._lock:
            change = self._versions.do(action)
            self._new.append(action)
        if not change.nothing:
            self._text = None
        if action["op"] not in {"grow", "widen", "set", "end"}:
            self._run = None
        return change

    # Facts beside the text

    @property
    def settings(self) -> SamplingSettings:
        """Of the sampler."""
        return build(SamplingSettings, self._versions.facts.get("settings", {}), where="session: settings")

    @settings.setter
    def settings(self, settings: SamplingSettings) -> None:
        self._fact("settings", settings.model_dump(mode="json", exclude_defaults=True))

    @property
    def cursor(self) -> int:
        """Where the cursor was put last, at most at the end of the text."""
        return min(int(self._versions.facts.get("cursor", self.length)), self.length)

    @cursor.setter
    def cursor(self, at: int) -> None:
        self._fact("cursor", at)

    @property
    def model(self) -> str | None:
        """Path of the checkpoint that was used last."""
        return self._versions.facts.get("model")

    @model.setter
    def model(self, path: str | None) -> None:
        self._fact("model", path)

    @property
    def hashes(self) -> int | None:
        """Rounds of hashing that the model works with; None for those that it was trained with."""
        return self._versions.facts.get("hashes")

    @hashes.setter
    def hashes(self, hashes: int | None) -> None:
        self._fact("hashes", hashes)

    @property
    def file(self) -> str | None:
        """Path of the text file that this is a session of."""
        return self._versions.facts.get("file")

    @file.setter
    def file(self, path: str | None) -> None:
        self._fact("file", path)

    @property
    def file_digest(self) -> str | None:
        """What that file held when it was read or written last, as SHA-256."""
        return self._versions.facts.get("file_digest")

    @file_digest.setter
    def file_digest(self, digest: str | None) -> None:
        self._fact("file_digest", digest)

    def _fact(self, name: str, value: object) -> None:
        if self._versions.facts.get(name) != value:
            self._do({"op": "set", name: value})

    # For its file

    def take_actions(self) -> list[Action]:
        """What was done since the last call, in order; may be called from any thread."""
        with self._lock:
            taken, self._new = self._new, []
        return taken

    def give_back(self, actions: list[Action]) -> None:
        """Put actions back that could not be saved."""
        with self._lock:
            self._new = [*actions, *self._new]

    def take_all(self) -> list[Action]:
        """The fewest actions that give the whole session again, which `take_actions` then knows as taken."""
        with self._lock:
            self._new = []
            return list(self._versions.compact())

    def summary(self) -> dict[str, Any]:
        """What lists show of it; may be called from any thread."""
        with self._lock:
            return {"title": self.title, "characters": self.length, "model": self.model, "file": self.file}

    @property
    def versions(self) -> Versions:
        """All of it, to be looked at only."""
        return self._versions
