"""Several corpora in one run, each with its share of the sequences.

Every sequence ("pack") comes from one corpus. Which one has the next turn is no draw: turns are dealt so that after
any number k of packs a corpus of share s has had s · k of them to within one pack (Tijdeman, "The chairman assignment
problem", Discrete Mathematics 32, 1980). So the shares are exact at any length of a run, and who gets a turn hangs on
how many were dealt and nothing else.

Each corpus is walked by a sampler of its own, epoch after epoch in orders of its own: a small corpus with a large share
begins its next epoch when it is through, whatever the others do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, Unpack

import numpy as np

from korformer.config import nearest
from korformer.data.packing import Packs, Reading
from korformer.data.token_store import TokenStore
from korformer.errors import ModelDirectoryError, UsageError
from korformer.randomness import seed_of

_NAME = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_-]*)=(?P<source>.+)", re.DOTALL)


class Sampler(Protocol):
    """Packs without end; see `korformer.data.packing.PackSampler`."""

    pack_tokens: int

    def next_packs(self, batch: int) -> Packs:
        """The next `batch` packs of this process."""

    def state(self) -> dict[str, int]:
        """Where it stands."""

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on from there."""


class MakeSampler(Protocol):
    """Makes the sampler of one corpus."""

    def __call__(self, store: TokenStore, **how: Unpack[Reading]) -> Sampler:
        """Arguments and errors as of `PackSampler`."""


@dataclass(frozen=True)
class Mixture:
    """Token stores of several corpora, and what share of the packs each is to have.

    Attributes:
        stores: by the name of the corpus.
        weights: by the same names, in proportion to the shares; positive.
    """

    stores: Mapping[str, TokenStore]
    weights: Mapping[str, float]

    @property
    def documents(self) -> int:
        """Documents of all."""
        return sum(store.documents for store in self.stores.values())

    @property
    def tokens(self) -> int:
        """Tokens of all, [CLS] and [SEP] included."""
        return sum(store.tokens for store in self.stores.values())

    @property
    def characters(self) -> int:
        """Characters of all, NFC code points."""
        return sum(store.characters for store in self.stores.values())

    @property
    def fingerprint(self) -> str:
        """Identity of names and contents; weights are settings of the run."""
        entries = sorted(f"{name}={store.fingerprint}" for name, store in self.stores.items())
        return hashlib.sha256(" ".join(entries).encode()).hexdigest()

    def require_vocabulary(self, fingerprint: str) -> None:
        """Refuse to go on with another vocabulary than the one that made the ids.

        Raises:
            ModelDirectoryError: its `fingerprint` is another.
        """
        for store in self.stores.values():
            store.require_vocabulary(fingerprint)


def named_sources(sources: Sequence[str]) -> dict[str, list[str]]:
    """Sources by corpus: `NAME=SOURCE` belongs to the corpus NAME, several may; without names there is one corpus "".

    Where a file or a folder is really called so, that is meant.

    Raises:
        UsageError: some have names and some have none.
    """
    corpora: dict[str, list[str]] = {}
    for source in sources:
        match = None if any(Path(part).exists() for part in Path(source).parts[:1]) else _NAME.fullmatch(source)
        name, place = (match["name"], match["source"]) if match else ("", source)
        corpora.setdefault(name, []).append(place)
    if "" in corpora and len(corpora) > 1:
        raise UsageError(
            f"{corpora[''][0]} belongs to no corpus, others do",
            where="--corpus",
            hint="Write NAME=FILE for every one of them, or for none.",
        )
    return corpora


def mixture(stores: Mapping[str, TokenStore], weights: Mapping[str, float]) -> Mixture | TokenStore:
    """What a run trains on.

    Args:
        stores: by corpus, see `named_sources`.
        weights: of all corpora, or of none: then each has as much as it has tokens.

    Raises:
        UsageError: the weights are of other corpora; all problems at once.
    """
    problems = []
    for name in weights:
        if name not in stores:
            guess = nearest(name, stores)
            problems.append(f"no corpus is called {name}" + (f" (did you mean {guess}?)" if guess else ""))
    missing = [name or "the corpus without a name" for name in stores if weights and name not in weights]
    problems += [f"{name} has no weight" for name in missing]
    if problems:
        raise UsageError(
            "; ".join(problems),
            where="data.weights",
            hint="Name corpora with --corpus NAME=FILE and give each a weight: --set data.weights.NAME=1.",
        )
    if list(stores) == [""]:
        return stores[""]
    return Mixture(stores, weights or {name: float(store.tokens) for name, store in stores.items()})


def sampler_of(data: TokenStore | Mixture, make: MakeSampler, **how: Unpack[Reading]) -> Sampler:
    """The sampler of a corpus, or of a mixture. Arguments and errors as of `PackSampler`."""
    if not isinstance(data, Mixture):
        return make(data, **how)
    samplers = {}
    for name, store in data.stores.items():
        alone: Reading = {**how, "seed": seed_of("corpus", how["seed"], name), "rank": 0, "world_size": 1}
        samplers[name] = make(store, **alone)
    return MixedSampler(samplers, data.weights, rank=how.get("rank", 0), world_size=how.get("world_size", 1))


class Turns:
    """Who has the next turn.

    Args:
        weights: of each, positive.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        total = sum(weights)
        self._shares = [weight / total for weight in weights]
        self._slack = 1 / (2 * len(weights) - 2) if len(weights) > 1 else 0.0
        self.counts = [0] * len(weights)

    def take(self) -> int:
        """Deal one turn: of those that are owed enough of one, to whom waiting would soonest be too long."""
        turn = sum(self.counts) + 1
        owed = [share * turn - count for share, count in zip(self._shares, self.counts, strict=True)]
        due = [place for place, much in enumerate(owed) if much >= self._slack] or [owed.index(max(owed))]
        chosen = min(due, key=lambda place: (1 - self._slack - owed[place]) / self._shares[place])
        self.counts[chosen] += 1
        return chosen


class MixedSampler:
    """Packs of several corpora in turn. The sequence is the same for any number of processes and any size of batch.

    Args:
        samplers: of each corpus, over all of its packs (one process).
        weights: by the same names.
        rank, world_size: which process this is, of how many.
    """

    def __init__(
        self, samplers: Mapping[str, Sampler], weights: Mapping[str, float], *, rank: int = 0, world_size: int = 1
    ) -> None:
        self._samplers = dict(samplers)
        self._names = list(samplers)
        self._weights = [weights[name] for name in self._names]
        self._turns = Turns(self._weights)
        self._rank = rank
        self._world_size = world_size

    @property
    def pack_tokens(self) -> int:
        """Tokens of a pack; may be changed between two calls."""
        return self._samplers[self._names[0]].pack_tokens

    @pack_tokens.setter
    def pack_tokens(self, tokens: int) -> None:
        for sampler in self._samplers.values():
            sampler.pack_tokens = tokens

    def next_packs(self, batch: int) -> Packs:
        """The next `batch` packs of this process; every process moves on by world_size × batch packs."""
        turns = [self._turns.take() for _ in range(batch * self._world_size)]
        parts: list[Packs] = []
        rows: list[int] = []
        for place, name in enumerate(self._names):
            numbers = [number for number, turn in enumerate(turns) if turn == place]
            for mine, group in groupby(numbers, key=lambda number: number % self._world_size == self._rank):
                run = list(group)
                if mine:
                    parts.append(self._samplers[name].next_packs(len(run)))
                    rows += [number // self._world_size for number in run]
                else:
                    _skip(self._samplers[name], len(run))
        order = np.argsort(rows)
        fields: dict[str, Any] = {
            field: np.concatenate([getattr(part, field) for part in parts])[order]
            for field in parts[0].__dataclass_fields__
        }
        return type(parts[0])(**fields)

    def state(self) -> dict[str, int]:
        """Where each corpus stands: `NAME.turns` packs given of it, and its sampler's state as `NAME.KEY`."""
        state = {"epoch": min(sampler.state()["epoch"] for sampler in self._samplers.values())}
        for name, count in zip(self._names, self._turns.counts, strict=True):
            state[f"{name}.turns"] = count
            state |= {f"{name}.{key}": value for key, value in self._samplers[name].state().items()}
        return state

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on from a `state()`.

        Raises:
            ModelDirectoryError: it is not a state of these corpora.
        """
        counts = [state.get(f"{name}.turns") for name in self._names]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ModelDirectoryError(f"the saved place in the data lacks one of {', '.join(self._names)}")
        for name, sampler in self._samplers.items():
            own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            sampler.restore(own)
        self._turns.counts = [int(count or 0) for count in counts]


def _skip(sampler: Sampler, packs: int) -> None:
    """Move on as if packs had been taken; some samplers need not build them for that."""
    skip = getattr(sampler, "skip", None)
    if skip is not None:
        skip(packs)
    else:
        sampler.next_packs(packs)
