"""What a person changed around a generation since it was written, kept for the next try and in the other versions.

    "그는" ── " 웃었다." generated ── "그는" made "그녀는"
          └── "그는" made "그녀는", carried ── " 울었다." generated

Where a generation stands is followed through the changes below it; what then stands before it is put into the text that
it was written on, as nodes of the kind "carried", which count as no change of place among alternatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from korformer.writing.cleaning import same_length
from korformer.writing.pieces import Piece
from korformer.writing.tree import Node, ancestors


class Difference(NamedTuple):
    """Characters from `start` to `end` are to be those of `pieces`."""

    start: int
    end: int
    pieces: tuple[Piece, ...]


def place_of(generation: Node, head: Node) -> tuple[int, int]:
    """Where the text of a generation, or of its part that begins with a node, begins and ends in that of `head`.

    Args:
        generation: a node above `head`, or that.
    """
    below: list[Node] = []
    for node in ancestors(head):
        if node is generation:
            break
        below.append(node)
    start, end = generation.start, generation.start + generation.inserted_length
    for node in reversed(below):
        if node.kind == "generation" and node.source is generation.source and node.start == end:
            end += node.inserted_length
        else:
            start, end = place_after(node, start), _end_after(node, end)
    return start, max(start, end)


def place_after(node: Node, place: int) -> int:
    """Where a place goes in a change; what is put in at the place itself comes to stand before it."""
    if node.start + node.removed_length <= place:
        return place + node.inserted_length - node.removed_length
    return node.start + node.inserted_length if node.start < place else place


def _end_after(node: Node, place: int) -> int:
    """The same for an end: what is put in there comes to stand behind it."""
    if node.start >= place:
        return place
    if node.start + node.removed_length <= place:
        return place + node.inserted_length - node.removed_length
    return node.start


def difference(old: str, wanted: Sequence[Piece], at: int) -> Difference | None:
    """The smallest change that makes `old`, which stands at `at`, the characters of `wanted`; None where it is that."""
    new = "".join(piece.text for piece in wanted)
    if old == new:
        return None
    head = same_length(old, new)
    tail = same_length(old[head:][::-1], new[head:][::-1])
    pieces = tuple(_between(wanted, head, len(new) - tail))
    return Difference(at + head, at + len(old) - tail, pieces)


def _between(pieces: Sequence[Piece], start: int, end: int) -> Iterator[Piece]:
    """The characters between two places of what the pieces spell, as pieces."""
    at = 0
    for piece in pieces:
        low, high = max(start - at, 0), min(end - at, piece.end - piece.begin)
        if low < high:
            yield Piece(piece.source, piece.begin + low, piece.begin + high)
        at += piece.end - piece.begin


def alternatives(node: Node) -> list[Node]:
    """The generations that begin where `node` does, with whatever was carried to them, in the order of the tree."""
    base = node.parent
    while base is not None and base.kind == "carried":
        base = base.parent
    assert base is not None
    for first in base.children:
        if first.kind == "generation":
            family = list(_generations(base, first.start))
            if node in family:
                return family
    return [node]


def _generations(base: Node, place: int) -> Iterator[Node]:
    for child in base.children:
        if child.kind == "generation" and child.start == place:
            yield child
        elif child.kind == "carried":
            yield from _generations(child, place_after(child, place))
