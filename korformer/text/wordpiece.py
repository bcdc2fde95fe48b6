"""Learning a vocabulary from documents: count words, then join frequent neighbours until it is full.

Both schemes learn on whole characters, so no token holds a part of a syllable; `lossless` spells in bytes what it has
learnt. The same documents and settings give the same vocabulary, bit for bit.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from pydantic import model_validator

from korformer.config import Settings
from korformer.errors import InputError, UsageError
from korformer.events import Listener, Notice, Progress, ignore
from korformer.text import bert, lossless
from korformer.text.special import SPECIAL_TOKENS
from korformer.text.vocabulary import LARGEST_SIZE, Scheme, Vocabulary
from korformer.text.wordpiece_counts import EvenSample, WordCounts
from korformer.text.wordpiece_merges import Merger, Symbol

_PROGRESS_SECONDS = 0.1


class VocabularySettings(Settings):
    """How a vocabulary is learnt."""

    size: int = 22_000
    """Tokens in all, the special ones among them; fewer only where the corpus is too small for so many."""
    scheme: Scheme = "lossless"
    """`lossless` spells any text exactly; `bert` is the classic: `[UNK]` for unknown characters, white space lost."""
    limit_alphabet: int = 6_000
    """Different characters that a `bert` vocabulary knows, the most frequent ones. `lossless` knows them all."""
    min_count: int = 2
    """A token is learnt only if its two halves meet so often."""
    max_words: int = 4_000_000
    """Different words to count at a time; above it the rarest are forgotten. Memory is about 250 bytes for each."""
    sample_bytes: int | None = None
    """Learn from at most so many bytes of text, documents drawn evenly from the whole corpus and held in memory; None
    to learn from everything, read as a stream."""

    @model_validator(mode="after")
    def _check(self) -> VocabularySettings:
        if self.scheme == "lossless" and "limit_alphabet" in self.model_fields_set:
            raise ValueError("limit_alphabet is for the scheme bert only: lossless knows every character")
        for name, smallest in (("limit_alphabet", 1), ("min_count", 1), ("max_words", 1000), ("sample_bytes", 1)):
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise ValueError(f"{name} is {value:,}, the smallest possible is {smallest:,}")
        return self


def check_size(settings: VocabularySettings) -> None:
    """Refuse a size that is impossible whatever the corpus.

    Raises:
        UsageError: it names the nearest possible size.
    """
    smallest = lossless.SMALLEST_SIZE if settings.scheme == "lossless" else len(SPECIAL_TOKENS) + 1
    if not smallest <= settings.size <= LARGEST_SIZE:
        extreme = f"smallest possible size of a {settings.scheme} vocabulary is {smallest:,}"
        if settings.size > LARGEST_SIZE:
            extreme = f"largest possible size is {LARGEST_SIZE:,}"
        raise UsageError(f"{settings.size:,} tokens: the {extreme}", where="size")


def train_vocabulary(
    documents: Iterable[str], settings: VocabularySettings | None = None, *, listen: Listener = ignore
) -> Vocabulary:
    """Learn a vocabulary.

    Args:
        documents: NFC texts; read once.
        settings: by default as `VocabularySettings()`.
        listen: gets Progress, and a Notice when documents were sampled, rare words forgotten, or the vocabulary became
            smaller than asked for.

    Raises:
        UsageError: the size is impossible; the message names the nearest that is possible.
        InputError: there is no word in the documents, or a lone surrogate.
    """
    settings = settings or VocabularySettings()
    check_size(settings)
    words = _count_words(_checked(documents), settings, listen)
    if not words:
        raise InputError("no words in it", where="corpus", hint="A vocabulary needs text to learn from.")
    learn = _learn_lossless if settings.scheme == "lossless" else _learn_bert
    tokens = learn(words, settings, listen)
    if len(tokens) < settings.size:
        text = f"the vocabulary has {len(tokens):,} tokens: the corpus is too small for {settings.size:,}"
        listen(Notice(text=text, level="warning"))
    return Vocabulary(tokens, settings.scheme)


def _checked(documents: Iterable[str]) -> Iterator[str]:
    """The documents, if they are Unicode text."""
    for index, document in enumerate(documents):
        try:
            document.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"half of a surrogate pair at character {error.start:,}", where=f"document {index + 1:,}"
            ) from error
        yield document


def _count_words(documents: Iterable[str], settings: VocabularySettings, listen: Listener) -> Mapping[str, int]:
    words = WordCounts(lossless.pieces if settings.scheme == "lossless" else bert.words, limit=settings.max_words)
    if settings.sample_bytes is None:
        for document in documents:
            words.add(document)
    else:
        sample = EvenSample(settings.sample_bytes)
        for document in documents:
            sample.add(document)
        if sample.one_in > 1:
            text = (
                f"learning from a sample: {len(sample):,} of {sample.offered:,} documents, "
                f"{sample.bytes:,} of {sample.offered_bytes:,} bytes, drawn evenly from the whole corpus"
            )
            listen(Notice(text=text))
        progress = _Progress("counting words", len(sample), "documents", listen)
        for index, document in enumerate(sample):
            words.add(document)
            progress.reach(index + 1)
        progress.end(len(sample))
    if words.most_missed:
        text = (
            f"more than {settings.max_words:,} different words: those seen {words.most_missed:,} times or less "
            "may not count, so that memory stays bounded"
        )
        listen(Notice(text=text))
    return words.counts


def _learn_lossless(words: Mapping[str, int], settings: VocabularySettings, listen: Listener) -> list[str]:
    """Tokens for bytes, for characters and for merges, in this order.

    Characters and merges share the room by what they save: a merge saves a token wherever its pair meets, a character
    of n bytes saves n - 1. No merge is learnt with a character that is not, because it cannot save more.
    """
    counts = _count_symbols(words)
    symbols = sorted(counts, key=_by_form)
    savings = {symbol: (len(symbol.text.encode("utf-8")) - 1) * counts[symbol] for symbol in symbols}
    candidates = [symbol for symbol in symbols if savings[symbol] >= settings.min_count]
    candidates.sort(key=lambda symbol: -savings[symbol])
    room = settings.size - lossless.SMALLEST_SIZE
    merges: list[Symbol] = []
    characters = 0
    progress = _Progress("learning tokens", room, "tokens", listen)
    for merge in Merger(words, symbols, min_count=settings.min_count):
        while characters < len(candidates) and savings[candidates[characters]] >= merge.count:
            characters += 1
        if len(merges) + characters >= room:
            break
        merges.append(merge.symbol)
        progress.reach(len(merges) + characters)
    kept = sorted(candidates[: room - len(merges)], key=_by_form)
    progress.end(len(merges) + len(kept))
    learnt = [lossless.token(symbol.text, continuing=symbol.continuing) for symbol in [*kept, *merges]]
    return [*SPECIAL_TOKENS, *lossless.BYTE_TOKENS, *learnt]


def _learn_bert(words: Mapping[str, int], settings: VocabularySettings, listen: Listener) -> list[str]:
    """Characters in both forms, then merges, as the library's trainer has them.

    Raises:
        UsageError: the characters alone are more than the size.
    """
    counts = _count_symbols(words)
    characters: Counter[str] = Counter()
    for symbol, count in counts.items():
        characters[symbol.text] += count
    by_frequency = sorted(characters, key=lambda character: (-characters[character], character))
    alphabet = set(by_frequency[: settings.limit_alphabet])
    symbols = [Symbol(character, continuing=False) for character in sorted(alphabet)]
    symbols += sorted(symbol for symbol in counts if symbol.continuing and symbol.text in alphabet)
    tokens = [*SPECIAL_TOKENS, *map(_bert_token, symbols)]
    if len(tokens) > settings.size:
        raise UsageError(
            f"{settings.size:,} tokens: the {len(alphabet):,} characters alone, at the beginning of words and inside, "
            f"need {len(tokens):,}",
            where="size",
            hint="Choose a larger size, or a smaller limit_alphabet.",
        )
    progress = _Progress("learning tokens", settings.size, "tokens", listen)
    if len(tokens) < settings.size:
        for merge in Merger(words, symbols, min_count=settings.min_count):
            tokens.append(_bert_token(merge.symbol))
            progress.reach(len(tokens))
            if len(tokens) == settings.size:
                break
    progress.end(len(tokens))
    return tokens


def _count_symbols(words: Mapping[str, int]) -> Counter[Symbol]:
    """How often each character begins a word, and how often it goes on in one."""
    counts: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    for word, count in words.items():
        counts[0][word[0]] += count
        for character in word[1:]:
            counts[1][character] += count
    return Counter({Symbol(text, bool(form)): count for form in (0, 1) for text, count in counts[form].items()})


def _by_form(symbol: Symbol) -> tuple[bool, str]:
    return symbol.continuing, symbol.text


def _bert_token(symbol: Symbol) -> str:
    return bert.CONTINUING + symbol.text if symbol.continuing else symbol.text


class _Progress:
    """Tells how far a stage is, ten times a second at most and at its end."""

    def __init__(self, stage: str, total: int, unit: str, listen: Listener) -> None:
        self._stage, self._total, self._unit, self._listen = stage, total, unit, listen
        self._due = 0.0

    def reach(self, done: int) -> None:
        now = time.monotonic()
        if now >= self._due and done < self._total:
            self._due = now + _PROGRESS_SECONDS
            self._listen(Progress(stage=self._stage, done=done, total=self._total, unit=self._unit))

    def end(self, done: int) -> None:
        self._listen(Progress(stage=self._stage, done=done, total=done, unit=self._unit))
