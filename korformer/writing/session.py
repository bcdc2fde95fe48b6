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

from collections.abc import Iterator
from dataclasses import dataclass

from korformer.writing import carrying, marks, outlines
from korformer.writing.draft import Draft
from korformer.writing.generating import Generating
from korformer.writing.marks import Span, TokenView
from korformer.writing.outlines import OutlineRow, Siblings
from korformer.writing.pieces import Piece
from korformer.writing.tree import Change, Node, Region, ancestors
from korformer.writing.versions import Action

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


class Session(Generating):
    """A text, all its versions, and the way through them.

    Args:
        versions: those of a session that is opened again; an empty one where not given.
    """

    # Another try

    def retry(self) -> Retry | None:
        """Go back to before the last generation, to write another one there; None where there is none above.

        What was changed before it since stays, and what was changed behind a gap that it filled; changes of its own
        text and what was written on it do not. One undo later takes back both this and what is written then.
        """
        node = next((node for node in ancestors(self._tree.head) if node.kind == "generation"), None)
        if node is None:
            return None
        while node.parent is not None and node.parent.kind == "generation" and node.parent.source is node.source:
            node = node.parent
        assert node.parent is not None
        before, behind = self._around(node)
        region = Region()
        self._take(region, {"op": "go", "id": node.parent.number, "push": False})
        self._carry(region, 0, node.start, before)
        at = sum(piece.end - piece.begin for piece in before)
        self._carry(region, at, self.length, behind)
        return Retry(change=region.change(self._tree.table), at=at)

    def _around(self, generation: Node) -> tuple[list[Piece], list[Piece]]:
        """What stands in the text before a generation that is in it, and, where that filled a gap, behind it."""
        assert generation.source is not None
        assert generation.source.generation is not None
        start, end = carrying.place_of(generation, self._tree.head)
        behind = self._pieces(end) if generation.source.generation.between else ()
        return [piece for _, piece in self._pieces(0, start)], [piece for _, piece in behind]

    def _carry(self, region: Region, start: int, end: int, wanted: list[Piece]) -> None:
        """Make the characters between two places those of `wanted`, beside the way of undo."""
        found = carrying.difference(self.slice(start, end), wanted, start)
        if found is None:
            return
        at, removed = found.start, found.end - found.start
        for piece in found.pieces or (None,):
            self._take(region, self._carried(at, removed, piece))
            at, removed = at + (0 if piece is None else piece.end - piece.begin), 0

    def _carried(self, at: int, removed: int, piece: Piece | None) -> Action:
        """What makes a carried change: the node that there is of it, or a new one."""
        wanted = (at, removed, () if piece is None else (piece,))
        for child in self._tree.head.children:
            if child.kind == "carried" and (child.start, child.removed_length, child.inserted) == wanted:
                return {"op": "go", "id": child.number, "push": False}
        return self._node("carried", at, removed, piece, push=False)

    def _take(self, region: Region, action: Action) -> None:
        change = self._do(action)
        if not change.nothing:
            region.add(change.start, change.removed, len(change.inserted))

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
        if node.kind == "generation" and node.source is source:
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
        """Go to another alternative of the last generation, and to what was last written on it; None at the ends.

        What was changed before the generation since is carried over.
        """
        known = self.siblings()
        if known is None or not 0 <= known.index - 1 + step < known.count:
            return None
        before, behind = self._around(self._tree.nodes[known.ids[known.index - 1]])
        other = self._tree.nodes[known.ids[known.index - 1 + step]]
        region = Region()
        self._take(region, {"op": "go", "id": self._tree.tip(other).number, "push": False})
        start, end = carrying.place_of(other, self._tree.head)
        if behind:
            self._carry(region, end, self.length, behind)
        self._carry(region, 0, start, before)
        self._take(region, {"op": "go", "id": self.node, "push": True})
        return region.change(self._tree.table)

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
