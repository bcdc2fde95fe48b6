from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korformer.writing.pieces import Generation, Piece, PieceTable, Source
from korformer.writing.records import TokenRecord


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.text("가나abc\n", max_size=5)), max_size=60))
def test_it_is_a_text_that_is_changed_in_place(changes: list[tuple[int, int, str]]) -> None:
    table, plain = PieceTable(), ""
    undo: list[tuple[int, int, tuple[Piece, ...]]] = []
    for number, (place, length, text) in enumerate(changes):
        at = place % (len(plain) + 1)
        remove = length % (len(plain) - at + 1)
        source = Source(number=number, origin="written", text=text)
        gone = table.splice(at, remove, (Piece(source, 0, len(text)),))
        assert "".join(piece.text for piece in gone) == plain[at : at + remove]
        undo.append((at, len(text), gone))
        plain = plain[:at] + text + plain[at + remove :]
        assert (table.text(), table.length) == (plain, len(plain))
        assert table.text(at, at + 7) == plain[at : at + 7]
    for at, put, gone in reversed(undo):
        table.splice(at, put, gone)
    assert table.text() == ""


def test_many_pieces_stand_in_many_blocks() -> None:
    table, plain = PieceTable(), ""
    for number in range(2000):
        at = (number * 7919) % (len(plain) + 1)
        source = Source(number=number, origin="written", text=f"<{number}>")
        table.splice(at, 0, (Piece(source, 0, len(source.text)),))
        plain = plain[:at] + source.text + plain[at:]
    assert table.text() == plain
    table.splice(100, len(plain) - 200, ())
    assert table.text() == plain[:100] + plain[-100:]


def test_pieces_that_go_on_are_one() -> None:
    table, source = PieceTable(), Source(number=0, origin="written", text="가나다라")
    for at in range(4):
        table.splice(at, 0, (Piece(source, at, at + 1),))
    assert list(table.pieces()) == [(0, Piece(source, 0, 4))]
    table.splice(1, 2, ())
    assert [(at, piece.text) for at, piece in table.pieces()] == [(0, "가"), (1, "라")]
    assert [(at, piece.text) for at, piece in table.pieces(1, 2, whole=True)] == [(1, "라")]


@pytest.mark.parametrize(("start", "removed"), [(-1, 0), (0, 4), (4, 0), (2, 2)])
def test_places_that_there_are_not_are_refused(start: int, removed: int) -> None:
    table = PieceTable()
    table.splice(0, 0, (Piece(Source(number=0, origin="written", text="가나다"), 0, 3),))
    with pytest.raises(IndexError, match="in a text of 3"):
        table.splice(start, removed, ())
    assert table.text() == "가나다"


def test_tokens_of_a_range_are_those_that_stand_whole_in_it() -> None:
    made = Generation()
    end = 0
    for text in ("안녕", "", "", "하", "세요", "", ""):  # 하 of three tokens; the last two completed nothing
        end += len(text)
        made.tokens.append(TokenRecord(token_id=1, text=text, logprob=0.0))
        made.ends.append(end)
    assert (made.first_from(0), made.last_until(5)) == (0, 5)
    assert (made.first_from(1), made.first_from(2), made.first_from(3)) == (1, 1, 4)
    assert (made.last_until(1), made.last_until(2), made.last_until(4)) == (0, 1, 4)
    assert [made.token_of(offset) for offset in range(6)] == [(0, 1), (0, 1), (1, 4), (4, 5), (4, 5), None]
