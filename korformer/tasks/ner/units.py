"""What gets a tag: the characters of a text, as far as a model tells them apart.

Entities end inside tokens: `▁한강은` is the place 한강 with a particle. So a token tells the tags of its first
characters one by one, and those behind them go on as the last of these. White space has no tag of its own: it belongs
to an entity if that goes on behind it. With one character a token, a token has the tag of its first character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from korformer.evaluation.entities import Entity
from korformer.supervised.batches import Window
from korformer.supervised.stretches import stretches
from korformer.supervised.task import Reader
from korformer.tasks.ner.reading import NerExample
from korformer.text.normal import NormalText
from korformer.text.special import CLS_ID, SEP_ID

_SPECIAL = 2
"""[CLS] and [SEP]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Units:
    """U characters of a text (NFC) that get a tag, in order.

    Attributes:
        tokens: (U,) the token of the text that each belongs to.
        slots: (U,) its number among the characters of its token that get one.
        begins: (U,) the character.
        ends: (U,) the end of what it speaks for: itself, or the rest of its token.
    """

    tokens: NDArray[np.int64]
    slots: NDArray[np.int64]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """The units of a window.

    Attributes:
        first: number of its first unit in the text.
        tokens: (n,) places in the window of the tokens they belong to.
        slots: (n,) as in `Units`.
        centrality: (n,) how many tokens lie between each and the nearer end of the window's text, where a text has
            several windows; a unit that stands in two is read in the one where this is greater.
        units: of the whole text.
        normal: the text.
    """

    first: int
    tokens: NDArray[np.int64]
    slots: NDArray[np.int64]
    centrality: NDArray[np.int64]
    units: Units
    normal: NormalText


def find_units(text: str, offsets: Sequence[tuple[int, int]], most: int) -> Units:
    """The characters of a text that get a tag.

    Args:
        text: NFC.
        offsets: begin and end of each token (`Vocabulary.encode_offsets`).
        most: characters of a token that get one.
    """
    tokens, slots, begins, ends = list[int](), list[int](), list[int](), list[int]()
    done = 0  # a character that several tokens spell belongs to the first
    for number, (start, end) in enumerate(offsets):
        slot = 0
        for place in range(max(start, done), end):
            if text[place].isspace():
                continue
            if slot < most:
                tokens.append(number)
                slots.append(slot)
                begins.append(place)
                ends.append(place + 1)
                slot += 1
            else:
                ends[-1] = place + 1
        done = max(done, end)
    arrays = (np.array(values, dtype=np.int64) for values in (tokens, slots, begins, ends))
    return Units(**dict(zip(("tokens", "slots", "begins", "ends"), arrays, strict=True)))


class WindowMaker:
    """Makes windows of texts.

    Args:
        reader: vocabulary and length.
        labels: the classes of entities.
        most: characters of a token that get a tag.
    """

    def __init__(self, reader: Reader, labels: Sequence[str], most: int) -> None:
        self._reader = reader
        self._labels = {label: number for number, label in enumerate(labels)}
        self._most = most

    def windows(self, examples: Sequence[NerExample]) -> list[Window]:
        """`[CLS] text [SEP]` of each example; several that overlap by half where a text does not fit into one."""
        encoded = self._reader.vocabulary.encode_offsets([example.text for example in examples])
        made = []
        for number, (example, (ids, offsets)) in enumerate(zip(examples, encoded, strict=True)):
            normal = NormalText(example.text)
            units = find_units(normal.normal, offsets, self._most)
            tags = tags_of(units, [_to_normal(entity, normal) for entity in example.entities], self._labels)
            parts = stretches(len(ids), self._reader.max_tokens - _SPECIAL)
            for begin, end in parts:
                here = np.flatnonzero((units.tokens >= begin) & (units.tokens < end))
                places = units.tokens[here]
                origin = Part(
                    first=int(here[0]) if len(here) else 0,
                    tokens=places - begin + 1,
                    slots=units.slots[here],
                    centrality=np.minimum(places - begin, end - 1 - places) if len(parts) > 1 else places,
                    units=units,
                    normal=normal,
                )
                tokens = np.array([CLS_ID, *ids[begin:end], SEP_ID], dtype=np.int64)
                made.append(Window(example=number, tokens=tokens, target=tags[here], origin=origin))
        return made


def tag_names(labels: Sequence[str]) -> list[str]:
    """The tags in the order of their numbers: O, then B and I of each label."""
    return ["O", *(f"{kind}-{label}" for label in labels for kind in "BI")]


def tags_of(units: Units, entities: Sequence[Entity], labels: dict[str, int]) -> NDArray[np.int64]:
    """(U,) the tag of each unit; entities of other labels have none."""
    tags = np.zeros(len(units), dtype=np.int64)
    for entity in entities:
        inside = np.flatnonzero((units.begins >= entity.start) & (units.begins < entity.end))
        if len(inside) and entity.label in labels:
            tags[inside] = 2 + 2 * labels[entity.label]
            tags[inside[0]] -= 1
    return tags


def entities_of(units: Units, tags: Sequence[int], labels: Sequence[str]) -> list[Entity]:
    """The entities that units with these tags make; an I without its B makes none."""
    found: list[Entity] = []
    open_label = -1
    for number, tag in enumerate(tags):
        label = (tag - 1) // 2 if tag else -1
        begin, end = int(units.begins[number]), int(units.ends[number])
        if tag and tag % 2:
            found.append(Entity(start=begin, end=end, label=labels[label]))
            open_label = label
        elif tag and label == open_label:
            found[-1] = Entity(start=found[-1].start, end=end, label=labels[label])
        else:
            open_label = -1
    return found


def _to_normal(entity: Entity, normal: NormalText) -> Entity:
    start, end = normal.to_normal(entity.start, entity.end)
    return Entity(start=start, end=end, label=entity.label)


def to_original(entity: Entity, normal: NormalText) -> Entity:
    """An entity of the NFC in the text as it came."""
    start, end = normal.to_original(entity.start, entity.end)
    return Entity(start=start, end=end, label=entity.label)


def forbidden_transitions(labels: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which tags must not follow which, (K, K), and which must not be the first, (K,): I needs its B or I before it."""
    size = 1 + 2 * labels
    after = np.zeros((size, size), dtype=np.bool_)
    first = np.zeros(size, dtype=np.bool_)
    for inside in range(2, size, 2):
        after[:, inside] = True
        after[[inside - 1, inside], inside] = False
        first[inside] = True
    return after, first
