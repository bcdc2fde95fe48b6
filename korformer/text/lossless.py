"""The lossless scheme: WordPiece over bytes whose learnt pieces are whole characters.

Text is cut into short words (a space belongs to the word after it), each word is written in bytes, one printable
character a byte, and WordPiece takes the longest known piece again and again. Every byte that valid UTF-8 can hold is a
piece of its own, so nothing is ever unknown, and every other piece was learnt from characters, so none is half a
syllable. `#` always stands alone: no word begins with the `##` that marks a continuing piece.
"""

from __future__ import annotations

from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PREFIX = "##"
SPACE_MARK = "▁"
"""How vocab.txt shows a space; the character itself is therefore never learnt and stays bytes."""

WORD_PATTERN = (
    r" ?\p{Hangul}{1,16}"
    r"| ?[^\P{L}\p{Hangul}]{1,24}"
    r"| ?\p{N}{1,4}"
    r"|#"
    r"| ?[^\s\p{L}\p{N}#]{1,16}"
    r"|\n{1,4}"
    r"| {1,16}(?= )"
    r"|\s"
)
"""Words: runs of one kind of character, none longer than 25 characters, so that encoding is linear in the text."""

LONGEST_WORD_BYTES = 25 * 4


@cache
def byte_characters() -> tuple[str, ...]:
    """The printable character that stands for each byte, as tokenizers' ByteLevel has them (GPT-2's table)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte) if byte in printable else chr(next(others)) for byte in range(256))


@cache
def _bytes_of_characters() -> dict[str, int]:
    return {character: byte for byte, character in enumerate(byte_characters())}


def to_byte_characters(text: str) -> str:
    """A text as its UTF-8 bytes, one printable character each."""
    table = byte_characters()
    return "".join(table[byte] for byte in text.encode("utf-8"))


def from_byte_characters(characters: str) -> bytes:
    """The bytes that `to_byte_characters` wrote. KeyError for a character that stands for none."""
    table = _bytes_of_characters()
    return bytes(table[character] for character in characters)


def byte_pieces() -> list[str]:
    """The pieces that spell any valid UTF-8: bytes that can begin a word, then those that can continue one."""
    table = byte_characters()
    ascii_bytes, leads, continuations = range(0x80), range(0xC2, 0xF5), range(0x80, 0xC0)
    first = [table[byte] for byte in (*ascii_bytes, *leads)]
    return [*first, *(PREFIX + table[byte] for byte in (*ascii_bytes, *leads, *continuations))]


def word_splitter() -> pre_tokenizers.PreTokenizer:
    """Cuts text into the words of `WORD_PATTERN`."""
    return pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated")


def make_tokenizer(pieces: list[str]) -> Tokenizer:
    """The tokenizer of a vocabulary.

    Args:
        pieces: special tokens, then pieces in byte characters, in the order of their ids.
    """
    tokenizer = Tokenizer(
        models.WordPiece(
            {piece: index for index, piece in enumerate(pieces)},
            unk_token="[UNK]",
            max_input_chars_per_word=LONGEST_WORD_BYTES,
            continuing_subword_prefix=PREFIX,
        )
    )
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [word_splitter(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", SPECIAL_TOKENS.index("[CLS]")), ("[SEP]", SPECIAL_TOKENS.index("[SEP]"))],
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace(Regex("^##"), ""), decoders.ByteLevel()])
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.encode_special_tokens = True
    return tokenizer


def display(piece: str) -> str:
    """A piece as vocab.txt shows it: characters as they are, a space as ▁, bytes and control characters as <0xEA>."""
    if piece in SPECIAL_TOKENS:
        return piece
    continuing = piece.startswith(PREFIX)
    data = from_byte_characters(piece.removeprefix(PREFIX) if continuing else piece)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        shown = "".join(f"<0x{byte:02X}>" for byte in data)
    else:
        shown = "".join(_shown(character) for character in text)
    return PREFIX + shown if continuing else shown


def _shown(character: str) -> str:
    if character == " ":
        return SPACE_MARK
    if character.isprintable() and not character.isspace():
        return character
    return "".join(f"<0x{byte:02X}>" for byte in character.encode("utf-8"))
