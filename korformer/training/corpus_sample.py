"""A piece of a corpus, tokenized to learn what the whole will take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from korformer.data.mixing import mixture, named_sources
from korformer.data.store import TokenStore, build_store, kept_stores
from korformer.errors import UsageError
from korformer.events import Event, Listener, Progress, ignore
from korformer.text.documents import Documents, ReadSettings
from korformer.text.files import CHUNK_BYTES
from korformer.text.vocabulary import Vocabulary
from korformer.training.corpora import require_one_held_out_text
from korformer.training.engine import TrainingData
from korformer.training.plan import PlannedData
from korformer.training.settings import DataSettings

FILES = 8
"""Files at most of which the sample is taken, evenly spaced over the corpus."""
CHARACTERS = 8_000_000
"""Characters of the sample at most."""
VALID_CHARACTERS = 1_000_000
"""The same of held-out text."""
SECONDS = 6.0
"""Time for it at most."""


@dataclass(frozen=True, kw_only=True)
class CorpusSample:
    """What is known of a corpus.

    Attributes:
        store: its tokens, or those of the sample.
        held_out: the tokens of the part to validate on; where the corpus was not tokenized before, those of the sample.
        whole: whether that is all of it: the corpus was tokenized before, or is no larger than the sample.
        tokens: of the whole corpus, exactly or as the sample has it.
        documents: of the whole corpus, likewise.
        seconds: to tokenize the whole corpus; 0 where that is done.
        store_bytes: that the tokens of the whole corpus will still take on disk.
    """

    store: TokenStore
    held_out: TokenStore | None
    whole: bool
    tokens: int
    documents: int
    seconds: float
    store_bytes: int


def sample_corpus(
    sources: Sequence[str],
    vocabulary: Vocabulary,
    cache: Path,
    scratch: Path,
    *,
    share: float = 0.0,
    read: ReadSettings,
    listen: Listener,
    characters: int = CHARACTERS,
) -> CorpusSample:
    """The tokens that an earlier run has left, or a sample of the corpus.

    Args:
        sources: see `korformer.text.files.expand`; nothing that can be read only once.
        vocabulary: makes the ids.
        cache: folder of token stores.
        scratch: folder that the sample's store is made in.
        share: of the documents that are held out.
        read: how to read the sources.
        listen: hears Progress of looking for the tokens, and Notices.
        characters: of the sample at most.

    Raises:
        PathError, InputError, UsageError: see `Documents`; InputError where the sample has no text.
    """
    kept = kept_stores(sources, vocabulary, cache, share=share, read=read, listen=listen)
    if kept is not None:
        return CorpusSample(
            store=kept[0],
            held_out=kept[1] if share else None,
            whole=True,
            tokens=kept[0].tokens,
            documents=kept[0].documents,
            seconds=0.0,
            store_bytes=0,
        )
    reader = _Sampler(sources, read, characters)
    began = time.monotonic()
    store = build_store(reader, vocabulary, scratch / f"sample-{len(list(scratch.iterdir()))}")
    seconds = time.monotonic() - began
    times = 1.0 if reader.whole else max(1.0, reader.total_bytes / max(1, reader.read_bytes))
    return CorpusSample(
        store=store,
        held_out=store if share else None,
        whole=reader.whole,
        tokens=round(store.tokens * times * (1 - share)),
        documents=round(store.documents * times * (1 - share)),
        seconds=seconds * times,
        store_bytes=round(_size(store.path) * times),
    )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


class _Sampler:
    """The first documents of some files of a corpus, and how much of it that was.

    Attributes:
        total_bytes: of the whole corpus on disk.
        read_bytes: of those, read so far.
        whole: whether everything was read.
    """

    def __init__(self, sources: Sequence[str], read: ReadSettings, characters: int) -> None:
        files = Documents(sources, read).files
        chosen = [files[len(files) * index // FILES] for index in range(FILES)] if len(files) > FILES else files
        self._files = [str(file.path) for file in chosen if file.path is not None]
        self._read, self._characters = read, characters // max(1, len(self._files))
        self._ends = time.monotonic() + SECONDS
        self.total_bytes = sum(file.size_bytes or 0 for file in files)
        self.read_bytes = 0.0
        self.whole = len(chosen) == len(files)

    def __iter__(self) -> Iterator[str]:
        for number, file in enumerate(self._files):
            if number and time.monotonic() > self._ends:
                self.whole = False
                return
            yield from self._beginning(file)

    def _beginning(self, file: str) -> Iterator[str]:
        documents: Documents

        def hear(event: Event) -> None:
            if isinstance(event, Progress) and documents.counts.bytes:
                self._packed = event.done / documents.counts.bytes

        documents = Documents([file], self._read, listen=hear)
        self._packed = 1.0
        characters = text_bytes = 0
        for text in documents:
            characters += len(text)
            text_bytes += len(text.encode("utf-8", "surrogatepass"))
            yield text
            if characters >= self._characters or time.monotonic() > self._ends:
                self.whole = False
                # Half of what is read at a time has most likely not been handed out; and text is no longer than source.
                unpacked = max(text_bytes, documents.counts.bytes - CHUNK_BYTES // 2)
                self.read_bytes += min(documents.total_bytes or 0, unpacked * self._packed)
                return
        self.read_bytes += documents.total_bytes or 0


def planned_data(
    sources: Sequence[str],
    valid: Sequence[str],
    vocabulary: Vocabulary,
    settings: DataSettings,
    *,
    cache: Path,
    scratch: Path,
    read: ReadSettings,
    listen: Listener = ignore,
) -> PlannedData:
    """The text of a run that is planned. Arguments and errors as of `training_data`; only `scratch` is written to.

    Args:
        scratch: a folder for the tokens of samples, which must outlive what is returned.
    """
    corpora = named_sources(sources)
    require_one_held_out_text(valid, settings)
    for source in [*(source for files in corpora.values() for source in files), *valid]:
        if source == "-" or Path(source).is_fifo():
            name = "standard input" if source == "-" else "a pipe"
            raise UsageError(
                f"a dry run cannot read {name}, which the run would then find empty",
                where="--dry-run",
                hint="Write it to a file first.",
            )
    samples = {
        name: sample_corpus(files, vocabulary, cache, scratch, share=settings.valid_share, read=read, listen=listen)
        for name, files in corpora.items()
    }
    held_out = [sample.held_out for sample in samples.values() if sample.held_out is not None]
    every = list(samples.values())
    if valid:
        sample = sample_corpus(valid, vocabulary, cache, scratch, read=read, listen=listen, characters=VALID_CHARACTERS)
        every.append(sample)
        held_out = [sample.store]
    tokens = {name: sample.tokens for name, sample in samples.items()}
    weights = settings.weights or ({} if list(samples) == [""] else {name: float(n) for name, n in tokens.items()})
    data = TrainingData(
        store=mixture({name: sample.store for name, sample in samples.items()}, weights),
        valid=held_out[0] if held_out else None,
        vocabulary=vocabulary,
    )
    return PlannedData(
        data=data,
        corpora=tokens,
        shares={name: weights.get(name, 1.0) / (sum(weights.values()) or 1.0) for name in samples},
        exact=all(sample.whole for sample in samples.values()),
        tokenizing_seconds=sum(sample.seconds for sample in every),
        store_bytes=sum(sample.store_bytes for sample in every),
    )
