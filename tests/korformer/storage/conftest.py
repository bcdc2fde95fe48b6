"""Calls of the operating system that fail, die or are written down at will."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CALLS = ("open", "write", "fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "close")


class Faults:
    """Makes call number `nth` of the guarded functions of `os` fail (and all later ones, if `persistent`)."""

    def __init__(self) -> None:
        self.seen = 0

    @contextmanager
    def failing(self, nth: int, number: int, *, persistent: bool) -> Iterator[None]:
        self.seen = 0
        real = {name: getattr(os, name) for name in CALLS}

        def guard(name: str) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                self.seen += 1
                if self.seen == nth or (persistent and self.seen > nth):
                    if name == "close":  # a failing close still closes
                        real["close"](*arguments)
                    raise OSError(number, os.strerror(number))
                return real[name](*arguments, **named)

            return call

        try:
            for name in CALLS:
                setattr(os, name, guard(name))
            yield
        finally:
            for name in CALLS:
                setattr(os, name, real[name])


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power cut comes: syncing would only make the tests slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
