from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from korformer.errors import InputError
from korformer.generation.settings import SamplingSettings
from korformer.writing import journal
from korformer.writing.records import TokenRecord
from korformer.writing.session import Session

Make = Callable[..., tuple[TokenRecord, ...]]


@pytest.fixture
def lines(tokens: Make) -> list[bytes]:
    session = Session()
    session.insert(0, "봄이 오면 ")
    for texts in (("꽃이", " 핀다."), ("새가", " 운다.")):
        session.retry()
        number = session.begin_generation(6, SamplingSettings(), vocabulary="v")
        session.extend_generation(number, tokens(texts[0]))
        session.extend_generation(number, tokens(texts[1]))
        session.end_generation(number, "length", seed=3)
    session.delete(0, 1)
    session.undo()
    return [journal.header(), *journal.lines_of(session.take_actions(), first=1)]


def test_lines_are_json_and_neighbours_are_one(lines: list[bytes]) -> None:
    objects = [json.loads(line) for line in lines]
    assert [found["n"] for found in objects] == list(range(len(lines)))
    assert objects[0]["format"] == "korformer-session"
    assert [found["op"] for found in objects[1:]] == [
        "source", "node", "source", "node", "grow", "end", "go", "source", "node", "grow", "end", "node", "undo",
    ]  # fmt: skip
    assert "봄이 오면" in lines[1].decode()


def test_every_beginning_of_a_file_is_a_session(lines: list[bytes]) -> None:
    """Wherever a writer is killed, what is there is the session of a moment before."""
    data = b"".join(lines)
    whole = Session(journal.read(data, where="x")[0])
    known = {"", "봄이 오면 ", "봄이 오면 꽃이", "봄이 오면 새가", "이 오면 새가 운다."}
    known |= {change for node in whole.versions.tree.nodes if (whole.move_to(node), change := whole.text)}
    for end in range(len(lines[0]), len(data) + 1):
        versions, count = journal.read(data[:end], where="x")
        assert count == data[:end].count(b"\n")
        assert Session(versions).text in known


@pytest.mark.parametrize("fault", ["missing", "twice", "exchanged"])
def test_lines_that_are_not_in_order_are_found(lines: list[bytes], fault: str) -> None:
    changed = list(lines)
    if fault == "missing":
        del changed[3]
    elif fault == "twice":
        changed.insert(3, changed[3])
    else:
        changed[3], changed[4] = changed[4], changed[3]
    with pytest.raises(journal.Damaged, match="line [45].*recovered") as caught:
        journal.read(b"".join(changed), where="x")
    assert Session(caught.value.versions).text == "봄이 오면 "


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"hello\n", b"[]\n", b"{}\n", b'{"format": "other"}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n"]
)
def test_other_files_are_no_sessions(data: bytes) -> None:
    with pytest.raises(InputError, match="is not a session of korformer"):
        journal.read(data, where="x")


def test_a_newer_version_is_named() -> None:
    with pytest.raises(InputError, match="has version 99, this korformer reads 1.*newer"):
        journal.read(b'{"format": "korformer-session", "version": 99}\n', where="x")


def test_lines_of_actions_that_make_no_sense_are_damage() -> None:
    for action in ({"op": "go", "id": 5}, {"op": "source", "id": 0, "origin": "written", "text": 5}, {"op": "fly"}):
        data = journal.header() + next(journal.lines_of([action], first=1))
        with pytest.raises(journal.Damaged, match="line 2"):
            journal.read(data, where="x")


def test_a_token_comes_back_as_it_was(tokens: Make) -> None:
    session = Session()
    (token,) = tokens("꽃")
    odd: Any = TokenRecord(token_id=5, text="이", logprob=float("-inf"), chosen=True)
    number = session.begin_generation(0, SamplingSettings())
    session.extend_generation(number, (token, odd))
    data = journal.header() + b"".join(journal.lines_of(session.take_actions(), first=1))
    first, second = Session(journal.read(data, where="x")[0]).tokens()
    assert first.record == token
    assert (second.record.chosen, second.record.candidates, second.record.probability) == (True, (), 0.0)
