"""A WordPiece vocabulary: text to token ids and back.

    vocabulary = Vocabulary.load(Path("checkpoints/vocab"))
    ids = vocabulary.encode("바람이 분다.")
    assert vocabulary.decode(ids) == "바람이 분다."

A directory holds `tokenizer.json` (Hugging Face's format, from which everything is read), `tokenizer_config.json` (for
`transformers.PreTrainedTokenizerFast`) and `vocab.txt` (a token a line, for people). An older directory that has only
BERT's `vocab.txt` is read as scheme `bert`.
"""

from __future__ import annotations

import codecs
import functools
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from tokenizers import Tokenizer

from korformer.errors import InputError, ModelDirectoryError
from korformer.storage import parse_json, read_inside, write_bytes, write_json, write_text
from korformer.text import bert, lossless
from korformer.text.special import CLS_ID, MASK_ID, PAD_ID, SEP_ID, SPECIAL_TOKENS, UNK_ID

__all__ = [
    "CLS_ID",
    "LARGEST_SIZE",
    "MASK_ID",
    "PAD_ID",
    "SEP_ID",
    "SPECIAL_TOKENS",
    "UNK_ID",
    "DecodeStream",
    "Scheme",
    "Vocabulary",
]

Scheme = Literal["lossless", "bert"]

LARGEST_SIZE = 1 << 18
"""Tokens that a vocabulary may have."""

_TOKENIZER, _CONFIG, _LIST = "tokenizer.json", "tokenizer_config.json", "vocab.txt"
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Rules(Protocol):
    """What a scheme consists of: the modules `lossless` and `bert`."""

    def components(self) -> dict[str, Any]: ...
    def problem(self, tokens: Sequence[str], /) -> str | None: ...
    def token_bytes(self, token: str, /) -> bytes: ...
    def display(self, token: str, /) -> str: ...


_RULES: dict[Scheme, _Rules] = {"lossless": lossless, "bert": bert}


class Vocabulary:
    """Turns text into token ids and back. Immutable; safe to use from several threads.

    Args:
        tokens: every token as `tokenizer.json` spells it, in the order of their ids; the first five are
            `SPECIAL_TOKENS`.
        scheme: `lossless` or `bert`, see `korformer.text.lossless` and `korformer.text.bert`.

    Raises:
        ModelDirectoryError: the tokens make no vocabulary of this scheme.
    """

    def __init__(self, tokens: Sequence[str], scheme: Scheme) -> None:
        self.scheme: Scheme = scheme
        self._rules = _RULES[scheme]
        self._tokens = tuple(tokens)
        problem = _problem(self._tokens) or self._rules.problem(self._tokens)
        if problem:
            raise ModelDirectoryError(f"not a {scheme} vocabulary: {problem}")
        self._json = _tokenizer_json(self._tokens, self._rules)
        self._tokenizer = Tokenizer.from_str(self._json.decode("utf-8"))
        if scheme == "lossless":
            # NFC is Python's here: it is quick where the text is NFC already, and one Unicode version rules.
            self._tokenizer.normalizer = None
            self._tokenizer.encode_special_tokens = True
        self._pieces = [
            b"" if token_id < len(SPECIAL_TOKENS) else self._rules.token_bytes(token)
            for token_id, token in enumerate(self._tokens)
        ]
        between = b"" if scheme == "lossless" else b" "
        self._pieces_and_names = [
            *(between + name.encode("ascii") for name in SPECIAL_TOKENS),
            *self._pieces[len(SPECIAL_TOKENS) :],
        ]

    @classmethod
    def load(cls, directory: Path) -> Vocabulary:
        """Read the vocabulary of a directory: one that `korformer vocab` wrote, a model's, or BERT's `vocab.txt` alone.

        Raises:
            PathError: the directory is missing or unreadable.
            ModelDirectoryError: it has no vocabulary, or one that is malformed or of no scheme known here.
        """
        directory = Path(directory)
        has_only_list = os.path.lexists(directory / _LIST) and not os.path.lexists(directory / _TOKENIZER)
        name = _LIST if has_only_list else _TOKENIZER
        where = str(directory / name)
        data = read_inside(directory, name)
        try:
            if name == _LIST:
                return cls(_read_list(data), "bert")
            return cls(*_read_tokenizer(parse_json(data, where=where)))
        except ModelDirectoryError as error:
            if error.where is not None:
                raise
            raise ModelDirectoryError(error.what, where=where, hint=error.hint) from error

    def save_files(self, directory: Path) -> None:
        """Write `tokenizer.json`, `tokenizer_config.json` and `vocab.txt` into a directory that exists.

        Raises:
            PathError: they cannot be written. ResourceError: the disk is full.
        """
        directory = Path(directory)
        write_bytes(directory / _TOKENIZER, self._json)
        write_json(directory / _CONFIG, _tokenizer_config(self.scheme))
        lines = [self.display(token_id) for token_id in range(self.size)]
        write_text(directory / _LIST, "".join(f"{line}\n" for line in lines))

    @property
    def size(self) -> int:
        """Number of tokens, the five special ones among them."""
        return len(self._tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of `tokenizer.json` as `save_files` writes it: the identity of what `encode` does."""
        return hashlib.sha256(self._json).hexdigest()

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Token ids of `text`, which is normalised to NFC first.

        In a `lossless` vocabulary names of special tokens in the text are ordinary text and `[UNK]` never comes; in a
        `bert` vocabulary they are those tokens, as in BertWordPieceTokenizer.

        Args:
            text: anything.
            add_special_tokens: put `[CLS]` before and `[SEP]` after it.

        Raises:
            InputError: the text has a lone surrogate; the message says where.
        """
        return self.encode_batch([text], add_special_tokens=add_special_tokens)[0]

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[list[int]]:
        """`encode` for many texts, on all cores."""
        normal = [unicodedata.normalize("NFC", text) for text in texts]
        try:
            encodings = self._tokenizer.encode_batch_fast(normal, add_special_tokens=add_special_tokens)
        except (TypeError, UnicodeEncodeError) as error:
            _refuse_surrogates(texts, error)
            raise
        return [encoding.ids for encoding in encodings]

    def encode_offsets(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """`encode_batch` without special tokens, and the characters that each token stands for.

        Args:
            texts: anything.

        Returns:
            Of each text the ids and for each token begin and end among the characters of the text's NFC. In a
            `lossless` vocabulary every character belongs to a token, the space before a word to its first one, and a
            character that several tokens spell (byte by byte) to each of them.

        Raises:
            InputError: a text has a lone surrogate; the message says where.
        """
        normal = [unicodedata.normalize("NFC", text) for text in texts]
        try:
            encodings = self._tokenizer.encode_batch(normal, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            _refuse_surrogates(texts, error)
            raise
        return [(encoding.ids, encoding.offsets) for encoding in encodings]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of `ids`; bytes that are no valid UTF-8 become U+FFFD.

        Args:
            ids: each at least 0 and below `size`.
            skip_special_tokens: leave special tokens out instead of writing their names.

        Raises:
            IndexError: there is no such token.
        """
        pieces = self._pieces if skip_special_tokens else self._pieces_and_names
        if len(ids) and min(ids) < 0:
            raise IndexError(f"no token has the id {min(ids)}")
        text = b"".join([pieces[token_id] for token_id in ids]).decode("utf-8", errors="replace")
        return text.removeprefix(" ") if self.scheme == "bert" else text

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 bytes that a token adds to the text, with the space before it; empty for special tokens.

        The text of tokens is these bytes joined; with a `bert` vocabulary the space at its very beginning goes.

        Raises:
            IndexError: there is no such token.
        """
        return self._pieces[self._checked(token_id)]

    def display(self, token_id: int) -> str:
        """A token for human eyes, as its line in `vocab.txt`; no two tokens look the same.

        Raises:
            IndexError: there is no such token.
        """
        token = self._tokens[self._checked(token_id)]
        return token if token_id < len(SPECIAL_TOKENS) else self._rules.display(token)

    def decode_stream(self, *, skip_special_tokens: bool = False) -> DecodeStream:
        """A decoder for tokens that come one by one; see `DecodeStream`."""
        pieces = self._pieces if skip_special_tokens else self._pieces_and_names
        return DecodeStream(pieces, drop_first_space=self.scheme == "bert")

    def _checked(self, token_id: int) -> int:
        if token_id < 0:
            raise IndexError(f"no token has the id {token_id}")
        return token_id


class DecodeStream:
    """Text as its tokens come: no character is handed out before its last byte is there.

    All that `step` and at the end `flush` return is, joined, what `Vocabulary.decode` makes of the same ids.

    Args:
        pieces: the bytes that each token adds to the text.
        drop_first_space: leave out the space that the first token may bring.
    """

    def __init__(self, pieces: Sequence[bytes], *, drop_first_space: bool) -> None:
        self._pieces = pieces
        self._drop_space = drop_first_space
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def step(self, token_id: int) -> str:
        """The characters that this token completes, possibly none.

        Raises:
            IndexError: there is no such token.
        """
        if token_id < 0:
            raise IndexError(f"no token has the id {token_id}")
        text = self._decoder.decode(self._pieces[token_id])
        if text and self._drop_space:
            self._drop_space = False
            return text.removeprefix(" ")
        return text

    def flush(self) -> str:
        """U+FFFD if the text ends inside a character, else nothing."""
        return self._decoder.decode(b"", final=True)


def _problem(tokens: Sequence[str]) -> str | None:
    """What is wrong with `tokens` whatever the scheme."""
    if tuple(tokens[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        names = ", ".join(f"{name}={token_id}" for token_id, name in enumerate(SPECIAL_TOKENS))
        return f"the special tokens are not {names}"
    if len(tokens) > LARGEST_SIZE:
        return f"{len(tokens):,} tokens are more than {LARGEST_SIZE:,}"
    if len(set(tokens)) != len(tokens):
        first_seen: dict[str, int] = {}
        for token_id, token in enumerate(tokens):
            if first_seen.setdefault(token, token_id) != token_id:
                return f"tokens {first_seen[token]} and {token_id} are the same"
    return None


def _tokenizer_json(tokens: Sequence[str], rules: _Rules) -> bytes:
    """`tokenizer.json`, written here and not by the library, so that its bytes hang on no version of that."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    components = rules.components()
    value = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": token_id, "content": name, **plain} for token_id, name in enumerate(SPECIAL_TOKENS)],
        **components,
        "model": {**components["model"], "vocab": {token: token_id for token_id, token in enumerate(tokens)}},
    }
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8")


def _tokenizer_config(scheme: Scheme) -> dict[str, Any]:
    """What `transformers` needs to know besides."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": SPECIAL_TOKENS[PAD_ID],
        "unk_token": SPECIAL_TOKENS[UNK_ID],
        "cls_token": SPECIAL_TOKENS[CLS_ID],
        "sep_token": SPECIAL_TOKENS[SEP_ID],
        "mask_token": SPECIAL_TOKENS[MASK_ID],
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": scheme == "lossless",
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _read_tokenizer(value: dict[str, Any]) -> tuple[list[str], Scheme]:
    """Tokens and scheme out of a `tokenizer.json`; the rest of it must be as the scheme has it, and is not used."""
    for scheme, rules in _RULES.items():
        components = rules.components()
        if _agrees(value.get("pre_tokenizer"), components["pre_tokenizer"]):
            for name, expected in components.items():
                if not _agrees(value.get(name), expected):
                    raise ModelDirectoryError(f"not a {scheme} vocabulary of this program: another {name}")
            return _tokens_in_order(value["model"].get("vocab")), scheme
    raise ModelDirectoryError(
        "not a vocabulary of this program: another pre_tokenizer",
        hint="Make one with korformer vocab.",
    )


def _agrees(value: object, expected: object) -> bool:
    """Whether `value` says all that `expected` says; keys that only it has do not count."""
    if isinstance(expected, dict):
        return isinstance(value, dict) and all(
            key in value and _agrees(value[key], inner) for key, inner in expected.items()
        )
    if isinstance(expected, list):
        return isinstance(value, list) and len(value) == len(expected) and all(map(_agrees, value, expected))
    return type(value) is type(expected) and value == expected


def _tokens_in_order(vocabulary: object) -> list[str]:
    if not isinstance(vocabulary, dict):
        raise ModelDirectoryError("its model has no vocab")
    tokens: list[str | None] = [None] * len(vocabulary)
    for token, token_id in vocabulary.items():
        if type(token_id) is not int or not 0 <= token_id < len(tokens) or tokens[token_id] is not None:
            raise ModelDirectoryError(f"its {len(tokens):,} tokens do not have the ids 0 to {len(tokens) - 1:,}")
        tokens[token_id] = token
    return cast("list[str]", tokens)


def _read_list(data: bytes) -> list[str]:
    """The tokens of BERT's `vocab.txt`: a line each, white space at its end apart."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelDirectoryError(f"is not UTF-8 (byte {error.start})") from error
    tokens = [line.rstrip() for line in text.removesuffix("\n").split("\n")]
    if lossless.display(lossless.BYTE_TOKENS[0]) in tokens:
        raise ModelDirectoryError("is only the readable form of a vocabulary, whose tokenizer.json is missing")
    return tokens


def _refuse_surrogates(texts: Sequence[str], error: Exception) -> None:
    """Tell where the first lone surrogate is, if there is one."""
    for index, text in enumerate(texts):
        found = _SURROGATE.search(text)
        if found:
            raise InputError(
                f"half of a surrogate pair (U+{ord(found[0]):04X}) at character {found.start():,}",
                where=f"text {index + 1:,}" if len(texts) > 1 else None,
                hint="It stands for no character; take it out.",
            ) from error
