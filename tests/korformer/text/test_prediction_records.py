"""Files of predictions: one JSON object by id, or JSON lines with ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from korformer.errors import InputError, PathError
from korformer.text.records import read_prediction_records


def read(tmp_path: Path, text: str) -> dict[str, Any]:
    (tmp_path / "given").write_text(text, encoding="utf-8")
    return read_prediction_records(str(tmp_path / "given"))


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ("{}", {}),
        ('{"q1": "답", "q2": ""}', {"q1": "답", "q2": ""}),
        ('\ufeff{\n "q1": "답"\n}\n', {"q1": "답"}),
        ('{"q1": "앞", "q1": "뒤"}', {"q1": "뒤"}),
        ('{"id": "답"}', {"id": "답"}),
        ('{"id": "1", "entities": []}', {"1": {"id": "1", "entities": []}}),
        ('{"id": 1, "a": 2}\n\n{"id": "둘"}\n', {"1": {"id": 1, "a": 2}, "둘": {"id": "둘"}}),
        ('{"id": 1, "a": 2}\n{"id": 1, "a": 3}\n', {"1": {"id": 1, "a": 3}}),
    ],
)
def test_what_it_says_of_each_id(tmp_path: Path, text: str, records: dict[str, Any]) -> None:
    assert read(tmp_path, text) == records


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: not JSON: expecting value"),
        ("[1]", "neither a JSON object by id nor JSON lines"),
        ('"답"', "neither a JSON object by id nor JSON lines"),
        ('{\n"q1": }', "line 2: not JSON"),
        ('{"a": 1}\n{"b": 2}\n', '2 bad places:\n.*line 1: lacks "id"\n.*line 2: lacks "id"'),
        ('{"id": 1}\n{"id": 2\n', "line 2: not JSON"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_file_of_predictions_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(tmp_path, text)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PathError, match="none"):
        read_prediction_records(str(tmp_path / "none"))
