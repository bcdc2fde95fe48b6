"""The part of a session that a model writes into. Offsets are characters of its text."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

from korformer.generation.settings import SamplingSettings
from korformer.writing.editing import Editing
from korformer.writing.pieces import Piece
from korformer.writing.records import EndReason, TokenRecord
from korformer.writing.tree import Change, Node
from korformer.writing.versions import Versions

_NUMBERS = count(1)
"""Of generations. No two of a process are the same, so what comes late for one session is not taken for another's."""


@dataclass(kw_only=True, slots=True)
class _Pending:
    """A generation that nothing visible came of yet, or that is being written."""

    at: int
    base: Node
    facts: dict[str, Any]
    waiting: list[TokenRecord]
    node: Node | None = None


class Generating(Editing):
    """Generations on top of editing; arguments as `Recorded`."""

    def __init__(self, versions: Versions | None = None) -> None:
        super().__init__(versions)
        self._generations: dict[int, _Pending] = {}
        self._unseeded: dict[int, Node] = {}

    # Generation

    def begin_generation(
        self, at: int, settings: SamplingSettings, *, model: str = "", vocabulary: str = "", fills: bool = False
    ) -> int:
        """Make ready for what a model writes at `at`; the number to name it by. Nothing is seen of it yet.

        Args:
            at: characters before it.
            settings: of the sampler, to be remembered.
            model: name of the checkpoint, to be remembered.
            vocabulary: fingerprint of the model's vocabulary; without it the token ids are not used again.
            fills: whether the model reads what follows too: the space before a gap is read, not owed.
        """
        if not 0 <= at <= self.length:
            raise IndexError(f"no character {at} in a text of {self.length}")
        before = self.slice(max(0, at - 2), at)
        last = next((piece.source.origin for _, piece in self._tree.table.pieces(max(0, at - 1), at)), "generated")
        self._run = None
        between, number = at < self.length, next(_NUMBERS)
        self._generations[number] = _Pending(
            at=at,
            base=self._tree.head,
            waiting=[],
            facts={
                "settings": settings.model_dump(mode="json", exclude_defaults=True),
                "model": model,
                "vocabulary": vocabulary,
                "space_owed": last != "generated" and ends_in_one_space(before) and not (between and fills),
                "between": between,
                "seed": None,
                "reason": None,
            },
        )
        return number

    def extend_generation(self, generation: int, tokens: tuple[TokenRecord, ...]) -> Change | None:
        """Put tokens that came into the text.

        Returns:
            What that did; None where the text was changed since, or the generation is over: it cannot go on then.
        """
        pending = self._generations.get(generation)
        if pending is None or self._tree.head is not (pending.node or pending.base):
            return None
        if pending.node is not None and pending.node.children:
            return None
        text = "".join(token.text for token in tokens)
        if pending.node is not None:
            return self._do({"op": "grow", "id": pending.node.number, "text": text, "tokens": tuple(tokens)})
        pending.waiting.extend(tokens)
        if not text:
            return Change(start=pending.at, removed=0, inserted="")
        number = len(self._tree.sources)
        source = {
            "op": "source",
            "id": number,
            "origin": "generated",
            "text": text,
            "generation": pending.facts,
            "tokens": tuple(pending.waiting),
        }
        self._do(source)
        piece = Piece(self._tree.sources[number], 0, len(text))
        change = self._do(self._node("generation", pending.at, 0, piece, push=True))
        pending.node = self._tree.head
        return change

    def end_generation(self, generation: int, reason: EndReason, *, seed: int | None = None) -> Change | None:
        """Take note that a generation is over.

        Args:
            generation: its number.
            reason: why.
            seed: of the first draw; where it is told later, see `set_seed`.

        Returns:
            Where nothing came of another try, what it does to the text to go back to where that began; else None.
        """
        pending = self._generations.pop(generation, None)
        if pending is None:
            return None
        if pending.node is not None:
            assert pending.node.source is not None
            self._do({"op": "end", "source": pending.node.source.number, "reason": reason, "seed": seed})
            if seed is None:
                self._unseeded[generation] = pending.node
            return None
        left_the_way = (
            self._tree.head is pending.base and self._tree.head.number != self._versions.way[self._versions.place]
        )
        return self.undo() if left_the_way else None

    def set_seed(self, generation: int, seed: int | None) -> None:
        """Take note of the seed of a generation that was ended before anybody knew it."""
        node = self._unseeded.pop(generation, None)
        if node is not None and seed is not None:
            assert node.source is not None
            assert node.source.generation is not None
            reason = node.source.generation.reason
            self._do({"op": "end", "source": node.source.number, "reason": reason, "seed": seed})


def ends_in_one_space(text: str) -> bool:
    """Whether a space at the end belongs to the word that is to come: `Stream` keeps it back then."""
    return len(text) > 1 and text[-1] == " " and not text[-2].isspace()
