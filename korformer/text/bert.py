"""The `bert` scheme: words as BERT cuts them, `##` where a word goes on, `[UNK]` for words with unknown characters.

For the same `vocab.txt` it gives the ids of `tokenizers.BertWordPieceTokenizer(clean_text=True,
handle_chinese_chars=True, strip_accents=False, lowercase=False)`: white space is lost, punctuation stands alone, and
names of special tokens in a text are those tokens.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from tokenizers import decoders, normalizers, pre_tokenizers

from korformer.text.special import CLS_ID, SEP_ID, SPECIAL_TOKENS, UNK_ID

CONTINUING = "##"

_CLEANING = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": False, "lowercase": False}
_MAX_WORD_CHARACTERS = 100
"""A longer word becomes `[UNK]` whatever the vocabulary."""
_CODE_POINTS = [*range(0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE0200)]
"""Where white space and punctuation can be."""


def components() -> dict[str, Any]:
    """Everything of `tokenizer.json` that works on text, in the words of the `tokenizers` library."""
    return {
        "normalizer": {"type": "BertNormalizer", **_CLEANING},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing",
            "sep": [SPECIAL_TOKENS[SEP_ID], SEP_ID],
            "cls": [SPECIAL_TOKENS[CLS_ID], CLS_ID],
        },
        "decoder": {"type": "WordPiece", "prefix": CONTINUING, "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": SPECIAL_TOKENS[UNK_ID],
            "continuing_subword_prefix": CONTINUING,
            "max_input_chars_per_word": _MAX_WORD_CHARACTERS,
        },
    }


def words(text: str) -> list[str]:
    """The words of `text` as the tokenizer cuts them, punctuation marks alone, without those it finds too long."""
    found = _cut().findall(_normalizer().normalize_str(text))
    if max(map(len, found), default=0) > _MAX_WORD_CHARACTERS:
        return [word for word in found if len(word) <= _MAX_WORD_CHARACTERS]
    return found


@functools.cache
def _normalizer() -> normalizers.BertNormalizer:
    return normalizers.BertNormalizer(**_CLEANING)


@functools.cache
def _cut() -> re.Pattern[str]:
    """A pattern for words, made by asking the library what is white space to it and what punctuation.

    Its own splitting takes eight times as long: it makes a Python object with offsets for every word.
    """
    probe = "".join(f"a{chr(code)}" for code in _CODE_POINTS)
    inside: set[int] = set()
    punctuation = []
    for word, (start, _) in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(probe):
        if len(word) == 1 and start % 2:
            punctuation.append(word)
        inside.update(range(start, start + len(word)))
    space = [chr(code) for index, code in enumerate(_CODE_POINTS) if 2 * index + 1 not in inside]
    marks, spaces = re.escape("".join(punctuation)), re.escape("".join(space))
    return re.compile(f"[{marks}]|[^{marks}{spaces}]+")


def problem(tokens: Sequence[str]) -> str | None:
    """What keeps `tokens`, in the order of their ids, from being a vocabulary of this scheme; None if nothing does."""
    for token_id, token in enumerate(tokens):
        if not token.isascii() and any("\ud800" <= character <= "\udfff" for character in token):
            return f"token {token_id} is not Unicode text"
    return None


def token_bytes(token: str) -> bytes:
    """The bytes that a token adds to a text that has begun: a word brings the space before it."""
    # The decoder looks at no token but the first in a special way, so one is put in front and taken off.
    return _decoder().decode(["a", token])[1:].encode("utf-8")


@functools.cache
def _decoder() -> decoders.WordPiece:
    return decoders.WordPiece(prefix=CONTINUING, cleanup=True)


def display(token: str) -> str:
    """A token for human eyes: itself."""
    return token
