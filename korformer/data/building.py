"""Making token stores: tokenize documents as a stream, into one store or into two."""

from __future__ import annotations

import array
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from korformer.data.split import is_held_out
from korformer.data.token_store import (
    DOCUMENTS_NAME,
    HEADER_NAME,
    OFFSET_TYPE,
    TOKENS_NAME,
    StoreHeader,
    TokenStore,
    token_type,
)
from korformer.errors import InputError
from korformer.events import Listener, Progress, ignore
from korformer.storage import open_durable, staged_directory, write_json
from korformer.text.special import CLS_ID, SEP_ID, UNK_ID

_BATCH_CHARACTERS = 1 << 20
"""Text that is tokenized at once: much for one call, little for the memory (some 100 bytes a character)."""
_COPY_DOCUMENTS = 1 << 12
_PROGRESS_SECONDS = 0.1


class Encoder(Protocol):
    """What building a store needs of a vocabulary; `korformer.text.vocabulary.Vocabulary` is one."""

    @property
    def size(self) -> int:
        """Number of tokens."""

    @property
    def fingerprint(self) -> str:
        """Its identity."""

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[list[int]]:
        """Ids of each text."""


def build_store(
    documents: Iterable[str], vocabulary: Encoder, directory: Path, *, replace: bool = False, listen: Listener = ignore
) -> TokenStore:
    """Tokenize documents into a new store. Memory hangs on the largest document, not on their number.

    Args:
        documents: their texts, NFC; empty ones are left out.
        vocabulary: makes the ids.
        directory: where the store shall be; it appears when it is complete.
        replace: put it in the place of one that is there.
        listen: gets Progress(stage="tokenizing") in characters, without a total.

    Raises:
        InputError: there is no text. PathError, ResourceError: see `staged_directory`.
    """
    with _writing(directory, vocabulary, replace=replace) as writer:
        tell = _Teller(listen)
        for texts, ids in _encoded(documents, vocabulary):
            writer.write(texts, ids)
            tell(writer.characters)
    tell.end(writer.characters)
    return TokenStore.open(directory, verify=False)


def build_parts(
    documents: Iterable[str],
    vocabulary: Encoder,
    directories: tuple[Path, Path],
    *,
    share: float,
    listen: Listener = ignore,
) -> tuple[TokenStore, TokenStore]:
    """The same into two stores: one to train on, and one of the share that is held out.

    Args:
        documents, vocabulary, listen: as above.
        directories: of the training and of the held-out text; stores that are there are replaced.
        share: of the documents that is held out, above 0 and below 1.

    Raises:
        InputError: one of the two would be empty. Others as above.
    """
    train_place, valid_place = directories
    with (
        _writing(train_place, vocabulary, replace=True) as train,
        _writing(valid_place, vocabulary, replace=True) as valid,
    ):
        tell = _Teller(listen)
        for texts, ids in _encoded(documents, vocabulary):
            held_out = [is_held_out(text, share) for text in texts]
            for writer, side in ((train, False), (valid, True)):
                mine = [place for place, held in enumerate(held_out) if held is side]
                writer.write([texts[place] for place in mine], [ids[place] for place in mine])
            tell(train.characters + valid.characters)
        if train.documents + valid.documents and not (train.documents and valid.documents):
            raise InputError(
                f"{'none' if train.documents else 'every one'} of its documents is held out",
                where="corpus",
                hint="Give more text, another share, or a held-out text of its own (--valid).",
            )
    tell.end(train.characters + valid.characters)
    return TokenStore.open(train_place, verify=False), TokenStore.open(valid_place, verify=False)


def merge_stores(stores: Sequence[TokenStore], directory: Path) -> TokenStore:
    """A new store of the documents of several of one vocabulary, one store after another.

    Raises:
        ModelDirectoryError: they are of several vocabularies. PathError, ResourceError: see `staged_directory`.
    """
    first = stores[0]
    for store in stores:
        store.require_vocabulary(first.vocabulary_fingerprint)
    header = StoreHeader(
        documents=sum(store.documents for store in stores),
        tokens=sum(store.tokens for store in stores),
        characters=sum(store.characters for store in stores),
        unknown_tokens=sum(store.unknown_tokens for store in stores),
        vocabulary_size=first.vocabulary_size,
        vocabulary_fingerprint=first.vocabulary_fingerprint,
    )
    with staged_directory(directory, replace=True) as staged:
        with open_durable(staged / TOKENS_NAME) as tokens, open_durable(staged / DOCUMENTS_NAME) as offsets:
            offsets.write(np.zeros(1, OFFSET_TYPE).tobytes())
            before = 0
            for store in stores:
                for number in range(0, store.documents, _COPY_DOCUMENTS):
                    stop = min(number + _COPY_DOCUMENTS, store.documents)
                    spans = store.spans(np.arange(number, stop, dtype=np.int64))
                    tokens.write(store.read(spans[:1, 0], spans[-1:, 1]).data)
                    offsets.write((spans[:, 1] + before).astype(OFFSET_TYPE).data)
                before += store.tokens
        write_json(staged / HEADER_NAME, header.to_json())
    return TokenStore.open(directory, verify=False)


@contextmanager
def _writing(directory: Path, vocabulary: Encoder, *, replace: bool) -> Iterator[_Writer]:
    """A writer of a new store, which appears when the block ends well."""
    with staged_directory(directory, replace=replace) as staged:
        with ExitStack() as files:
            tokens = files.enter_context(open_durable(staged / TOKENS_NAME))
            offsets = files.enter_context(open_durable(staged / DOCUMENTS_NAME))
            writer = _Writer(vocabulary, tokens, offsets)
            yield writer
        if not writer.documents:
            raise InputError("no text in it", where="corpus")
        write_json(staged / HEADER_NAME, writer.header().to_json())


class _Writer:
    """Counts and writes batches of documents."""

    def __init__(self, vocabulary: Encoder, tokens: BinaryIO, offsets: BinaryIO) -> None:
        self.documents = 0
        self.tokens = 0
        self.characters = 0
        self.unknown_tokens = 0
        self._vocabulary = vocabulary
        self._type = token_type(vocabulary.size)
        self._tokens = tokens
        self._offsets = offsets
        offsets.write(np.zeros(1, OFFSET_TYPE).tobytes())

    def write(self, texts: list[str], ids: list[list[int]]) -> None:
        flat = array.array("I")
        ends = []
        for document in ids:
            flat.append(CLS_ID)
            flat.fromlist(document)
            flat.append(SEP_ID)
            ends.append(self.tokens + len(flat))
        batch = np.frombuffer(flat, np.dtype("u4"))
        self._tokens.write(batch.astype(self._type).data)
        self._offsets.write(np.array(ends, OFFSET_TYPE).data)
        self.documents += len(texts)
        self.tokens += len(flat)
        self.characters += sum(map(len, texts))
        self.unknown_tokens += int(np.count_nonzero(batch == UNK_ID))

    def header(self) -> StoreHeader:
        return StoreHeader(
            documents=self.documents,
            tokens=self.tokens,
            characters=self.characters,
            unknown_tokens=self.unknown_tokens,
            vocabulary_size=self._vocabulary.size,
            vocabulary_fingerprint=self._vocabulary.fingerprint,
        )


class _Teller:
    """Tells how many characters are tokenized, not too often."""

    def __init__(self, listen: Listener) -> None:
        self._listen = listen
        self._due = 0.0

    def __call__(self, characters: int) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _PROGRESS_SECONDS
            self._listen(Progress(stage="tokenizing", done=characters, total=None, unit="characters"))

    def end(self, characters: int) -> None:
        self._listen(Progress(stage="tokenizing", done=characters, total=characters, unit="characters"))


def _encoded(documents: Iterable[str], vocabulary: Encoder) -> Iterator[tuple[list[str], list[list[int]]]]:
    """Batches of documents with their ids. While one is tokenized, the next is read and the last one written."""
    with ThreadPoolExecutor(1) as worker:
        before: tuple[list[str], Future[list[list[int]]]] | None = None
        for texts in _batches(documents):
            after = texts, worker.submit(vocabulary.encode_batch, texts, add_special_tokens=False)
            if before is not None:
                yield before[0], before[1].result()
            before = after
        if before is not None:
            yield before[0], before[1].result()


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in documents:
        if not text:
            continue
        if batch and characters + len(text) > _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch
