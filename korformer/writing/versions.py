"""A tree of versions, the way a person took through it, and the actions that make both.

Every change is one action, a mapping whose "op" names it. What a person does is turned into actions, the file of a
session is a list of them, and doing them again gives the same session.

    source    {id, origin, text, generation?, tokens?}            a stretch of text
    node      {id, parent, kind, at, remove, source?, begin, end, time, push}   a change to the text of the parent
    grow      {id, text, tokens?}                                 the head goes on
    widen     {id, at, remove}                                    the head takes more out
    split     {id, at, new}                                       a node becomes two
    go        {id, push}                                          another node becomes the head
    undo      {}        redo {}                                   a step back or forth on the way
    end       {source, reason, seed}                              a generation is over
    set       {name: value, ...}                                  facts beside the text: cursor, settings, model
    way       {ids, place, visited}                               the whole way, in a file that was made compact
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from korformer.writing.pieces import Generation, Source
from korformer.writing.tree import Change, Node, Tree

Action = Mapping[str, Any]

FACTS = ("cursor", "settings", "model", "file", "file_digest", "created", "hashes")
"""What "set" may name."""


class Versions:
    """What a session consists of.

    Attributes:
        tree: the versions.
        way: numbers of the nodes that were the head, in the order of time, as undo goes through them.
        place: where on the way the head is, or was before it left it for a moment.
        facts: values of `FACTS`.
    """

    def __init__(self) -> None:
        self.tree = Tree()
        self.way = [0]
        self.place = 0
        self.facts: dict[str, Any] = {}
        self._does: dict[str, Callable[[Action], Change]] = {
            "source": self._source,
            "node": self._node,
            "grow": self._grow,
            "widen": self._widen,
            "split": self._split,
            "go": self._go,
            "undo": lambda action: self._step(-1),
            "redo": lambda action: self._step(1),
            "end": self._end,
            "set": self._set,
            "way": self._restore_way,
        }

    @property
    def can_undo(self) -> bool:
        """Whether there is a step back."""
        return self.place > 0 or self.tree.head.number != self.way[self.place]

    @property
    def can_redo(self) -> bool:
        """Whether there is a step forth."""
        return self.place + 1 < len(self.way)

    def do(self, action: Action) -> Change:
        """Do an action; what it did to the text.

        Raises:
            KeyError, ValueError, IndexError, TypeError: it makes no sense here; nothing, or only a part, was done.
        """
        return self._does[action["op"]](action)

    def _nothing(self) -> Change:
        return Change(start=self.tree.table.length, removed=0, inserted="")

    def _source(self, action: Action) -> Change:
        made = action.get("generation")
        generation = None if made is None else Generation(**made)
        source = Source(
            number=_count(action["id"]), origin=action["origin"], text=_text(action["text"]), generation=generation
        )
        if source.origin not in {"written", "generated", "edited"}:
            raise ValueError(f"there is no origin {source.origin!r}")
        if generation is not None:
            end = 0
            for token in action.get("tokens", ()):
                end += len(token.text)
                generation.tokens.append(token)
                generation.ends.append(end)
        self.tree.add_source(source)
        return self._nothing()

    def _node(self, action: Action) -> Change:
        tree = self.tree
        parent = tree.nodes[action["parent"]]
        if parent is not tree.head:
            tree.go(parent)
        number = action.get("source")
        node = tree.add(
            action["kind"],
            _count(action["at"]),
            _count(action["remove"]),
            None if number is None else tree.sources[number],
            _count(action.get("begin", 0)),
            _count(action.get("end", 0)),
            number=_count(action["id"]),
            created=float(action.get("time", 0.0)),
        )
        if action.get("push", True):
            self._push(node)
        return Change(start=node.start, removed=node.removed_length, inserted=node.text)

    def _grow(self, action: Action) -> Change:
        node = self._head(action)
        at = node.start + node.inserted_length
        self.tree.grow(_text(action["text"]), tuple(action.get("tokens", ())))
        return Change(start=at, removed=0, inserted=action["text"])

    def _widen(self, action: Action) -> Change:
        self._head(action)
        self.tree.widen(_count(action["at"]), _count(action["remove"]))
        return Change(start=action["at"], removed=action["remove"], inserted="")

    def _split(self, action: Action) -> Change:
        self.tree.split(self.tree.nodes[action["id"]], _count(action["at"]), number=_count(action["new"]))
        return self._nothing()

    def _go(self, action: Action) -> Change:
        node = self.tree.nodes[action["id"]]
        change = self.tree.go(node)
        if action.get("push", True):
            self._push(node)
        return change

    def _step(self, step: int) -> Change:
        """Back or forth on the way; back to it first where the head has left it."""
        if self.tree.head.number == self.way[self.place]:
            if not 0 <= self.place + step < len(self.way):
                raise ValueError("the way ends here")
            self.place += step
        return self.tree.go(self.tree.nodes[self.way[self.place]])

    def _end(self, action: Action) -> Change:
        generation = self.tree.sources[action["source"]].generation
        if generation is None:
            raise ValueError("was not generated")
        generation.reason, generation.seed = action["reason"], action["seed"]
        return self._nothing()

    def _set(self, action: Action) -> Change:
        for name, value in action.items():
            if name in FACTS:
                self.facts[name] = value
        return self._nothing()

    def _restore_way(self, action: Action) -> Change:
        nodes = self.tree.nodes
        if not action["ids"] or not 0 <= action["place"] < len(action["ids"]):
            raise ValueError("the way has no such place")
        for parent, child in action["visited"]:
            if nodes[child].parent is not nodes[parent]:
                raise ValueError(f"node {child} is not a child of {parent}")
        self.way = [nodes[number].number for number in action["ids"]]
        self.place = action["place"]
        change = self.tree.go(nodes[self.way[self.place]])
        for parent, child in action["visited"]:
            nodes[parent].visited = nodes[child]
        return change

    def _head(self, action: Action) -> Node:
        if self.tree.head.number != action["id"]:
            raise ValueError(f"node {action['id']} is not the head")
        return self.tree.head

    def _push(self, node: Node) -> None:
        if node.kind == "opened" and self.way == [0]:
            self.way = [node.number]  # nobody wants to undo the opening of a file
            return
        del self.way[self.place + 1 :]
        self.way.append(node.number)
        self.place += 1

    def compact(self) -> Iterator[dict[str, Any]]:
        """The fewest actions that give all of this again."""
        tree = self.tree
        yield {"op": "set", **self.facts}
        for source in tree.sources.values():
            yield _source_action(source)
        waiting = list(reversed(tree.root.children))
        while waiting:
            node = waiting.pop()
            waiting.extend(reversed(node.children))
            yield node_action(node, push=False)
        visited = [[n.number, n.visited.number] for n in tree.nodes.values() if n.visited is not None]
        yield {"op": "way", "ids": list(self.way), "place": self.place, "visited": visited}
        if tree.head.number != self.way[self.place]:
            yield {"op": "go", "id": tree.head.number, "push": False}


def node_action(node: Node, *, push: bool) -> dict[str, Any]:
    """The action that makes a node."""
    assert node.parent is not None
    place = {} if node.source is None else {"source": node.source.number, "begin": node.begin, "end": node.end}
    return {
        "op": "node",
        "id": node.number,
        "parent": node.parent.number,
        "kind": node.kind,
        "at": node.start,
        "remove": node.removed_length,
        **place,
        "time": node.created,
        "push": push,
    }


def _source_action(source: Source) -> dict[str, Any]:
    action: dict[str, Any] = {"op": "source", "id": source.number, "origin": source.origin, "text": source.text}
    made = source.generation
    if made is not None:
        action["generation"] = generation_facts(made)
        action["tokens"] = tuple(made.tokens)
    return action


def generation_facts(made: Generation) -> dict[str, Any]:
    """All of a generation but its tokens."""
    return {
        "settings": made.settings,
        "model": made.model,
        "vocabulary": made.vocabulary,
        "space_owed": made.space_owed,
        "between": made.between,
        "seed": made.seed,
        "reason": made.reason,
    }


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"is not a number of characters, or of a node: {value!r}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("is no text")
    return value
