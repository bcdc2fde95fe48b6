"""What a person does to a text with a model at hand. Offsets are characters (code points) of `Session.text`.

    session = Session()
    session.insert(0, "옛날 어느 바닷가 마을에 ")
    generation = session.begin_generation(session.length, SamplingSettings())
    session.extend_generation(generation, tokens)      # as the engine sends them
    session.end_generation(generation, "length", seed=7)
    session.undo()

Nothing is ever lost: undone text, other continuations and what was taken off stay in the tree of versions. Use a
session from one thread; what was done is handed to its file by `take_actions`, which may be called from another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from korformer.generation.settings import SamplingSettings
from korformer.writing import marks, outlines
from korformer.writing.draft import Draft
from korformer.writing.editing import Editing
from korformer.writing.marks import Span, TokenView
from korformer.writing.outlines import OutlineRow, Siblings
from korformer.writing.pieces import Piece
from korformer.writing.records import EndReason, TokenRecord
from korformer.writing.tree import Change, Node, ancestors
from korformer.writing.versions import Versions

__all__ = ["Change", "OutlineRow", "Retry", "Session", "Siblings", "Span", "TokenView"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """A place to write another continuation at.

    Attributes:
        change: what came of the text so far.
        at: where to begin the generation.
    """

    change: Change
    at: int


@dataclass(kw_only=True, slots=True)
class _Pending:
    """A generation that nothing visible came of yet, or that is being written."""

    at: int
    base: Node
    facts: dict[str, Any]
    waiting: list[TokenRecord]
    node: Node | None = None


class Session(Editing):
    """A text, all its versions, and the way through them.

    Args:
        versions: those of a session that is opened again; an empty one where not given.
    """

    def __init__(self, versions: Versions | None = None) -> None:
        super().__init__(versions)
        self._generations: dict[int, _Pending] = {}
        self._begun = 0

    # Generation

    def begin_generation(self, at: int, settings: SamplingSettings, *, model: str = "", vocabulary: str = "") -> int:
        """Make ready for what a model writes at `at`; the number to name it by. Nothing is seen of it yet.

        Args:
            at: characters before it.
            settings: of the sampler, to be remembered.
            model: name of the checkpoint, to be remembered.
            vocabulary: fingerprint of the model's vocabulary; without it the token ids are not used again.
        """
        if not 0 <= at <= self.length:
            raise IndexError(f"no character {at} in a text of {self.length}")
        before = self.slice(max(0, at - 2), at)
        last = next((piece.source.origin for _, piece in self._tree.table.pieces(max(0, at - 1), at)), "generated")
        self._run = None
        self._begun += 1
        self._generations[self._begun] = _Pending(
            at=at,
            base=self._tree.head,
            waiting=[],
            facts={
                "settings": settings.model_dump(mode="json", exclude_defaults=True),
                "model": model,
                "vocabulary": vocabulary,
                "space_owed": last != "generated" and ends_in_one_space(before),
                "between": at < self.length,
                "seed": None,
                "reason": None,
            },
        )
        return self._begun

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
        change = self._do(
            {
                "op": "node",
                "id": self._tree.next_number,
                "parent": self._tree.head.number,
                "kind": "generation",
                "at": pending.at,
                "remove": 0,
                "source": number,
                "begin": 0,
                "end": len(text),
                "time": round(time.time(), 3),
                "push": True,
            }
        )
        pending.node = self._tree.head
        return change

    def end_generation(self, generation: int, reason: EndReason, *, seed: int | None = None) -> Change | None:
        """Take note that a generation is over.

        Returns:
            Where nothing came of another try, what it does to the text to go back to where that began; else None.
        """
        pending = self._generations.pop(generation, None)
        if pending is None:
            return None
        if pending.node is not None:
            assert pending.node.source is not None
            self._do({"op": "end", "source": pending.node.source.number, "reason": reason, "seed": seed})
            return None
        left_the_way = (
            self._tree.head is pending.base and self._tree.head.number != self._versions.way[self._versions.place]
        )
        return self.undo() if left_the_way else None

    def retry(self) -> Retry | None:
        """Go back to before the last generation, to write another one there; None where there is none above.

        One undo later takes back both this and what is written then.
        """
        node = next((node for node in ancestors(self._tree.head) if node.kind == "generation"), None)
        if node is None:
            return None
        while node.parent is not None and node.parent.source is node.source:
            node = node.parent
        assert node.parent is not None
        at = node.start
        return Retry(change=self._do({"op": "go", "id": node.parent.number, "push": False}), at=at)

    # Moving in the tree

    def branch(self, offset: int) -> Change:
        """Go back to where the text ended at `offset`, or take off what follows; what was there stays in the tree.

        Raises:
            IndexError: the text has no such place.
        """
        return self._branch(offset, push=True)

    def branch_for_token(self, offset: int) -> Retry | None:
        """Go back to before the generated token at `offset`, to write on from there with another one.

        What stood behind a gap that was filled stays. None where there is no generated token.
        """
        view = self.token_at(offset)
        if view is None:
            return None
        source = self._tree.sources[view.source]
        assert source.generation is not None
        if not source.generation.between:
            return Retry(change=self._branch(view.start, push=False), at=view.start)
        node = self._tree.head
        if node.source is source:
            while view.start < node.start and node.parent is not None:
                node = node.parent  # the part before, of the same generation
            change = self._before(node, view.start - node.start, push=False)
        else:
            ends = [at + piece.end - piece.begin for at, piece in self._pieces() if piece.source is source]
            change = self._change("cut", view.start, max(ends) - view.start, "", "written", push=False)
        return Retry(change=change, at=view.start)

    def _branch(self, offset: int, *, push: bool) -> Change:
        if not 0 <= offset <= self.length:
            raise IndexError(f"no character {offset} in a text of {self.length}")
        if offset == self.length:
            return Change(start=offset, removed=0, inserted="")
        old = self.length
        node, length = self._tree.head, self.length
        # Changes that lie behind the place are undone; the first that does not tells what is left to do.
        while node.parent is not None and node.start >= offset:
            length += node.removed_length - node.inserted_length
            node = node.parent
        inside = offset - node.start
        tail = length - node.start - node.inserted_length
        if 0 < inside < node.inserted_length and tail == 0:
            self._before(node, inside, push=push)
        elif length == offset:
            self._do({"op": "go", "id": node.number, "push": push})
        else:
            if node is not self._tree.head:
                self._do({"op": "go", "id": node.number, "push": False})
            self._change("cut", offset, length - offset, "", "written", push=push)
        return Change(start=offset, removed=old - offset, inserted="")

    def _before(self, node: Node, inside: int, *, push: bool) -> Change:
        """Go to where only the first `inside` characters of a node had been put in."""
        if inside == 0:
            assert node.parent is not None
            return self._do({"op": "go", "id": node.parent.number, "push": push})
        self._do({"op": "split", "id": node.number, "at": inside, "new": self._tree.next_number})
        assert node.parent is not None
        return self._do({"op": "go", "id": node.parent.number, "push": push})

    def siblings(self) -> Siblings | None:
        """Where the last generation stands among its alternatives; None where there is none above."""
        return outlines.siblings(self._tree.head)

    def move_sibling(self, step: int) -> Change | None:
        """Go to another alternative of the last generation, and to what was last written on it; None at the ends."""
        known = self.siblings()
        if known is None or not 0 <= known.index - 1 + step < known.count:
            return None
        return self.move_to(self._tree.tip(self._tree.nodes[known.ids[known.index - 1 + step]]).number)

    def move_to(self, node: int) -> Change:
        """Go to a node of the tree.

        Raises:
            KeyError: there is none of this number.
        """
        return self._do({"op": "go", "id": self._tree.nodes[node].number, "push": True})

    @property
    def node(self) -> int:
        """Number of the node whose text this is."""
        return self._tree.head.number

    def outline(self) -> list[OutlineRow]:
        """The tree as rows, top to bottom; typing that leads to no branch is one row."""
        return outlines.outline(self._tree)

    # What is where

    def _pieces(self, start: int = 0, end: int | None = None, *, whole: bool = False) -> Iterator[tuple[int, Piece]]:
        return self._tree.table.pieces(start, end, whole=whole)

    def spans(self, start: int = 0, end: int | None = None) -> list[Span]:
        """Who wrote the characters between two places, as stretches in order."""
        return marks.spans(self._pieces(start, end))

    def tokens(self, start: int = 0, end: int | None = None) -> list[TokenView]:
        """The generated tokens that lie between two places, also in part, and stand as they came."""
        end = self.length if end is None else end
        return list(marks.tokens(self._pieces(start, end, whole=True), start, end))

    def token_at(self, offset: int) -> TokenView | None:
        """The generated token that has the character at `offset`; None where there is none."""
        return next(iter(self.tokens(offset, offset + 1)), None)

    def draft(self, cursor: int | None = None) -> Draft:
        """The text as it is now, for the engine; the cursor is at its end where not given."""
        return Draft(
            text=self.text,
            cursor=self.length if cursor is None else cursor,
            runs=tuple(marks.runs(self._pieces())),
        )


def ends_in_one_space(text: str) -> bool:
    """Whether a space at the end belongs to the word that is to come: `Stream` keeps it back then."""
    return len(text) > 1 and text[-1] == " " and not text[-2].isspace()
