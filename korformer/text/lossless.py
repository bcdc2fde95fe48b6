"""The `lossless` scheme: a WordPiece vocabulary that spells any text exactly.

    text ─NFC─▶ pieces (PIECES) ─UTF-8─▶ bytes, a character each ─WordPiece─▶ the longest token first, piece by piece

Every token is either whole characters or one byte, and there is a token for each byte that valid UTF-8 can have at each
place, so a piece never becomes `[UNK]`. A space belongs to the piece after it, so decoding is joining.

Pieces are bounded: WordPiece looks for the longest token again and again, which is quadratic in the length of a piece.
They are cut by code point ranges and not by Unicode categories, so every regex engine and every version of Unicode cuts
alike. `#` is a piece of its own, so no piece begins with `##` and the prefix of continuing tokens stays unambiguous.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from korformer.text import byte_level
from korformer.text.special import CLS_ID, SEP_ID, SPECIAL_TOKENS, UNK_ID

CONTINUING = "##"

_HANGUL = r"\u1100-\u11FF\u3130-\u318F\uA960-\uA97F\uAC00-\uD7FF\uFFA0-\uFFDC"
_LATIN_GREEK_CYRILLIC = r"A-Za-z\u00AA\u00B5\u00BA\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u052F\u1E00-\u1FFF"
_OTHER_LETTERS = (
    r"\u0530-\u10FF\u1200-\u167F\u1681-\u1DFF\u2C00-\u2DFF\u2E80-\u2FDF\u3005-\u3007\u3021-\u3029\u3031-\u3035"
    r"\u3038-\u303B\u3040-\u30FF\u31F0-\u31FF\u3400-\u4DBF\u4E00-\uA95F\uA980-\uABFF\uF900-\uFDFF\uFE70-\uFEFE"
    r"\uFF21-\uFF3A\uFF41-\uFF5A\uFF66-\uFF9F"
)
"""Chinese characters and kana above all."""
_DIGITS = r"0-9\uFF10-\uFF19"
_ANYTHING_ELSE = rf"[^ \t\r\n#{_HANGUL}{_LATIN_GREEK_CYRILLIC}{_OTHER_LETTERS}{_DIGITS}]"

PIECES = (
    rf" ?[{_HANGUL}]{{1,10}}"
    rf"| ?{_ANYTHING_ELSE}{{1,6}}"
    rf"| ?[{_DIGITS}]{{1,4}}"
    rf"| ?[{_LATIN_GREEK_CYRILLIC}]{{1,12}}"
    rf"| ?[{_OTHER_LETTERS}]{{1,8}}"
    r"| ?#"
    r"|[\r\n]{1,8}"
    r"| {1,16}(?![^ \t\r\n])"
    r"|[ \t]{1,16}"
)
"""What a piece is, for Python's `re` and for the `tokenizers` library alike. Every character belongs to one. The bounds
leave one word in a thousand cut in two, and the worst text a second a megabyte."""

_MAX_PIECE_BYTES = 64
"""More than any piece has: a space and twelve characters of three bytes, or six of four."""

_LEADS = [*range(0x80), *range(0xC2, 0xF5)]
BYTE_TOKENS = tuple(
    [byte_level.CHARACTERS[byte] for byte in _LEADS]
    + [CONTINUING + byte_level.CHARACTERS[byte] for byte in sorted({*_LEADS, *range(0x80, 0xC0)})]
)
"""One token for each byte that can begin a piece of valid UTF-8, and one for each that can go on in it."""

SMALLEST_SIZE = len(SPECIAL_TOKENS) + len(BYTE_TOKENS)

_cut = re.compile(PIECES).findall


def pieces(text: str) -> list[str]:
    """`text` cut into pieces; joined they are the text."""
    return _cut(text)


def token(text: str, *, continuing: bool) -> str:
    """How a vocabulary file spells the token that stands for `text`."""
    spelt = byte_level.spell(text.encode("utf-8"))
    return CONTINUING + spelt if continuing else spelt


def components() -> dict[str, Any]:
    """Everything of `tokenizer.json` that works on text, in the words of the `tokenizers` library."""
    return {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PIECES}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        },
        "post_processor": _post_processor(),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"Regex": r"\A" + CONTINUING}, "content": ""},
                {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            ],
        },
        "model": {
            "type": "WordPiece",
            "unk_token": SPECIAL_TOKENS[UNK_ID],
            "continuing_subword_prefix": CONTINUING,
            "max_input_chars_per_word": _MAX_PIECE_BYTES,
        },
    }


def _post_processor() -> dict[str, Any]:
    def special(token_id: int, type_id: int = 0) -> dict[str, Any]:
        return {"SpecialToken": {"id": SPECIAL_TOKENS[token_id], "type_id": type_id}}

    def sequence(name: str, type_id: int = 0) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": type_id}}

    single = [special(CLS_ID), sequence("A"), special(SEP_ID)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, sequence("B", 1), special(SEP_ID, 1)],
        "special_tokens": {
            SPECIAL_TOKENS[token_id]: {
                "id": SPECIAL_TOKENS[token_id],
                "ids": [token_id],
                "tokens": [SPECIAL_TOKENS[token_id]],
            }
            for token_id in (CLS_ID, SEP_ID)
        },
    }


def problem(tokens: Sequence[str]) -> str | None:
    """What keeps `tokens`, in the order of their ids, from being a vocabulary of this scheme; None if nothing does."""
    known = set(tokens)
    missing = sum(byte not in known for byte in BYTE_TOKENS)
    if missing:
        return f"lacks tokens for {missing} of the {len(BYTE_TOKENS)} bytes, so it could not spell every text"
    for token_id, spelt in enumerate(tokens[len(SPECIAL_TOKENS) :], len(SPECIAL_TOKENS)):
        if not spelt.removeprefix(CONTINUING) or not byte_level.is_spelt(spelt):
            return f"token {token_id} does not spell bytes: {spelt[:40]!r}"
    return None


def token_bytes(spelt: str) -> bytes:
    """The bytes that a token adds to the text."""
    return byte_level.unspell(spelt.removeprefix(CONTINUING))


def display(spelt: str) -> str:
    """A token for human eyes: `▁하늘` after a space, `##에서` inside a piece, `<0xEA>` a byte, `<0x0A>` a line feed."""
    data = token_bytes(spelt)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        shown = "".join(f"<0x{byte:02X}>" for byte in data)
    else:
        shown = "".join(_visible(character, text[index + 1 : index + 3]) for index, character in enumerate(text))
    return CONTINUING + shown if spelt.startswith(CONTINUING) else shown


def _visible(character: str, following: str) -> str:
    """A character, spelt out where it cannot be seen or could be taken for something else here."""
    if character == " ":
        return "▁"
    hidden = not character.isprintable() or character.isspace() or unicodedata.category(character).startswith("M")
    if hidden or character == "▁" or (character == "<" and following in {"0x", "U+"}):
        code = ord(character)
        return f"<0x{code:02X}>" if code < 0x80 else f"<U+{code:04X}>"
    return character
