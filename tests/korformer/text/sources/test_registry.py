"""Kinds of sources are found by their presence; the beginning of a file tells which one it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from korformer.commands import corpus
from korformer.errors import InputError, UsageError
from korformer.text import sources
from korformer.text.documents import Documents, ReadSettings
from korformer.text.sources import Likeness, kind_named, kinds, leading_members

PLANTED = """
from korformer.text.sources import Likeness, SourceKind

KIND = SourceKind(
    name="planted",
    description="a kind that a test has planted",
    recognise=lambda head: Likeness.SPECIFIC if head.startswith("%planted") else Likeness.NONE,
    read=lambda reader: (line for _, line in reader.lines() if not line.startswith("%")),
)
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A kind more, by one file in a folder that belongs to the package."""
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "planted.py").write_text(PLANTED, encoding="utf-8")
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(folder)])
    kinds.cache_clear()
    yield folder
    kinds.cache_clear()


def test_adding_a_kind_takes_one_file(planted: Path, tmp_path: Path) -> None:
    assert len(list(planted.iterdir())) == 1
    assert "planted" in kinds()
    source = tmp_path / "source"
    source.write_text("%planted\n하나\n둘\n", encoding="utf-8")
    assert list(Documents([str(source)])) == ["하나", "둘"]
    assert list(Documents([str(source)], ReadSettings(format="planted"))) == ["하나", "둘"]
    with pytest.raises(UsageError, match="did you mean planted"):
        ReadSettings(format="plantd")


def test_every_kind_has_its_source_file_and_its_test_file() -> None:
    package, tests = Path(sources.__path__[0]), Path(__file__).parent
    assert {path.stem for path in package.glob("*.py")} - {"__init__"} == set(kinds())
    assert {path.stem.removeprefix("test_") for path in tests.glob("test_*.py")} - {"registry"} == set(kinds())


def test_a_kind_is_named_as_its_module() -> None:
    assert all(kind.name == name for name, kind in kinds().items())


def test_help_names_every_kind() -> None:
    assert corpus._kinds() == list(kinds())


def test_an_unknown_kind_is_told_with_the_nearest_and_all() -> None:
    with pytest.raises(UsageError) as failure:
        kind_named("nikel")
    assert "did you mean nikl?" in str(failure.value)
    assert all(name in str(failure.value) for name in kinds())
    assert failure.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ('{"version": "1", "data": []}', "JSON"),
        ('[\n {"text": "가"}\n]', "JSON"),
        ("{}", "JSON"),
        ("<!DOCTYPE html><html></html>", "XML or HTML"),
        ('<?xml version="1.0"?><a/>', "XML or HTML"),
    ],
)
def test_markup_of_an_unknown_layout_is_not_taken_for_text(read: Any, text: str, foreign: str) -> None:
    with pytest.raises(InputError, match=f"{foreign} of a layout that is not known here"):
        read(text)
    assert read(text, format="text").texts == [text]


@pytest.mark.parametrize("text", ["[속보] 비가 온다", "{중괄호}로 시작한다", "<꺾쇠>로 시작한다", "= 가 ="])
def test_text_that_begins_with_a_bracket_is_text(read: Any, text: str) -> None:
    assert read(text).texts == [text]


def test_one_special_kind_at_most_recognises_a_file() -> None:
    samples = {
        "jsonl": '{"text": "가"}\n',
        "mediawiki": "<mediawiki><page></page></mediawiki>",
        "nikl": '{"id": "1", "document": [{"paragraph": [{"form": "가"}]}]}',
        "petitions": '{"category": "가", "begin": "1", "end": "2", "content": "나"}',
        "text": "가나다",
        "wikiextractor": '<doc id="1" url="u" title="가">\n',
        "wikitext": " = 가 =\n\n = = 나 = =\n",
    }
    assert samples.keys() == kinds().keys()
    for name, sample in samples.items():
        likeness = {kind.name: kind.recognise(sample) for kind in kinds().values()}
        best = max(likeness.values())
        assert [kind for kind, value in likeness.items() if value == best] == [name]
        assert (best == Likeness.ANYTHING) == (name == "text")


@pytest.mark.parametrize(
    ("head", "members"),
    [
        ('{"a": 1, "b": {"c": [2]}, "d": "가"}', {"a": 1, "b": {"c": [2]}, "d": "가"}),
        ('  {"a": "x", "b": "잘린', {"a": "x", "b": None}),
        ('{"a" : 1', {"a": 1}),
        ("{", {}),
        ("글", {}),
        ('["a"]', {}),
    ],
)
def test_leading_members(head: str, members: dict[str, object]) -> None:
    assert leading_members(head) == members
