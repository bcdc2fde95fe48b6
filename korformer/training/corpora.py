"""From names of files to what a run trains on: tokenized, mixed, split and checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from korformer.data.checks import check_data
from korformer.data.mixing import mixture, named_sources
from korformer.data.store import cached_merge, cached_parts, cached_store
from korformer.data.token_store import TokenStore
from korformer.errors import UsageError
from korformer.events import Listener, Notice, ignore
from korformer.text.documents import ReadSettings
from korformer.text.vocabulary import Vocabulary
from korformer.training.distributed import ALONE, Group
from korformer.training.engine import TrainingData
from korformer.training.settings import DataSettings


def require_one_held_out_text(valid: Sequence[str], settings: DataSettings) -> None:
    """Refuse a held-out text beside a share of the corpus to hold out.

    Raises:
        UsageError: both are given.
    """
    if valid and settings.valid_share:
        raise UsageError(
            "a held-out text is given, and a share of the corpus to hold out too",
            where="--valid",
            hint="Give one of them: --valid FILE, or data.valid_share.",
        )


def training_data(
    sources: Sequence[str],
    valid: Sequence[str],
    vocabulary: Vocabulary,
    settings: DataSettings,
    *,
    cache: Path,
    read: ReadSettings = ReadSettings(),  # noqa: B008  (frozen)
    strict: bool = False,
    group: Group = ALONE,
    listen: Listener = ignore,
) -> TrainingData:
    """Tokenize what was not tokenized before, and check all of it.

    Args:
        sources: of the training text, see `korformer.data.mixing.named_sources`.
        valid: of the held-out text; none to hold out `settings.valid_share`, or nothing.
        vocabulary: makes the ids.
        settings: weights of the corpora, share to hold out.
        cache: folder of token stores.
        read: how to read the sources.
        strict: stop where the data has a problem.
        group: processes that share the stores; the first of each machine makes them.
        listen: hears progress, and a Notice for each problem.

    Raises:
        UsageError: names, weights or the two kinds of held-out text contradict each other.
        InputError: there is no text; or `strict`, and there are problems. Others as `cached_store`.
    """
    corpora = named_sources(sources)
    require_one_held_out_text(valid, settings)

    def make() -> tuple[dict[str, TokenStore], TokenStore | None]:
        stores: dict[str, TokenStore] = {}
        held_out: list[TokenStore] = []
        for name, files in corpora.items():
            if settings.valid_share:
                share = settings.valid_share
                stores[name], part = cached_parts(files, vocabulary, cache, share=share, read=read, listen=listen)
                held_out.append(part)
            else:
                stores[name] = cached_store(files, vocabulary, cache, read=read, listen=listen)
        if valid:
            held_out.append(cached_store(valid, vocabulary, cache, read=read, listen=listen))
        together = cached_merge(held_out, cache) if held_out else None
        if settings.valid_share and together is not None:
            listen(Notice(text=f"{together.documents:,} documents are held out to validate on"))
        check_data(stores, together, vocabulary, cache=cache, strict=strict, listen=listen)
        return stores, together

    stores, together = _of_machine(group, make)
    return TrainingData(
        store=mixture(stores, settings.weights),
        valid=together,
        vocabulary=vocabulary,
        sources=tuple(_shown(source) for files in corpora.values() for source in files),
    )


def _shown(source: str) -> str:
    return Path(source).name if source != "-" else "standard input"


def _of_machine(group: Group, make: Any) -> tuple[dict[str, TokenStore], TokenStore | None]:
    """Stores that the first process of each machine makes or finds, and the others open."""
    made: list[tuple[dict[str, TokenStore], TokenStore | None]] = []

    def work() -> dict[str, Any]:
        made.append(make())
        stores, valid = made[0]
        paths = {name: str(store.path) for name, store in stores.items()}
        return {"corpora": paths, "valid": None if valid is None else str(valid.path)}

    paths: Any = group.first_of_machine(work)
    if made:
        return made[0]
    stores = {name: TokenStore.open(Path(path), verify=False) for name, path in paths["corpora"].items()}
    return stores, None if paths["valid"] is None else TokenStore.open(Path(paths["valid"]), verify=False)
