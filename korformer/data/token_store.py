"""Documents as token ids on disk, of any number: built once, then read document by document.

    STORE/
      tokens.bin      ids of all documents one after another, each [CLS] … [SEP]; uint16 little-endian if the
                      vocabulary has at most 65,536 tokens, else uint32
      documents.bin   where each document starts in it and the last one ends, documents + 1 uint64
      store.json      counts, and which vocabulary it was
      manifest.json   SHA-256 of the three

Files are read with `pread`, not mapped: memory stays flat whatever the size, and a disk error is an exception and not
the end of the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from korformer.errors import ModelDirectoryError, PathError
from korformer.events import Listener, ignore
from korformer.storage import MANIFEST_NAME, open_inside, read_json, verify_manifest
from korformer.storage.manifest import read_manifest

TOKENS_NAME = "tokens.bin"
DOCUMENTS_NAME = "documents.bin"
HEADER_NAME = "store.json"
FORMAT = "korformer tokens"
VERSION = 1
OFFSET_TYPE = np.dtype("<u8")

Tokens = NDArray[np.uint16] | NDArray[np.uint32]


def token_type(vocabulary_size: int) -> np.dtype[Any]:
    """What ids of a vocabulary are stored as: two bytes where they fit, else four."""
    return np.dtype("<u2") if vocabulary_size <= 1 << 16 else np.dtype("<u4")


@dataclass(frozen=True, kw_only=True)
class StoreHeader:
    """What store.json tells.

    Attributes:
        documents, tokens, characters: counts; tokens with [CLS] and [SEP], characters as NFC code points.
        unknown_tokens: how many tokens are [UNK].
        vocabulary_size, vocabulary_fingerprint: of the vocabulary that made the ids.
    """

    documents: int
    tokens: int
    characters: int
    unknown_tokens: int
    vocabulary_size: int
    vocabulary_fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """The content of store.json."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, where: str) -> Self:
        """Read the content of store.json.

        Raises:
            ModelDirectoryError: it is not that of a token store of this version.
        """
        if value.get("format") != FORMAT or value.get("version") != VERSION:
            raise ModelDirectoryError("is not a token store that this korformer reads", where=where)
        fields = {name: value.get(name) for name in cls.__dataclass_fields__}
        fingerprint = fields.pop("vocabulary_fingerprint")
        if not isinstance(fingerprint, str) or not all(type(count) is int and count >= 0 for count in fields.values()):
            raise ModelDirectoryError("lacks counts or the vocabulary", where=where)
        return cls(vocabulary_fingerprint=fingerprint, **{name: int(count or 0) for name, count in fields.items()})


class TokenStore:
    """An opened store; make one with `TokenStore.open` or `korformer.data.store.build_store`.

    Attributes:
        path: its folder.
        documents, tokens, characters, unknown_tokens, vocabulary_size, vocabulary_fingerprint: see `StoreHeader`.
        fingerprint: identity of the content, wherever it lies: SHA-256 (hex) of both arrays and the vocabulary.
    """

    def __init__(self, path: Path, header: StoreHeader, tokens: int, offsets: int, fingerprint: str) -> None:
        self.path = path
        self.documents = header.documents
        self.tokens = header.tokens
        self.characters = header.characters
        self.unknown_tokens = header.unknown_tokens
        self.vocabulary_size = header.vocabulary_size
        self.vocabulary_fingerprint = header.vocabulary_fingerprint
        self.fingerprint = fingerprint
        self._type = token_type(header.vocabulary_size)
        self._tokens = tokens
        self._offsets = offsets
        weakref.finalize(self, os.close, tokens)
        weakref.finalize(self, os.close, offsets)

    @classmethod
    def open(cls, directory: Path, *, verify: bool = True, listen: Listener = ignore) -> TokenStore:
        """Open a store.

        Args:
            directory: its folder.
            verify: compare every file with the manifest, which reads all of it once. Processes that share a store
                need that from one of them only.
            listen: gets Progress(stage="verifying") in bytes.

        Raises:
            PathError: it does not exist or may not be read.
            ModelDirectoryError: it is not a token store, or damaged.
        """
        names = (TOKENS_NAME, DOCUMENTS_NAME, HEADER_NAME)
        if verify:
            verify_manifest(directory, required=names, listen=listen)
        listed = read_manifest(directory)
        where = str(directory / HEADER_NAME)
        header = StoreHeader.from_json(read_json(directory, HEADER_NAME), where=where)
        sizes = {
            TOKENS_NAME: header.tokens * token_type(header.vocabulary_size).itemsize,
            DOCUMENTS_NAME: (header.documents + 1) * OFFSET_TYPE.itemsize,
        }
        if any(name not in listed for name in names):
            raise ModelDirectoryError("lists no token store", where=str(directory / MANIFEST_NAME))
        with contextlib.ExitStack() as files:
            descriptors = []
            for name, size in sizes.items():
                descriptors.append(files.enter_context(open_inside(directory, name)).fileno())
                _check_size(descriptors[-1], size, directory / name)
            tokens, offsets = map(os.dup, descriptors)
        arrays = (listed[TOKENS_NAME][0], listed[DOCUMENTS_NAME][0], header.vocabulary_fingerprint)
        fingerprint = hashlib.sha256(" ".join(arrays).encode()).hexdigest()
        return cls(directory, header, tokens, offsets, fingerprint)

    def require_vocabulary(self, fingerprint: str) -> None:
        """Refuse to go on with another vocabulary than the one that made the ids.

        Raises:
            ModelDirectoryError: its `fingerprint` is another.
        """
        if fingerprint != self.vocabulary_fingerprint:
            raise ModelDirectoryError(
                "the token store was made with another vocabulary", where=str(self.path), hint="Build it again."
            )

    def document(self, index: int) -> Tokens:
        """Ids of one document, [CLS] … [SEP] included: (n,) uint16 or uint32, read-only.

        Raises:
            IndexError: there is no such document. PathError: the disk failed.
        """
        if not 0 <= index < self.documents:
            raise IndexError(f"document {index} of {self.documents}")
        span = self.spans(np.array([index]))
        return self.read(span[:, 0], span[:, 1])

    def spans(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where documents lie among the tokens: (n,) -> (n, 2) int64, begin and end.

        Raises:
            PathError: the disk failed. ModelDirectoryError: an offset is impossible.
        """
        size = OFFSET_TYPE.itemsize
        if len(indices) > 1 and bool((np.diff(indices) == 1).all()):
            offsets = self._pread(self._offsets, [(int(indices[0]) * size, (len(indices) + 1) * size)])
            bounds = np.frombuffer(offsets, OFFSET_TYPE).astype(np.int64)
            spans = np.stack([bounds[:-1], bounds[1:]], axis=1)
        else:
            offsets = self._pread(self._offsets, [(index * size, 2 * size) for index in indices.tolist()])
            spans = np.frombuffer(offsets, OFFSET_TYPE).astype(np.int64).reshape(-1, 2)
        begins, ends = spans[:, 0], spans[:, 1]
        if bool((begins < 0).any() or (ends <= begins).any() or (ends > self.tokens).any()):
            raise ModelDirectoryError("is damaged: impossible offsets", where=str(self.path / DOCUMENTS_NAME))
        return spans

    def read(self, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> Tokens:
        """The tokens of several stretches one after another, (total,) uint16 or uint32, read-only.

        Raises:
            PathError: the disk failed. ModelDirectoryError: an id is outside the vocabulary.
        """
        size = self._type.itemsize
        stretches = zip((begins * size).tolist(), ((ends - begins) * size).tolist(), strict=True)
        tokens: Tokens = np.frombuffer(self._pread(self._tokens, stretches), self._type)
        if len(tokens) and int(tokens.max()) >= self.vocabulary_size:
            raise ModelDirectoryError("is damaged: an id outside the vocabulary", where=str(self.path / TOKENS_NAME))
        return tokens

    def _pread(self, descriptor: int, stretches: Iterable[tuple[int, int]]) -> bytes:
        try:
            pieces = [os.pread(descriptor, size, offset) for offset, size in stretches]
        except OSError as error:
            raise PathError(f"cannot be read ({error.strerror})", where=str(self.path)) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _check_size(descriptor: int, size: int, path: Path) -> None:
    actual = os.fstat(descriptor).st_size
    if actual != size:
        raise ModelDirectoryError(f"is damaged: {actual:,} bytes instead of {size:,}", where=str(path))
