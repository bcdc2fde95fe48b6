"""A vocabulary: text to token ids and back.

Two schemes share the WordPiece model. `lossless` gives every text back as it was (in NFC) and knows no unknown token;
`bert` is the seeds' and drops whitespace. On disk a vocabulary is a Hugging Face `tokenizer.json`, its
`tokenizer_config.json`, and `vocab.txt` for people, one token a line in the order of ids.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

from tokenizers import Tokenizer

from korformer.errors import InputError, ModelDirectoryError, PathError
from korformer.storage import parse_json, read_inside, write_text
from korformer.text import bert, lossless
from korformer.text.lossless import PREFIX, SPECIAL_TOKENS

PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID = range(5)

Scheme = Literal["lossless", "bert"]

TOKENIZER_NAME = "tokenizer.json"
CONFIG_NAME = "tokenizer_config.json"
LIST_NAME = "vocab.txt"

_LIMIT_BYTES = 64 << 20
_MOST_TOKENS = 1 << 20


class Vocabulary:
    """Encodes and decodes.

    Args:
        scheme: how pieces spell text.
        pieces: every token in the order of ids, special tokens first; for `lossless` in byte characters.
    """

    def __init__(self, scheme: Scheme, pieces: Sequence[str]) -> None:
        self.scheme: Scheme = scheme
        self.pieces = tuple(pieces)
        self.size = len(self.pieces)
        make = lossless.make_tokenizer if scheme == "lossless" else bert.make_tokenizer
        self._written = make(list(self.pieces))
        self._tokenizer = make(list(self.pieces))
        if scheme == "lossless":
            # Texts are normalised here, by one version of Unicode: the tokenizers library may know another.
            self._tokenizer.normalizer = None
            self._spelling = [self._bytes_of(piece) for piece in self.pieces]
        digest = hashlib.sha256(f"korformer {scheme} 1\n".encode())
        digest.update("\n".join(self.pieces).encode("utf-8"))
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return self.size

    @staticmethod
    def _bytes_of(piece: str) -> bytes:
        if piece in SPECIAL_TOKENS:
            return b""
        return lossless.from_byte_characters(piece.removeprefix(PREFIX))

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Ids of a text; special-token strings inside it are ordinary text.

        Args:
            text: any text; it is taken in NFC.
            add_special_tokens: put [CLS] before and [SEP] behind.

        Raises:
            InputError: the text holds a lone surrogate, which is no character.
        """
        return self.encode_batch([text], add_special_tokens=add_special_tokens)[0]

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[list[int]]:
        """Ids of each text, on all processors. Arguments and errors as for `encode`."""
        normal = [_normalised(text) for text in texts]
        try:
            encoded = self._tokenizer.encode_batch_fast(normal, add_special_tokens=add_special_tokens)
        except TypeError:
            raise _no_character(normal) from None
        return [encoding.ids for encoding in encoded]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of some ids.

        Args:
            ids: each below `size`.
            skip_special_tokens: leave out [CLS] and the like instead of spelling them.
        """
        if self.scheme == "bert":
            text: str = self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)
            return text
        spelt = (
            self.pieces[token].encode() if token < len(SPECIAL_TOKENS) and not skip_special_tokens else self._spelling[token]
            for token in ids
        )
        return b"".join(spelt).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 bytes that a token appends to a text: none for a special one; with its space in the bert scheme."""
        if self.scheme == "lossless":
            return self._spelling[token_id]
        return b"" if token_id < len(SPECIAL_TOKENS) else self._appended(token_id).encode("utf-8")

    def _appended(self, token_id: int) -> str:
        """What a token of the bert scheme adds behind another one."""
        return cast("str", self._tokenizer.decoder.decode(["x", self.pieces[token_id]]))[1:]

    def display(self, token_id: int) -> str:
        """A token for people, as in vocab.txt."""
        piece = self.pieces[token_id]
        return lossless.display(piece) if self.scheme == "lossless" else piece

    def decode_stream(self) -> DecodeStream:
        """Decodes token by token without ever giving half a character."""
        return DecodeStream(self)

    @classmethod
    def load(cls, directory: Path) -> Vocabulary:
        """Read a vocabulary, or a `vocab.txt` alone as one of the bert scheme.

        Raises:
            PathError: the directory is missing or may not be read.
            ModelDirectoryError: what is there is not a vocabulary of korformer.
        """
        if not directory.is_dir():
            raise PathError("no such directory", where=str(directory), hint="`korformer vocab` makes one.")
        if not (directory / TOKENIZER_NAME).exists() and (directory / LIST_NAME).exists():
            return cls("bert", _checked("bert", _read_list(directory), str(directory / LIST_NAME)))
        where = str(directory / TOKENIZER_NAME)
        content = parse_json(read_inside(directory, TOKENIZER_NAME, limit_bytes=_LIMIT_BYTES), where=where)
        settings = parse_json(read_inside(directory, CONFIG_NAME), where=str(directory / CONFIG_NAME))
        scheme = settings.get("korformer_scheme")
        if scheme not in ("lossless", "bert"):
            raise ModelDirectoryError(
                "does not name a scheme of korformer",
                where=str(directory / CONFIG_NAME),
                hint="Make a vocabulary with `korformer vocab`.",
            )
        return cls(scheme, _checked(scheme, _pieces_of(content, where), where))

    def save_files(self, directory: Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and vocab.txt into an existing folder.

        Raises:
            PathError, ResourceError: they cannot be written.
        """
        write_text(directory / TOKENIZER_NAME, self._written.to_str(pretty=True) + "\n")
        settings: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "korformer_scheme": self.scheme,
            "split_special_tokens": True,
            "clean_up_tokenization_spaces": False,
            **{f"{name[1:-1].lower()}_token": name for name in SPECIAL_TOKENS},
        }
        write_text(directory / CONFIG_NAME, json.dumps(settings, indent=2) + "\n")
        write_text(directory / LIST_NAME, "".join(f"{self.display(token)}\n" for token in range(self.size)))


class DecodeStream:
    """Turns ids into text one by one; the parts together are `Vocabulary.decode(ids)` without special tokens.

    Args:
        vocabulary: of the ids.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._started = False

    def step(self, token_id: int) -> str:
        """The characters that this token completes, possibly none."""
        data = self._vocabulary.token_bytes(token_id)
        if self._vocabulary.scheme == "bert" and data and not self._started:
            self._started = True
            return self._vocabulary.decode([token_id])
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that was never completed."""
        return self._decoder.decode(b"", final=True)


def _normalised(text: str) -> str:
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def _no_character(texts: Sequence[str]) -> InputError:
    for text in texts:
        for index, character in enumerate(text):
            if "\ud800" <= character <= "\udfff":
                return InputError(
                    f"a lone surrogate U+{ord(character):04X} at character {index} is not text",
                    hint="Remove it, or read the file with --errors replace.",
                )
    raise TypeError("encode needs strings")


def _read_list(directory: Path) -> list[str]:
    where = str(directory / LIST_NAME)
    try:
        text = read_inside(directory, LIST_NAME, limit_bytes=_LIMIT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelDirectoryError(f"is not UTF-8 at byte {error.start}", where=where) from error
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def _pieces_of(content: dict[str, Any], where: str) -> list[str]:
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type") != "WordPiece":
        raise ModelDirectoryError("is not a WordPiece tokenizer", where=where)
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict) or not all(type(index) is int for index in vocabulary.values()):
        raise ModelDirectoryError("has no vocabulary", where=where)
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    if [vocabulary[piece] for piece in pieces] != list(range(len(pieces))):
        raise ModelDirectoryError("has ids with gaps or repetitions", where=where)
    return pieces


def _checked(scheme: Scheme, pieces: list[str], where: str) -> list[str]:
    """The pieces, if a vocabulary can be made of them."""
    if tuple(pieces[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        raise ModelDirectoryError(f"does not begin with {' '.join(SPECIAL_TOKENS)}", where=where)
    if not len(SPECIAL_TOKENS) < len(pieces) <= _MOST_TOKENS or len(set(pieces)) != len(pieces):
        raise ModelDirectoryError("has no tokens, too many, or one twice", where=where)
    if any("\ud800" <= character <= "\udfff" for piece in pieces for character in piece):
        raise ModelDirectoryError("has a token that is not text", where=where)
    if scheme == "lossless":
        try:
            for piece in pieces[len(SPECIAL_TOKENS) :]:
                lossless.from_byte_characters(piece.removeprefix(PREFIX))
        except KeyError:
            raise ModelDirectoryError(f"has a token that is not made of bytes: {piece!r}", where=where) from None
        if missing := set(lossless.byte_pieces()) - set(pieces):
            raise ModelDirectoryError(f"lacks {len(missing)} of the byte tokens", where=where)
    return pieces
