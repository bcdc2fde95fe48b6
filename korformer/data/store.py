"""Making token stores: tokenize documents as a stream, keep the result, find it again."""

from __future__ import annotations

import array
import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import platformdirs

from korformer.data.token_store import (
    DOCUMENTS_NAME,
    HEADER_NAME,
    OFFSET_TYPE,
    TOKENS_NAME,
    VERSION,
    StoreHeader,
    TokenStore,
    token_type,
)
from korformer.errors import InputError, ModelDirectoryError
from korformer.events import Event, Listener, Notice, Progress, ignore
from korformer.storage import open_durable, require_free, staged_directory, sweep_orphans, write_json
from korformer.text.documents import Documents, ReadSettings, fingerprint
from korformer.text.files import InputFile
from korformer.text.vocabulary import CLS_ID, SEP_ID, UNK_ID

__all__ = ["TokenStore", "build_store", "cached_store", "default_cache"]

_BATCH_CHARACTERS = 1 << 20
"""Text that is tokenized at once: much for one call, little for the memory (some 100 bytes a character)."""
_PROGRESS_SECONDS = 0.1
_TOKENS_PER_BYTE = 0.15
"""Fewer tokens than Korean UTF-8 text gives, so that a disk that would just do is not refused."""
_COMPRESSION = {".gz": 3, ".bz2": 4, ".xz": 4, ".zst": 3}


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
    writer = _Writer(vocabulary, listen)
    with staged_directory(directory, replace=replace) as staged:
        with open_durable(staged / TOKENS_NAME) as tokens, open_durable(staged / DOCUMENTS_NAME) as offsets:
            offsets.write(np.zeros(1, OFFSET_TYPE).tobytes())
            for texts, ids in _encoded(documents, vocabulary):
                writer.write(texts, ids, tokens, offsets)
        if not writer.documents:
            raise InputError("no text in it", where="corpus")
        write_json(staged / HEADER_NAME, writer.header().to_json())
    listen(Progress(stage="tokenizing", done=writer.characters, total=writer.characters, unit="characters"))
    return TokenStore.open(directory, verify=False)


def cached_store(
    sources: Sequence[str],
    vocabulary: Encoder,
    cache: Path,
    *,
    read: ReadSettings = ReadSettings(),  # noqa: B008  (frozen)
    listen: Listener = ignore,
) -> TokenStore:
    """The token store of a corpus: the one in `cache` where there is one, else a new one is put there.

    Corpus (by content), vocabulary and settings of reading decide which it is. Pipes cannot be known before they are
    read; they are tokenized each time.

    Args:
        sources: see `korformer.text.files.expand`.
        vocabulary: makes the ids.
        cache: folder of stores; made where it is missing.
        read: how to read the sources.
        listen: gets Progress of checking the corpus and of "verifying" or "tokenizing", in bytes; and Notices.

    Raises:
        PathError, InputError, UsageError: see `korformer.text.documents.Documents`; InputError if there is no text.
        ResourceError: the disk is too small.
    """
    # Bytes read tell how far tokenizing has come, and of those the total is known.
    known_total = Documents(sources, read).total_bytes is not None
    documents = Documents(sources, read, listen=_renamed(listen, "reading", "tokenizing") if known_total else listen)
    sweep_orphans(cache)
    if known_total:
        corpus = fingerprint(documents.files, listen=listen)
        key = _key(corpus, vocabulary.fingerprint, read.model_dump_json(), str(VERSION))
        place = cache / f"{_stem(documents.files)}-{key}"
        found = _found(place, listen)
        if found is not None:
            return found
        require_free(cache, _estimated_bytes(documents.files, vocabulary))
    else:
        place = cache / f"piped-{_key(vocabulary.fingerprint, *(file.name for file in documents.files))}"
    quiet = _without(listen, "tokenizing") if known_total else listen
    return build_store(documents, vocabulary, place, replace=True, listen=quiet)


def default_cache() -> Path:
    """The user's folder for token stores (`~/.cache/korformer/tokens` on Linux; XDG_CACHE_HOME moves it)."""
    return platformdirs.user_cache_path("korformer") / "tokens"


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _found(place: Path, listen: Listener) -> TokenStore | None:
    if not place.exists():
        return None
    try:
        store = TokenStore.open(place, listen=listen)
    except ModelDirectoryError as error:
        listen(Notice(text=f"{error} Tokenizing the corpus again.", level="warning"))
        return None
    listen(Notice(text=f"tokens of an earlier run are used again ({store.tokens:,} in {place})"))
    return store


class _Writer:
    """Counts and writes batches of documents."""

    def __init__(self, vocabulary: Encoder, listen: Listener) -> None:
        self.documents = 0
        self.tokens = 0
        self.characters = 0
        self.unknown_tokens = 0
        self._vocabulary = vocabulary
        self._type = token_type(vocabulary.size)
        self._listen = listen
        self._due = 0.0

    def write(self, texts: list[str], ids: list[list[int]], tokens: BinaryIO, offsets: BinaryIO) -> None:
        flat = array.array("I")
        ends = []
        for document in ids:
            flat.append(CLS_ID)
            flat.fromlist(document)
            flat.append(SEP_ID)
            ends.append(self.tokens + len(flat))
        batch = np.frombuffer(flat, np.dtype("u4"))
        tokens.write(batch.astype(self._type).data)
        offsets.write(np.array(ends, OFFSET_TYPE).data)
        self.documents += len(texts)
        self.tokens += len(flat)
        self.characters += sum(map(len, texts))
        self.unknown_tokens += int(np.count_nonzero(batch == UNK_ID))
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _PROGRESS_SECONDS
            self._listen(Progress(stage="tokenizing", done=self.characters, total=None, unit="characters"))

    def header(self) -> StoreHeader:
        return StoreHeader(
            documents=self.documents,
            tokens=self.tokens,
            characters=self.characters,
            unknown_tokens=self.unknown_tokens,
            vocabulary_size=self._vocabulary.size,
            vocabulary_fingerprint=self._vocabulary.fingerprint,
        )


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


def _estimated_bytes(files: Sequence[InputFile], vocabulary: Encoder) -> int:
    text_bytes = sum((file.size_bytes or 0) * _COMPRESSION.get(Path(file.name).suffix, 1) for file in files)
    return int(text_bytes * _TOKENS_PER_BYTE) * token_type(vocabulary.size).itemsize


def _stem(files: Sequence[InputFile]) -> str:
    """A beginning for the store's name that people recognise."""
    return re.sub(r"[^\w-]+", "-", Path(files[0].name).name.split(".")[0])[:30].strip("-") or "corpus"


def _renamed(listen: Listener, stage: str, name: str) -> Listener:
    def hear(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == stage:
            event = Progress(stage=name, done=event.done, total=event.total, unit=event.unit)
        listen(event)

    return hear


def _without(listen: Listener, stage: str) -> Listener:
    def hear(event: Event) -> None:
        if not (isinstance(event, Progress) and event.stage == stage):
            listen(event)

    return hear
