"""What a vocabulary makes of text that it was not learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from korformer.errors import InputError
from korformer.text.special import UNK_ID
from korformer.text.vocabulary import Vocabulary
from korformer.text.wordpiece_counts import EvenSample

HOLD_OUT_EVERY = 100
HOLD_OUT_BYTES = 8 << 20
SAMPLE_CHARACTERS = 40
_BATCH_CHARACTERS = 1 << 20


class HeldOut:
    """Passes a corpus on and keeps text for a report: every hundredth document, which is not passed on then.

    Which documents these are hangs on their places alone. Of a corpus of fewer than a hundred, all are passed on and
    measured. At most `HOLD_OUT_BYTES` stay in memory, drawn evenly.

    Args:
        corpus: documents to pass on; read once.
        text: documents to measure instead; read at once. All of `corpus` is passed on then.

    Attributes:
        is_held_out: whether what was kept was not passed on; known when the corpus has been read.
    """

    def __init__(self, corpus: Iterable[str], text: Iterable[str] | None = None) -> None:
        self._corpus = corpus
        self._kept = EvenSample(HOLD_OUT_BYTES)
        self._is_given = self.is_held_out = text is not None
        for document in text or ():
            self._kept.add(document)

    def training(self) -> Iterator[str]:
        """The documents to learn from."""
        for index, document in enumerate(self._corpus):
            if self._is_given or index % HOLD_OUT_EVERY < HOLD_OUT_EVERY - 1:
                if not self.is_held_out:
                    self._kept.add(document)
                yield document
                continue
            if not self.is_held_out:
                self.is_held_out, self._kept = True, EvenSample(HOLD_OUT_BYTES)
            self._kept.add(document)

    def documents(self) -> Iterator[str]:
        """The documents to measure."""
        return iter(self._kept)


@dataclass(frozen=True, kw_only=True)
class Split:
    """A piece of text and how its tokens look."""

    text: str
    tokens: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class VocabularyReport:
    """What was measured.

    Attributes:
        documents, characters: NFC texts measured, and their code points.
        words: 어절, stretches between white space.
        tokens: without `[CLS]` and `[SEP]`.
        unknown_tokens: `[UNK]` among them.
        byte_tokens: tokens that stand for a part of a character; only a `lossless` vocabulary has any.
        splits: samples from the beginnings of some documents.
    """

    documents: int
    characters: int
    words: int
    tokens: int
    unknown_tokens: int
    byte_tokens: int
    splits: tuple[Split, ...]

    @property
    def unknown_rate(self) -> float:
        """Share of `[UNK]` among the tokens."""
        return self.unknown_tokens / max(self.tokens, 1)

    @property
    def byte_rate(self) -> float:
        """Share of tokens that stand for a part of a character."""
        return self.byte_tokens / max(self.tokens, 1)

    @property
    def characters_per_token(self) -> float:
        """Code points, white space included, a token."""
        return self.characters / max(self.tokens, 1)

    @property
    def tokens_per_word(self) -> float:
        """Tokens an 어절, those for white space and punctuation included."""
        return self.tokens / max(self.words, 1)


def measure_vocabulary(vocabulary: Vocabulary, documents: Iterable[str], *, samples: int = 3) -> VocabularyReport:
    """Encode `documents` and count.

    Args:
        vocabulary: to be measured.
        documents: NFC texts; read once, a megabyte at a time.
        samples: how many splits to show.

    Raises:
        InputError: there is no text.
    """
    in_bytes = [_is_part(vocabulary.token_bytes(token_id)) for token_id in range(vocabulary.size)]
    count = characters = words = tokens = unknown = parts = 0
    splits: list[Split] = []
    for batch in _batches(documents):
        for text, ids in zip(batch, vocabulary.encode_batch(batch), strict=True):
            count += 1
            characters += len(text)
            words += len(text.split())
            tokens += len(ids)
            unknown += ids.count(UNK_ID)
            parts += sum(in_bytes[token_id] for token_id in ids)
            if len(splits) < samples:
                splits.append(_split(vocabulary, text))
    if not tokens:
        raise InputError("no text in it", where="held-out text")
    return VocabularyReport(
        documents=count,
        characters=characters,
        words=words,
        tokens=tokens,
        unknown_tokens=unknown,
        byte_tokens=parts,
        splits=tuple(splits),
    )


def _is_part(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _split(vocabulary: Vocabulary, text: str) -> Split:
    """The longest line of the beginning of `text`, cut where a word ends."""
    line = max((line.strip() for line in text[:2000].splitlines()), key=len, default="")
    if len(line) > SAMPLE_CHARACTERS:
        words = line[: SAMPLE_CHARACTERS + 1].rpartition(" ")[0]
        line = words or line[:SAMPLE_CHARACTERS]
    return Split(text=line, tokens=tuple(map(vocabulary.display, vocabulary.encode(line))))
