"""Every version that a text has had, as a tree: a node is one change to the text of its parent.

    root ── "옛날" typed ── 40 tokens generated ── a word replaced
                        └── 55 tokens generated

The text of a node is that of its parent with some characters taken out at one place and some put in there. Nothing is
ever changed in a node but that the newest one may go on growing, so every text that there was can be gone back to.
`PieceTable` holds the text of one node, the head; going to another one undoes the changes up to their common ancestor
and does those down from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from korformer.writing.pieces import Piece, PieceTable, Source
from korformer.writing.records import TokenRecord

NodeKind = Literal["root", "opened", "edit", "generation", "cut", "carried"]
"""The empty text; text from a file; a person's change; the model's; the end taken off to write another one; changes
around a generation made again for another one, see `carrying`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What happened to the text.

    Attributes:
        start: characters before it.
        removed: how many characters went.
        inserted: what stands in their place.
    """

    start: int
    removed: int
    inserted: str

    @property
    def cursor(self) -> int:
        """Where the cursor belongs afterwards: behind what is new."""
        return self.start + len(self.inserted)

    @property
    def nothing(self) -> bool:
        """Whether the text is as it was."""
        return not self.removed and not self.inserted


@dataclass(kw_only=True, eq=False, slots=True)
class Node:
    """A change to the text of the parent.

    Attributes:
        number: its own, in the session.
        parent: whose text was changed; None for the root.
        kind: what sort of change.
        start: characters before the change.
        removed: what it took out.
        source, begin, end: what it put in, a range of a source; None where nothing.
        created: seconds since 1970.
        children: in the order they came.
        visited: the child that was last on the way to the head.
    """

    number: int
    parent: Node | None
    kind: NodeKind
    start: int = 0
    removed: tuple[Piece, ...] = ()
    source: Source | None = None
    begin: int = 0
    end: int = 0
    created: float = 0.0
    children: list[Node] = field(default_factory=list)
    visited: Node | None = None

    @property
    def inserted(self) -> tuple[Piece, ...]:
        """What it put in."""
        return () if self.source is None else (Piece(self.source, self.begin, self.end),)

    @property
    def removed_length(self) -> int:
        """How many characters it took out."""
        return sum(piece.end - piece.begin for piece in self.removed)

    @property
    def inserted_length(self) -> int:
        """How many characters it put in."""
        return self.end - self.begin

    @property
    def text(self) -> str:
        """The characters that it put in."""
        return "".join(piece.text for piece in self.inserted)


class Tree:
    """All versions of a text, and the text of one of them.

    Attributes:
        root: the empty text.
        nodes: by number.
        sources: by number.
        head: whose text `table` holds.
        table: the text.
    """

    def __init__(self) -> None:
        self.root = Node(number=0, parent=None, kind="root")
        self.nodes = {0: self.root}
        self.sources: dict[int, Source] = {}
        self.head = self.root
        self.table = PieceTable()
        self._next = 1

    @property
    def next_number(self) -> int:
        """Of the next node."""
        return self._next

    def add_source(self, source: Source) -> None:
        """Take up a source whose number is new.

        Raises:
            ValueError: it is not.
        """
        if source.number in self.sources:
            raise ValueError(f"there is a source {source.number} already")
        self.sources[source.number] = source

    def add(
        self,
        kind: NodeKind,
        start: int,
        removed: int,
        source: Source | None = None,
        begin: int = 0,
        end: int = 0,
        *,
        number: int | None = None,
        created: float = 0.0,
    ) -> Node:
        """Change the text of the head: the new node, which is the head now.

        Raises:
            IndexError: the text has no such place. ValueError: the number is taken, or the source has no such range.
        """
        number = self._next if number is None else number
        if number in self.nodes or (source is not None and not 0 <= begin <= end <= len(source.text)):
            raise ValueError(f"no node {number} can be made")
        inserted = () if source is None else (Piece(source, begin, end),)
        gone = self.table.splice(start, removed, inserted)
        node = Node(
            number=number,
            parent=self.head,
            kind=kind,
            start=start,
            removed=gone,
            source=source,
            begin=begin,
            end=end,
            created=created,
        )
        self._keep(node)
        self.head.children.append(node)
        self.head.visited = node
        self.head = node
        return node

    def grow(self, text: str, tokens: tuple[TokenRecord, ...] = ()) -> None:
        """Let the head go on at its end, and its source with it.

        Raises:
            ValueError: it has children, or its source went on elsewhere.
        """
        node, source = self.head, self.head.source
        if source is None or node.children or node.end != len(source.text):
            raise ValueError(f"node {node.number} cannot grow")
        source.text += text
        if source.generation is not None:
            end = node.end
            for token in tokens:
                end += len(token.text)
                source.generation.tokens.append(token)
                source.generation.ends.append(end)
        piece = Piece(source, node.end, len(source.text))
        self.table.splice(node.start + node.inserted_length, 0, (piece,))
        node.end = piece.end

    def widen(self, start: int, removed: int) -> None:
        """Let the head, which only took characters out, take more out beside them.

        Raises:
            ValueError: it has children or put something in, or they do not lie beside them.
        """
        node = self.head
        if node.source is not None or node.children or not start <= node.start <= start + removed:
            raise ValueError(f"node {node.number} cannot take out more")
        gone = self.table.splice(start, removed, ())
        split, before = node.start - start, []
        while split:
            piece, *rest = gone
            length = min(split, piece.end - piece.begin)
            before.append(Piece(piece.source, piece.begin, piece.begin + length))
            left = Piece(piece.source, piece.begin + length, piece.end)
            gone = (left, *rest) if left.begin < left.end else tuple(rest)
            split -= length
        node.removed = (*before, *node.removed, *gone)
        node.start = start

    def split(self, node: Node, offset: int, *, number: int | None = None) -> Node:
        """Cut a node in two after `offset` of the characters that it put in; the first half is the new node.

        Raises:
            ValueError: there is nothing on one side.
        """
        if not 0 < offset < node.inserted_length or node.parent is None:
            raise ValueError(f"node {node.number} cannot be split at {offset}")
        number = self._next if number is None else number
        if number in self.nodes:
            raise ValueError(f"there is a node {number} already")
        parent = node.parent
        first = Node(
            number=number,
            parent=parent,
            kind=node.kind,
            start=node.start,
            removed=node.removed,
            source=node.source,
            begin=node.begin,
            end=node.begin + offset,
            created=node.created,
            children=[node],
            visited=node,
        )
        parent.children[parent.children.index(node)] = first
        if parent.visited is node:
            parent.visited = first
        node.parent, node.start, node.removed, node.begin = first, node.start + offset, (), first.end
        self._keep(first)
        return first

    def _keep(self, node: Node) -> None:
        self.nodes[node.number] = node
        self._next = max(self._next, node.number + 1)

    def go(self, target: Node) -> Change:
        """Make `target` the head; what that does to the text."""
        up, down = self._way(target)
        region = Region()
        for node in up:
            self.table.splice(node.start, node.inserted_length, node.removed)
            region.add(node.start, node.inserted_length, node.removed_length)
        for node in down:
            self.table.splice(node.start, node.removed_length, node.inserted)
            region.add(node.start, node.removed_length, node.inserted_length)
            assert node.parent is not None
            node.parent.visited = node
        self.head = target
        return region.change(self.table)

    def _way(self, target: Node) -> tuple[list[Node], list[Node]]:
        """The changes to undo from the head up, and those to do down to `target`."""
        if target.parent is self.head:
            return [], [target]
        above = {id(node) for node in ancestors(self.head)}
        down: list[Node] = []
        meeting = target
        while id(meeting) not in above:
            down.append(meeting)
            assert meeting.parent is not None
            meeting = meeting.parent
        up: list[Node] = []
        node = self.head
        while node is not meeting:
            up.append(node)
            assert node.parent is not None
            node = node.parent
        return up, down[::-1]

    def tip(self, node: Node) -> Node:
        """The node below that was visited last."""
        while node.visited is not None:
            node = node.visited
        return node


def ancestors(node: Node) -> Iterator[Node]:
    """A node and those above it, up to the root."""
    above: Node | None = node
    while above is not None:
        yield above
        above = above.parent


class Region:
    """The smallest stretch of the text that several changes, one after another, lie in."""

    def __init__(self) -> None:
        self.start = self.old_end = self.new_end = 0
        self._empty = True

    def add(self, start: int, removed: int, inserted: int) -> None:
        """Take in a change, in characters of the text before it."""
        if self._empty:
            self.start, self.old_end, self.new_end = start, start + removed, start + inserted
            self._empty = False
            return
        beyond = max(0, start + removed - self.new_end)
        self.old_end += beyond
        self.new_end += beyond + inserted - removed
        self.start = min(self.start, start)

    def change(self, table: PieceTable) -> Change:
        """All of them as one, from the text that they led to."""
        return Change(
            start=self.start, removed=self.old_end - self.start, inserted=table.text(self.start, self.new_end)
        )
