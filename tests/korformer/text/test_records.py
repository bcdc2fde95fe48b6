import bz2
import io
import sys
from pathlib import Path

import pytest

from korformer.errors import InputError, PathError
from korformer.text.records import (
    MOST_SHOWN,
    DataError,
    Place,
    Problems,
    arriving_lines,
    parse_record,
    read_lines,
    text_fault,
    text_field,
)

PLACE = Place(file="a.jsonl", line=7)


def test_a_place_tells_file_line_and_entry() -> None:
    assert str(Place(file="a.tsv", line=1234)) == "a.tsv, line 1,234"
    assert str(Place(file="a.json", entry="question 7")) == "a.json, question 7"


def test_one_problem_is_one_sentence() -> None:
    problems = Problems()
    problems.refuse()
    problems.add(PLACE, "the label is empty")
    with pytest.raises(DataError) as raised:
        problems.refuse("Mend it.")
    assert str(raised.value) == "a.jsonl, line 7: the label is empty. Mend it."
    assert raised.value.exit_code == 3


def test_many_problems_are_a_list_that_ends() -> None:
    problems = Problems()
    for line in range(1, MOST_SHOWN + 6):
        problems.add(Place(file="a.tsv", line=line), "ragged")
    assert problems
    with pytest.raises(DataError) as raised:
        problems.refuse("Mend it.")
    first, *rest, more, hint = str(raised.value).split("\n")
    assert first == f"{MOST_SHOWN + 5} bad places:"
    assert rest[0] == "  a.tsv, line 1: ragged"
    assert len(rest) == MOST_SHOWN
    assert more == "  and 5 more"
    assert hint == "Mend it."
    assert len(raised.value.problems) == MOST_SHOWN + 5


def test_lines_come_with_their_place_whatever_packs_them(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeff가\r\n나\n".encode())
    (tmp_path / "b.txt.bz2").write_bytes(bz2.compress("다".encode()))
    found = [(Path(place.file).name, place.line, line) for place, line in read_lines([str(tmp_path)])]
    assert found == [("a.txt", 1, "가"), ("a.txt", 2, "나"), ("b.txt.bz2", 1, "다")]
    with pytest.raises(PathError):
        list(read_lines([str(tmp_path / "none")]))
    (tmp_path / "c.txt").write_bytes("한국어로 쓴 오래된 글".encode("cp949"))
    with pytest.raises(InputError, match=r"c\.txt"):
        list(read_lines([str(tmp_path / "c.txt")]))


class Trickle(io.RawIOBase):
    """Gives a line at a time and counts them."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        piece = self.pieces.pop(0) if self.pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


def test_a_line_of_standard_input_does_not_wait_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Trickle("\ufeff가\n".encode(), "나\r\n".encode(), "다".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(source)))
    lines = arriving_lines(["-"])
    for number, (text, left) in enumerate((("가", 2), ("나", 1), ("다", 0)), 1):
        assert next(lines) == (Place(file="<stdin>", line=number), text)
        assert len(source.pieces) == left
    assert list(lines) == []


def test_standard_input_may_be_compressed_and_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO(bz2.compress("가\n나".encode()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(packed)))  # type: ignore[arg-type]
    assert [line for _, line in arriving_lines(["-"])] == ["가", "나"]
    wrong = io.BytesIO("가\n".encode() + "나".encode("cp949"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(wrong)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="line 2: not UTF-8 at byte 4"):
        list(arriving_lines(["-"]))


@pytest.mark.parametrize(
    ("line", "words"),
    [("{", "not JSON"), ("[1]", "not a JSON object"), ("7", "not a JSON object"), ("[" * 100_000, "")],
)
def test_what_is_no_object_is_noted(line: str, words: str) -> None:
    problems = Problems()
    assert parse_record(PLACE, line, problems) is None
    assert words in problems.found[0][1]


@pytest.mark.parametrize(
    ("record", "words"),
    [({}, 'lacks "text"'), ({"text": 3}, "is not text"), ({"text": " \n"}, "is empty"), ({"text": "\ud800"}, "half")],
)
def test_a_field_that_is_no_text_is_noted(record: dict[str, object], words: str) -> None:
    problems = Problems()
    assert text_field(PLACE, record, "text", problems) is None
    assert words in problems.found[0][1]


def test_a_text_is_taken_as_it_is() -> None:
    problems = Problems()
    assert parse_record(PLACE, '{"text": " 가 "}', problems) == {"text": " 가 "}
    assert text_field(PLACE, {"text": " 가 "}, "text", problems) == " 가 "
    assert text_fault("가") is None
    assert not problems
