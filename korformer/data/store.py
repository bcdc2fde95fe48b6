"""Token stores of corpora: made once, kept in a cache, found again by what went in."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import platformdirs

from korformer.data.building import Encoder, build_parts, build_store, merge_stores
from korformer.data.token_store import VERSION, TokenStore, token_type
from korformer.errors import ModelDirectoryError
from korformer.events import Event, Listener, Notice, Progress, ignore
from korformer.storage import require_free, sweep_orphans
from korformer.text.documents import Documents, ReadSettings, fingerprint
from korformer.text.files import InputFile

__all__ = ["Encoder", "TokenStore", "build_store", "cached_merge", "cached_parts", "cached_store", "default_cache"]

_TOKENS_PER_BYTE = 0.15
"""Fewer tokens than Korean UTF-8 text gives, so that a disk that would just do is not refused."""
_COMPRESSION = {".gz": 3, ".bz2": 4, ".xz": 4, ".zst": 3}
_TRAIN, _VALID = "-train", "-valid"

StoresT = TypeVar("StoresT", bound=tuple[TokenStore, ...])


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

    def build(documents: Documents, place: Path, quiet: Listener) -> tuple[TokenStore]:
        return (build_store(documents, vocabulary, place, replace=True, listen=quiet),)

    return _cached(sources, vocabulary, cache, read, listen, (), ("",), build)[0]


def cached_parts(
    sources: Sequence[str],
    vocabulary: Encoder,
    cache: Path,
    *,
    share: float,
    read: ReadSettings = ReadSettings(),  # noqa: B008  (frozen)
    listen: Listener = ignore,
) -> tuple[TokenStore, TokenStore]:
    """The same with a share of the documents held out, see `korformer.data.split`.

    Args:
        share: of the documents, above 0 and below 1; otherwise as of `cached_store`.

    Returns:
        Training text and held-out text.

    Raises:
        InputError: one of them would be empty. Others as `cached_store`.
    """

    def build(documents: Documents, place: Path, quiet: Listener) -> tuple[TokenStore, TokenStore]:
        places = (place.with_name(place.name + _TRAIN), place.with_name(place.name + _VALID))
        return build_parts(documents, vocabulary, places, share=share, listen=quiet)

    train, valid = _cached(sources, vocabulary, cache, read, listen, (str(share),), (_TRAIN, _VALID), build)
    return train, valid


def cached_merge(stores: Sequence[TokenStore], cache: Path) -> TokenStore:
    """One store of the documents of several, one store after another; the one in `cache` where there is one."""
    if len(stores) == 1:
        return stores[0]
    place = cache / f"merged-{_key(*(store.fingerprint for store in stores), str(VERSION))}"
    return _found(place, ignore) or merge_stores(stores, place)


def _cached(
    sources: Sequence[str],
    vocabulary: Encoder,
    cache: Path,
    read: ReadSettings,
    listen: Listener,
    more_of_key: tuple[str, ...],
    endings: tuple[str, ...],
    build: Callable[[Documents, Path, Listener], StoresT],
) -> StoresT | tuple[TokenStore, ...]:
    # Bytes read tell how far tokenizing has come, and of those the total is known.
    known_total = Documents(sources, read).total_bytes is not None
    documents = Documents(sources, read, listen=_renamed(listen, "reading", "tokenizing") if known_total else listen)
    sweep_orphans(cache)
    if known_total:
        corpus = fingerprint(documents.files, listen=listen)
        key = _key(corpus, vocabulary.fingerprint, read.model_dump_json(), str(VERSION), *more_of_key)
        place = cache / f"{_stem(documents.files)}-{key}"
        found = []
        for ending in endings:
            store = _found(place.with_name(place.name + ending), listen)
            if store is None:
                break
            found.append(store)
        else:
            return tuple(found)
        require_free(cache, _estimated_bytes(documents.files, vocabulary))
    else:
        names = (file.name for file in documents.files)
        place = cache / f"piped-{_key(vocabulary.fingerprint, *names, *more_of_key)}"
    return build(documents, place, _without(listen, "tokenizing") if known_total else listen)


def kept_stores(
    sources: Sequence[str],
    vocabulary: Encoder,
    cache: Path,
    *,
    share: float = 0.0,
    read: ReadSettings = ReadSettings(),  # noqa: B008  (frozen)
    listen: Listener = ignore,
) -> tuple[TokenStore, ...] | None:
    """What `cached_store`, or with a share to hold out `cached_parts`, left in `cache`; None where there is none.

    Writes nothing. The corpus is read only where `cache` has something of its name. Arguments and errors as of those.
    """
    documents = Documents(sources, read)
    if documents.total_bytes is None or not any(cache.glob(f"{glob.escape(_stem(documents.files))}-*")):
        return None
    corpus = fingerprint(documents.files, listen=listen)
    more_of_key, endings = ((str(share),), (_TRAIN, _VALID)) if share else ((), ("",))
    key = _key(corpus, vocabulary.fingerprint, read.model_dump_json(), str(VERSION), *more_of_key)
    place = cache / f"{_stem(documents.files)}-{key}"
    found = [_found(place.with_name(place.name + ending), listen) for ending in endings]
    stores = tuple(store for store in found if store is not None)
    return stores if len(stores) == len(endings) else None


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
