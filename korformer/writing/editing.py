"""The part of a session that a person types into. Offsets are characters of its text."""

from __future__ import annotations

import time

from korformer.writing.cleaning import clean, same_length, settle
from korformer.writing.pieces import Piece
from korformer.writing.recorded import Recorded
from korformer.writing.records import Origin
from korformer.writing.tree import Change, Node, NodeKind
from korformer.writing.versions import Action, Versions

RUN_CHARACTERS = 100
"""Typing that is undone at once, at most."""

RUN_SECONDS = 2.0
"""A pause after which typing is a new step of undo."""


class Editing(Recorded):
    """Editing and undo; arguments as `Recorded`."""

    def __init__(self, versions: Versions | None = None) -> None:
        super().__init__(versions)
        self._typed_at = 0.0

    # Editing

    def insert(self, at: int, text: str) -> Change:
        """Put `text` in at `at`; as `replace`."""
        return self.replace(at, at, text)

    def delete(self, start: int, end: int) -> Change:
        """Take the characters between two places out; as `replace`."""
        return self.replace(start, end, "")

    def replace(self, start: int, end: int, text: str) -> Change:
        """Put `text` in the place of some characters, as NFC and with line feeds as its only line ends.

        What is typed in one go is one step of undo.

        Returns:
            What really happened: where a combining character meets its base the change is a little wider.

        Raises:
            IndexError: the text has no such place.
            InputError: `text` has half of a surrogate pair.
        """
        if not 0 <= start <= end <= self.length:
            raise IndexError(f"no characters {start} to {end} in a text of {self.length}")
        start, end, text = settle(self.slice, self.length, start, end, clean(text))
        if start == end and not text:
            return Change(start=start, removed=0, inserted="")
        now = time.monotonic()
        fresh = now - self._typed_at <= RUN_SECONDS
        self._typed_at = now
        node = self._run if self._run is self._tree.head and fresh else None
        if node is not None and _types_on(node, start, end, text):
            return self._do({"op": "grow", "id": node.number, "text": text})
        if node is not None and _takes_on(node, start, end, text):
            return self._do({"op": "widen", "id": node.number, "at": start, "remove": end - start})
        change = self._change("edit", start, end - start, text, self._origin(start, end))
        self._run = self._tree.head if len(text) < RUN_CHARACTERS else None
        return change

    def set_text(self, text: str) -> Change:
        """Make `text` the text by the smallest replacement that does; as `replace`."""
        text, old = clean(text), self.text
        start = same_length(old, text)
        end = same_length(old[start:][::-1], text[start:][::-1])
        return self.replace(start, len(old) - end, text[start : len(text) - end])

    def seal(self) -> None:
        """What is typed next is a step of undo of its own."""
        self._run = None

    def open(self, text: str) -> Change:
        """Make `text`, from a file, the text. In a new session that is where undo ends."""
        if not self.length:
            return self._change("opened", 0, 0, clean(text), "written")
        text, old = clean(text), self.text
        start = same_length(old, text)
        end = same_length(old[start:][::-1], text[start:][::-1])
        if start == len(old) == len(text):
            return Change(start=start, removed=0, inserted="")
        return self._change(
            "opened", start, len(old) - end - start, text[start : len(text) - end], self._origin(start, len(old) - end)
        )

    def _origin(self, start: int, end: int) -> Origin:
        """Of text that is put in the place of some characters."""
        if any(piece.source.origin != "written" for _, piece in self._tree.table.pieces(start, end)):
            return "edited"
        around = [piece.source.origin for _, piece in self._tree.table.pieces(max(0, start - 1), end + 1)]
        inside = start > 0 and end < self.length and all(origin != "written" for origin in around)
        return "edited" if inside and around else "written"

    def _change(self, kind: NodeKind, at: int, removed: int, text: str, origin: Origin, *, push: bool = True) -> Change:
        piece = None
        if text:
            number = len(self._tree.sources)
            self._do({"op": "source", "id": number, "origin": origin, "text": text})
            piece = Piece(self._tree.sources[number], 0, len(text))
        return self._do(self._node(kind, at, removed, piece, push=push))

    def _node(self, kind: NodeKind, at: int, removed: int, piece: Piece | None, *, push: bool) -> Action:
        """The action that changes the text of the head."""
        place = {} if piece is None else {"source": piece.source.number, "begin": piece.begin, "end": piece.end}
        return {
            "op": "node",
            "id": self._tree.next_number,
            "parent": self._tree.head.number,
            "kind": kind,
            "at": at,
            "remove": removed,
            **place,
            "time": round(time.time(), 3),
            "push": push,
        }

    # Undo

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return self._versions.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return self._versions.can_redo

    def undo(self) -> Change | None:
        """Take the last edit, generation or move back; None where there is none."""
        return self._do({"op": "undo"}) if self.can_undo else None

    def redo(self) -> Change | None:
        """Do again what was undone last; None where nothing was."""
        return self._do({"op": "redo"}) if self.can_redo else None


def _types_on(node: Node, start: int, end: int, text: str) -> bool:
    """Whether typing goes on where it was."""
    at = node.start + node.inserted_length
    short = len(text) < RUN_CHARACTERS and node.inserted_length + len(text) <= RUN_CHARACTERS
    whole = node.source is not None and node.end == len(node.source.text)
    return start == end == at and whole and short and not node.text.endswith("\n") and not node.children


def _takes_on(node: Node, start: int, end: int, text: str) -> bool:
    """Whether characters are taken out beside those that just went."""
    short = node.removed_length + end - start <= RUN_CHARACTERS
    return not text and node.source is None and not node.children and start <= node.start <= end and short
