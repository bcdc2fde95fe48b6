"""The public data sets, where they are at hand: every file is read without a fault."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from korformer.tasks.korquad.reading import read_questions
from korformer.tasks.ner.reading import read_sentences

FOLDER = os.environ.get("KORFORMER_DATA")
pytestmark = pytest.mark.skipif(FOLDER is None, reason="KORFORMER_DATA does not name a folder with the data sets")


def files(pattern: str) -> list[Path]:
    return sorted(Path(FOLDER or ".").rglob(pattern))


def test_every_answer_of_korquad_is_at_its_place() -> None:
    found = [file for pattern in ("korquad-v1-*.json*", "longqa-*.json*") for file in files(pattern)]
    if not found:
        pytest.skip("the folder has no KorQuAD files")
    for file in found:
        examples = read_questions([str(file)])
        assert len(examples) > 100
        assert all(unicodedata.is_normalized("NFC", example.context) for example in examples)


def test_every_entity_is_in_its_text() -> None:
    found = [file for pattern in ("klue-ner-*.tsv*", "kmou-ner-*.jsonl*") for file in files(pattern)]
    if not found:
        pytest.skip("the folder has no NER files")
    for file in found:
        examples = read_sentences([str(file)])
        assert len(examples) > 100
        labels = {entity.label for example in examples for entity in example.entities}
        assert len(labels) in {6, 10}
