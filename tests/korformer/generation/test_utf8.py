"""The automaton against Python's own UTF-8 decoder."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from korformer.generation.utf8 import BOUNDARY, REJECT, ContinuationTable, advance, unfinished
from korformer.randomness import uniform

END = 3
SAMPLES = ["a", "é", "߿", "ࠀ", "가", "힣", "퟿", "", "�", "𐀀", "👍", "\U0010ffff"]
PREFIXES = sorted({char.encode()[:n] for char in SAMPLES for n in range(len(char.encode()))})


def can_begin_text(data: bytes) -> bool:
    """Whether some bytes make valid text of `data`: nothing is wrong but, perhaps, its sudden end."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


@pytest.mark.parametrize("prefix", PREFIXES, ids=repr)
def test_every_one_and_two_byte_continuation(prefix: bytes) -> None:
    state = advance(BOUNDARY, prefix)
    assert state != REJECT
    for first in range(256):
        data = prefix + bytes([first])
        assert (advance(state, bytes([first])) != REJECT) == can_begin_text(data), data
        for second in (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xF0, 0xF4, 0xFF):
            data = prefix + bytes([first, second])
            assert (advance(state, bytes([first, second])) != REJECT) == can_begin_text(data), data


def test_every_character_is_valid_and_every_surrogate_is_not() -> None:
    for code in [*range(0, 0x3000, 7), *range(0xAC00, 0xD7A4), *range(0x10000, 0x110000, 997)]:
        assert advance(BOUNDARY, chr(code).encode()) == BOUNDARY
    for code in range(0xD800, 0xE000):
        assert advance(BOUNDARY, chr(code).encode("utf-8", "surrogatepass")) == REJECT


@given(st.text(), st.integers(0, 3))
def test_the_unfinished_end_is_what_python_waits_for(text: str, cut: int) -> None:
    data = text.encode("utf-8", "ignore")
    data = data[: len(data) - cut]
    assert data[: len(data) - len(unfinished(data))].decode() in text
    decoder = codecs.getincrementaldecoder("utf-8")()
    decoder.decode(data)
    assert unfinished(data) == decoder.getstate()[0]


@given(st.binary(max_size=8))
def test_the_unfinished_end_of_rubbish_can_be_gone_on_from(data: bytes) -> None:
    end = unfinished(data)
    assert data.endswith(end)
    assert can_begin_text(end)


def test_masks_are_those_of_reading_every_piece() -> None:
    pieces = [b"", b"", b"", b"", b"", b"a", b"\x80", b"\xea", b"\xea\xb0", b"\xb0\x80", "가나".encode(), b"\x80\xea"]
    pieces += [b"\xc0", b"\xff", b"a\x80", "가".encode() + b"\xea", b"\xed\xa0", b"\x90\x80\x80", b"x" * 300]
    table = ContinuationTable(pieces, end_id=END)
    for prefix in PREFIXES:
        expected = [bool(piece) and can_begin_text(prefix + piece) for piece in pieces]
        expected[END] = prefix == b""
        assert table.allowed(advance(BOUNDARY, prefix)).tolist() == expected, prefix


@given(st.lists(st.integers(0, 11), max_size=12))
def test_the_state_comes_from_the_tokens(tokens: list[int]) -> None:
    pieces = [b"", b"a", "가".encode(), b"\xea", b"\xb0", b"\x80", b"\xf0", b"\x9f", b"\x91", b"\x8d", b"\xea\xb0", b""]
    text = b""
    for token in tokens:
        text = text + pieces[token] if pieces[token] else b"|"
    assert ContinuationTable(pieces, end_id=END).unfinished(tokens) == unfinished(text)


@pytest.mark.parametrize("seed", range(40))
def test_a_walk_over_bytes_writes_text(seed: int) -> None:
    pieces = [b""] * 5 + [bytes([byte]) for byte in range(256)]
    table = ContinuationTable(pieces, end_id=END)

    def choices() -> list[int]:
        allowed: list[int] = table.allowed(advance(BOUNDARY, table.unfinished(tokens))).nonzero().flatten().tolist()
        return [token for token in allowed if token != END]

    tokens = [2]
    for chance in uniform("walk", seed, shape=(150,)):
        following = choices()
        tokens.append(following[int(chance * len(following))])
    while table.unfinished(tokens):
        tokens.append(choices()[0])
    b"".join(pieces[token] for token in tokens).decode()
