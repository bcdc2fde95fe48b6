"""Learning a WordPiece vocabulary: the same corpus and options give the same bytes.

The pieces are learnt by the tokenizers library from characters. Its own result differs from run to run, because ids of
continuing characters, which break ties between equally frequent pairs, follow the order of a hash table
(huggingface/tokenizers #1794). Here both forms of every character of the alphabet have their ids before learning begins.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from korformer.config import Settings
from korformer.errors import InputError, UsageError
from korformer.events import Listener, Notice, Progress, ignore
from korformer.text import bert, lossless
from korformer.text.lossless import PREFIX, SPACE_MARK, SPECIAL_TOKENS
from korformer.text.vocabulary import Vocabulary

LOSSLESS_COVERAGE = 0.9995
"""Share of a corpus' characters that the alphabet of the lossless scheme covers; the others are spelt in bytes."""

CHARACTER_BYTES = 3
"""A Hangul syllable in UTF-8."""


class VocabularySettings(Settings):
    """How a vocabulary is learnt."""

    size: Annotated[int, Field(ge=1, le=2**20)] = 22000
    """Tokens in all, special ones and bytes included."""
    scheme: Literal["lossless", "bert"] = "lossless"
    """lossless gives every text back; bert is BertWordPieceTokenizer."""
    limit_alphabet: Annotated[int, Field(ge=1)] = 6000
    """bert: most characters that are known one by one; text with others becomes [UNK]."""
    min_frequency: Annotated[int, Field(ge=1)] = 2
    """How often a piece must occur to be learnt."""
    sample_bytes: Annotated[int, Field(ge=1 << 16)] = 400 << 20
    """Most text to learn from, which bounds memory; of a larger corpus documents are taken evenly."""


def train_vocabulary(
    documents: Iterable[str], settings: VocabularySettings, *, listen: Listener = ignore
) -> Vocabulary:
    """Learn a vocabulary from documents, which are read once.

    Args:
        documents: their texts.
        settings: how.
        listen: hears Progress (stage "learning") and Notices about sampling and size.

    Raises:
        InputError: there is no text.
        UsageError: the size has no room for special tokens and characters.
    """
    smallest = len(SPECIAL_TOKENS) + (len(lossless.byte_pieces()) if settings.scheme == "lossless" else 1)
    if settings.size < smallest:
        raise UsageError(
            f"{settings.size:,} tokens have no room for the special tokens"
            + (" and the bytes" if settings.scheme == "lossless" else ""),
            where="--size",
            hint=f"Give {smallest:,} or more; 8,000 to 32,000 is usual.",
        )
    sample = EvenSample(settings.sample_bytes // CHARACTER_BYTES)
    for text in documents:
        sample.add(text)
    if not any(text.strip() for text in sample.texts):
        raise InputError("there is no text to learn from", hint="Give a corpus with text.")
    if sample.stride > 1:
        listen(
            Notice(
                text=f"the corpus is larger than {settings.sample_bytes / 2**20:,.0f} MB: learning from one document "
                f"in {sample.stride} ({len(sample.texts):,} of {sample.seen:,})"
            )
        )
    pieces = _learn_lossless(sample.texts, settings, listen) if settings.scheme == "lossless" else _learn_bert(
        sample.texts, settings, listen
    )
    if len(pieces) < settings.size:
        listen(
            Notice(
                text=f"the corpus gives {len(pieces):,} tokens, not {settings.size:,}: it holds no more pieces that "
                f"occur {settings.min_frequency} times",
                level="warning",
            )
        )
    return Vocabulary(settings.scheme, pieces)


class EvenSample:
    """Documents taken evenly from a stream of unknown length: every one, or every second, fourth, … where they are many.

    Args:
        most_characters: what the sample may hold.
    """

    def __init__(self, most_characters: int) -> None:
        self._most = most_characters
        self.texts: list[str] = []
        self.stride = 1
        self.seen = 0
        self._characters = 0

    def add(self, text: str) -> None:
        """Offer the next document."""
        if self.seen % self.stride == 0:
            self.texts.append(text)
            self._characters += len(text)
        self.seen += 1
        while self._characters > self._most and len(self.texts) > 1:
            self.texts = self.texts[::2]
            self.stride *= 2
            self._characters = sum(map(len, self.texts))


def _alphabet(texts: Iterable[str], *, most: int, coverage: float = 1.0) -> list[str]:
    """The most frequent characters, equally frequent ones by code point, in the order of code points."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    total, covered, kept = sum(counts.values()), 0, []
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(kept) == most or covered >= coverage * total:
            break
        kept.append(character)
        covered += count
    return sorted(kept)


def _learn(
    texts: list[str],
    splitter: pre_tokenizers.PreTokenizer,
    alphabet: list[str],
    size: int,
    min_frequency: int,
    listen: Listener,
) -> list[str]:
    """Pieces in the order in which they were learnt, the alphabet's two forms first."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = splitter
    fixed = [*alphabet, *(PREFIX + character for character in alphabet)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        show_progress=False,
        special_tokens=[*SPECIAL_TOKENS, *fixed],
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        continuing_subword_prefix=PREFIX,
    )
    tokenizer.train_from_iterator(_told(texts, listen), trainer)
    ids = tokenizer.get_vocab(with_added_tokens=False)
    return sorted((piece for piece in ids if piece not in SPECIAL_TOKENS), key=ids.__getitem__)


def _told(texts: list[str], listen: Listener) -> Iterator[str]:
    step = max(1, len(texts) // 100)
    for done, text in enumerate(texts, start=1):
        yield text
        if done % step == 0 or done == len(texts):
            listen(Progress(stage="learning", done=done, total=len(texts), unit="documents"))


def _learn_lossless(texts: list[str], settings: VocabularySettings, listen: Listener) -> list[str]:
    texts = [text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text) for text in texts]
    byte_pieces = lossless.byte_pieces()
    room = settings.size - len(SPECIAL_TOKENS) - len(byte_pieces)
    alphabet = _alphabet(texts, most=room // 4, coverage=LOSSLESS_COVERAGE)
    alphabet = [character for character in alphabet if character != SPACE_MARK]
    # Some learnt pieces are bytes already (ASCII), so a few more are asked for than there is room.
    learnt = _learn(
        texts, lossless.word_splitter(), alphabet, settings.size, settings.min_frequency, listen
    )
    taken = dict.fromkeys([*SPECIAL_TOKENS, *byte_pieces])
    for piece in learnt:
        if len(taken) == settings.size:
            break
        continuing = piece.startswith(PREFIX)
        mapped = lossless.to_byte_characters(piece.removeprefix(PREFIX) if continuing else piece)
        taken.setdefault(PREFIX + mapped if continuing else mapped)
    return list(taken)


def _learn_bert(texts: list[str], settings: VocabularySettings, listen: Listener) -> list[str]:
    normalizer = bert.normalizer()
    texts = [normalizer.normalize_str(text) for text in texts]
    room = settings.size - len(SPECIAL_TOKENS)
    alphabet = _alphabet(texts, most=min(settings.limit_alphabet, max(1, room // 2)))
    alphabet = [character for character in alphabet if not character.isspace()]
    learnt = _learn(
        texts, pre_tokenizers.BertPreTokenizer(), alphabet, settings.size, settings.min_frequency, listen
    )
    return [*SPECIAL_TOKENS, *learnt][: settings.size]
