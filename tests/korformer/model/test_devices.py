"""Devices by their names, those that are not there included."""

import pytest
import torch

from korformer.errors import UsageError
from korformer.model.devices import choose_device


def pretend(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


@pytest.mark.parametrize(
    ("wanted", "gpus", "expected"),
    [("auto", 0, "cpu"), ("auto", 1, "cuda"), ("cpu", 1, "cpu"), ("cuda", 2, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_a_name_gives_a_device(wanted: str, gpus: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(gpus, monkeypatch)
    assert str(choose_device(wanted)) == expected


@pytest.mark.parametrize(
    ("wanted", "gpus", "told"),
    [
        ("cuda", 0, "no CUDA device"),
        ("cuda:2", 2, "counted from 0"),
        ("gpu", 1, "no such device: gpu"),
        ("cpu:1", 1, "no such device"),
        ("cuda:x", 1, "no such device"),
        ("", 1, "no such device"),
    ],
)
def test_what_is_not_there_is_told(wanted: str, gpus: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(gpus, monkeypatch)
    with pytest.raises(UsageError, match=told):
        choose_device(wanted)
