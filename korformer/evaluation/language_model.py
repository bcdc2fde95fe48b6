"""Perplexity and bits per character of a language model on held-out text.

Bits per character is -log2 of the probability of every token after [CLS], the final [SEP] included, over the NFC code
points of the text, line breaks included. Windows are cut as `korformer.evaluation.windows` says. Perplexity is 2 to the
bits per token, so it depends on the vocabulary and compares only models that share one; bits per character does not.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from korformer.config import Settings
from korformer.errors import InputError, UsageError
from korformer.evaluation.context import ContextProbe, ContextRow
from korformer.evaluation.result import LmResult
from korformer.evaluation.sampling import TokenDocuments, read_window, sample_windows
from korformer.evaluation.scoring import LanguageModel, evaluating, score
from korformer.evaluation.tally import Tally
from korformer.evaluation.windows import Segment, document_segments
from korformer.events import Listener, Progress, ignore

ENCODE_CHARACTERS = 1 << 17
"""Text that is tokenized at once."""

READ_AHEAD_TOKENS = 1 << 24
"""Data of up to this many tokens is read before measuring begins, so that the progress has an end."""

REPORT_SECONDS = 0.1


class LmSettings(Settings):
    """How to measure a language model."""

    window: Annotated[int, Field(ge=2)] | None = None
    """Most tokens of context; the model's own window where it is not given."""
    batch_tokens: Annotated[int, Field(ge=1)] = 8192
    """Tokens of one forward pass; it changes speed and memory, not the result."""
    max_documents: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many documents that have text."""
    by_context: bool = True
    """Also predict late tokens with their context cut short."""
    context_sample: Annotated[int, Field(ge=8)] = 2048
    """Late tokens to sample for that."""
    context_share: Annotated[float, Field(gt=0)] = 0.25
    """Work for that as a share of the work on everything else; the sample shrinks to fit."""
    seed: int = 0
    """Seed of that sample."""


class LosslessVocabulary(Protocol):
    """What measuring needs of a vocabulary; `korformer.text.vocabulary.Vocabulary` is one."""

    @property
    def scheme(self) -> str:
        """`lossless` where a text's tokens spell the text."""

    @property
    def size(self) -> int:
        """Number of tokens."""

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[list[int]]:
        """Ids of each text."""

    def token_bytes(self, token_id: int) -> bytes:
        """UTF-8 bytes that a token appends to the text."""


Encoded = tuple[NDArray[np.integer], float]
"""A document's ids with [CLS] and [SEP], and the characters that they stand for."""


def evaluate_lm(
    model: LanguageModel,
    vocabulary: LosslessVocabulary,
    documents: Iterable[str],
    settings: LmSettings = LmSettings(),  # noqa: B008  (frozen)
    listen: Listener = ignore,
) -> LmResult:
    """Measure a model on documents, which are read as a stream; those without text are left out.

    Args:
        model: put in evaluation mode for the time being.
        vocabulary: the model's.
        documents: their texts.
        settings: how.
        listen: hears Progress (stage "evaluating", unit "tokens", the total unknown for very long data).

    Raises:
        InputError: there is no text.
        UsageError: `settings.window` is larger than the model's.
        DivergedError: the model's probabilities are not finite.
    """
    tally = _new_tally(model, vocabulary, settings)
    stream = _encode(vocabulary, islice(_with_text(documents, tally), settings.max_documents))
    encoded, total = _read_ahead(stream)
    probe = ContextProbe(window=tally.window, tokens=settings.context_sample, seed=settings.seed)

    def segments() -> Iterator[Segment]:
        for ids, characters in encoded:
            name = tally.begin_document(characters)
            if settings.by_context:
                probe.offer(ids)
            yield from document_segments(name, ids, tally.window)

    return _measure(model, segments(), tally, settings, listen, stage="evaluating", total=total, probe=probe)


def validate(
    model: LanguageModel,
    vocabulary: LosslessVocabulary,
    store: TokenDocuments,
    *,
    max_tokens: int | None = None,
    window: int | None = None,
    batch_tokens: int = LmSettings().batch_tokens,
    seed: int = 0,
    listen: Listener = ignore,
) -> LmResult:
    """The same figures for a model in training: of a token store, or of a random sample of its windows.

    Two calls with the same store, window and seed measure the same tokens. The sample estimates what measuring all of
    the store gives; see `sample_windows`.

    Args:
        model: put in evaluation mode for the time being.
        vocabulary: the model's.
        store: held-out text.
        max_tokens: most predicted tokens; all of them where it is None.
        window: most tokens of context; the model's own window where it is not given.
        batch_tokens: tokens of one forward pass.
        seed: of the sample.
        listen: hears Progress (stage "validating", unit "tokens").

    Raises:
        InputError: there is no text.
        UsageError: `window` is larger than the model's.
        DivergedError: the model's probabilities are not finite.
    """
    settings = LmSettings(window=window, batch_tokens=batch_tokens, by_context=False)
    tally = _new_tally(model, vocabulary, settings)
    windows = sample_windows(store, window=tally.window, max_tokens=max_tokens, seed=seed)
    # A vocabulary that is not lossless cannot count the characters of a part; a share of the whole stands in for it.
    share = store.characters / max(1, store.tokens - store.documents)

    def segments() -> Iterator[Segment]:
        document = name = -1
        for index in range(len(windows.document)):
            if windows.document[index] != document:
                document, name = windows.document[index], tally.begin_document(0.0)
            segment = read_window(store, windows, index, window=tally.window, name=name)
            tally.add_characters(name, tally.characters_of(segment.targets, share=share))
            yield segment

    total = int(windows.predicted.sum())
    return _measure(model, segments(), tally, settings, listen, stage="validating", total=total)


def token_characters(vocabulary: LosslessVocabulary) -> NDArray[np.int64] | None:
    """(V,) code points that begin in each token, or None where tokens do not spell the text.

    A byte that does not continue a code point begins one, so the sum over a document is its length in code points even
    where a syllable is spread over several tokens.
    """
    if vocabulary.scheme != "lossless":
        return None
    counts = (
        sum(byte & 0xC0 != 0x80 for byte in vocabulary.token_bytes(token_id)) for token_id in range(vocabulary.size)
    )
    return np.fromiter(counts, dtype=np.int64, count=vocabulary.size)


def _new_tally(model: LanguageModel, vocabulary: LosslessVocabulary, settings: LmSettings) -> Tally:
    longest = model.config.max_seq_len
    window = settings.window if settings.window is not None else longest
    if window > longest:
        raise UsageError(
            f"{window} tokens, and the model's window has {longest}",
            where="window",
            hint=f"Give {longest} or less.",
        )
    return Tally(window=window, characters=token_characters(vocabulary))


def _measure(
    model: LanguageModel,
    segments: Iterable[Segment],
    tally: Tally,
    settings: LmSettings,
    listen: Listener,
    *,
    stage: str,
    total: int | None,
    probe: ContextProbe | None = None,
) -> LmResult:
    began = told = time.monotonic()
    rows: list[ContextRow] = []
    with evaluating(model):
        for segment, losses in score(model, segments, row_tokens=tally.window, batch_tokens=settings.batch_tokens):
            tally.add(segment, losses)
            if time.monotonic() - told >= REPORT_SECONDS:
                told = time.monotonic()
                listen(Progress(stage=stage, done=tally.tokens, total=total, unit="tokens"))
        if not tally.tokens:
            raise InputError("there is no text to measure", hint="Give a file that has text.")
        listen(Progress(stage=stage, done=tally.tokens, total=total and tally.tokens, unit="tokens"))
        if probe is not None:
            budget = int(settings.context_share * tally.inputs)
            rows = probe.measure(model, batch_tokens=settings.batch_tokens, budget_tokens=budget)
    return tally.result(strictly_causal=model.strictly_causal, by_context=rows, seconds=time.monotonic() - began)


def _with_text(documents: Iterable[str], tally: Tally) -> Iterator[str]:
    for text in documents:
        if text.strip():
            # Without a copy where it already is NFC, as documents of korformer.text are.
            yield text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)
        else:
            tally.empty_documents += 1


def _read_ahead(encoded: Iterator[Encoded]) -> tuple[Iterator[Encoded], int | None]:
    held = []
    tokens = 0
    for document in encoded:
        held.append(document)
        tokens += len(document[0]) - 1
        if tokens > READ_AHEAD_TOKENS:
            return chain(held, encoded), None
    return iter(held), tokens


def _encode(vocabulary: LosslessVocabulary, texts: Iterable[str]) -> Iterator[Encoded]:
    waiting: list[str] = []
    characters = 0
    for text in texts:
        waiting.append(text)
        characters += len(text)
        if characters >= ENCODE_CHARACTERS:
            yield from _encode_some(vocabulary, waiting)
            waiting, characters = [], 0
    yield from _encode_some(vocabulary, waiting)


def _encode_some(vocabulary: LosslessVocabulary, texts: list[str]) -> Iterator[Encoded]:
    if texts:
        for text, ids in zip(texts, vocabulary.encode_batch(texts, add_special_tokens=True), strict=True):
            yield np.array(ids, dtype=np.int32), len(text)
