"""Tags as files spell them, and the entities that they stand for (IOB2: an entity begins with B and goes on with I)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from korformer.evaluation.entities import OUTSIDE, Entity

_PREFIXED = re.compile(r"([BI])[-_](\S+)")
_SUFFIXED = re.compile(r"(\S+)[-_]([BI])")


@dataclass(frozen=True, kw_only=True)
class Tag:
    """What a tag says of its token.

    Attributes:
        begins: it is the first of its entity.
        label: of the entity; None outside of any.
    """

    begins: bool
    label: str | None


def parse_tag(spelt: str) -> Tag | None:
    """A tag as KLUE and KMOU (`B-PS`) or Naver (`PER_B`, `-`) spell it; None for what is none."""
    if spelt in {OUTSIDE, "-"}:
        return Tag(begins=False, label=None)
    if match := _PREFIXED.fullmatch(spelt):
        return Tag(begins=match[1] == "B", label=match[2])
    if match := _SUFFIXED.fullmatch(spelt):
        return Tag(begins=match[2] == "B", label=match[1])
    return None


@dataclass(frozen=True, kw_only=True)
class TagFault:
    """A tag that no entity can have here: I without its B.

    Attributes:
        index: of the token.
        what: is wrong, in words.
    """

    index: int
    what: str


def faults(tags: Sequence[Tag]) -> Iterator[TagFault]:
    """Every tag that follows from nothing before it."""
    before = Tag(begins=False, label=None)
    for index, tag in enumerate(tags):
        if tag.label is not None and not tag.begins and before.label != tag.label:
            after = "O" if before.label is None else f"an entity {before.label}"
            where = "at the beginning of a sentence" if index == 0 else f"after {after}"
            yield TagFault(index=index, what=f"tag I of {tag.label} {where}: an entity begins with B")
        before = tag


def entities(tags: Sequence[Tag], places: Sequence[tuple[int, int]], *, repair: bool) -> list[Entity]:
    """The entities of a sentence.

    Args:
        tags: of its tokens.
        places: begin and end of each token in the text.
        repair: an I without its B begins an entity; else it is none, as in seqeval's strict mode.
    """
    found: list[Entity] = []
    begun: Entity | None = None
    for tag, (start, end) in zip(tags, places, strict=True):
        goes_on = begun is not None and not tag.begins and tag.label == begun.label
        if goes_on and begun is not None:
            begun = Entity(start=begun.start, end=end, label=begun.label)
            continue
        if begun is not None:
            found.append(begun)
        begins = tag.label is not None and (tag.begins or repair)
        begun = Entity(start=start, end=end, label=tag.label) if begins and tag.label is not None else None
    return [*found, begun] if begun is not None else found
