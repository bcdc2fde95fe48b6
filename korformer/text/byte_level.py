"""Bytes as visible characters, one each: the alphabet in which `tokenizer.json` files spell arbitrary bytes.

Byte-level tokenizers (GPT-2's was the first) let the 188 bytes that are printable in Latin-1 stand for themselves and
give the other 68 the code points from U+0100 on, in order: space is `Ġ`, line feed `Ċ`.
"""

from __future__ import annotations

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in set(_PRINTABLE)]

CHARACTERS = "".join(chr(byte) if byte not in _HIDDEN else chr(0x100 + _HIDDEN.index(byte)) for byte in range(256))
"""The character of each byte, at the byte's index."""

_BYTES = {character: byte for byte, character in enumerate(CHARACTERS)}
_TO_CHARACTERS = dict(enumerate(CHARACTERS))


def spell(data: bytes) -> str:
    """`data`, a character a byte."""
    return data.decode("latin-1").translate(_TO_CHARACTERS)


def is_spelt(text: str) -> bool:
    """Whether every character of `text` stands for a byte."""
    return _BYTES.keys() >= set(text)


def unspell(spelt: str) -> bytes:
    """The bytes that `spelt` stands for.

    Raises:
        KeyError: a character stands for no byte.
    """
    return bytes(_BYTES[character] for character in spelt)
