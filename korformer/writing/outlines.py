"""The tree of versions as a person sees it."""

from __future__ import annotations

from dataclasses import dataclass

from korformer.writing.carrying import alternatives
from korformer.writing.tree import Node, NodeKind, Tree, ancestors

EXCERPT_CHARACTERS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Siblings:
    """A generation among those that begin at the same place, whatever was changed before it since.

    Attributes:
        index: of the one in the text, counted from 1.
        count: how many there are.
        ids: their nodes.
    """

    index: int
    count: int
    ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class OutlineRow:
    """A row of the tree: a node, or several edits that led from one to the next without a branch.

    Attributes:
        node: the last of them, to go to.
        depth: branches above it.
        kind: what sort of change.
        excerpt: what it put in, or took out, on one line.
        characters: how many it put in.
        tokens: of a generation.
        created: seconds since 1970.
        current: whether the text is this one's.
        on_path: whether the text goes through it.
        children: how many ways lead on.
    """

    node: int
    depth: int
    kind: NodeKind
    excerpt: str
    characters: int
    tokens: int
    created: float
    current: bool
    on_path: bool
    children: int


def siblings(head: Node) -> Siblings | None:
    """The alternatives of the last generation at `head` or above it; of its parts, those of one that has some."""
    node = next((node for node in ancestors(head) if node.kind == "generation"), None)
    if node is None:
        return None
    part: Node | None = node
    while part is not None and part.kind == "generation" and part.source is node.source:
        if len(alternatives(part)) > 1:
            node = part
            break
        part = part.parent
    ids = tuple(other.number for other in alternatives(node))
    return Siblings(index=ids.index(node.number) + 1, count=len(ids), ids=ids)


def outline(tree: Tree) -> list[OutlineRow]:
    """The rows, top to bottom, children below their parents in the order they came."""
    path = {id(node) for node in ancestors(tree.head)}
    rows: list[OutlineRow] = []
    waiting = [(child, 0) for child in reversed(tree.root.children)]
    while waiting:
        node, depth = waiting.pop()
        chain = [node]
        while node.kind == "edit" and len(node.children) == 1 and node.children[0].kind == "edit":
            node = node.children[0]
            chain.append(node)
        rows.append(_row(chain, depth, tree.head, path))
        deeper = depth + (len(node.children) > 1)
        waiting.extend((child, deeper) for child in reversed(node.children))
    return rows


def _row(chain: list[Node], depth: int, head: Node, path: set[int]) -> OutlineRow:
    node = chain[-1]
    made = None if node.source is None else node.source.generation
    tokens = 0 if made is None else max(0, made.last_until(node.end) - made.first_from(node.begin))
    return OutlineRow(
        node=node.number,
        depth=depth,
        kind=node.kind,
        excerpt=_excerpt(chain),
        characters=sum(link.inserted_length for link in chain),
        tokens=tokens,
        created=node.created,
        current=any(link is head for link in chain),
        on_path=any(id(link) in path for link in chain),
        children=len(node.children),
    )


def _excerpt(chain: list[Node]) -> str:
    """The beginning of what was put in; where nothing was, of what went."""
    text = ""
    for node in chain:
        source = node.source
        text += "" if source is None else source.text[node.begin : min(node.end, node.begin + EXCERPT_CHARACTERS)]
        if len(text) >= EXCERPT_CHARACTERS:
            break
    if not text:
        text = "".join(piece.text[:EXCERPT_CHARACTERS] for piece in chain[0].removed[:4])
    return " ".join(text[:EXCERPT_CHARACTERS].split())
