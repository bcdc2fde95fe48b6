"""Tables of labelled texts: tab-separated, with a header that names the columns or in a known order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from korformer.text.records import Place, Problems


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where what is wanted stands in a row.

    Attributes:
        count: columns of the table.
        places: number of the column of each wanted name; without those that the table does not have.
        wanted: names that must be there.
        is_header: whether the line they were found by is a header.
        header: its cells.
    """

    count: int
    places: Mapping[str, int]
    wanted: Sequence[str]
    is_header: bool
    header: Sequence[str]

    def require(self, place: Place, problems: Problems) -> None:
        """Note what a header lacks."""
        missing = [name for name in self.wanted if name not in self.places]
        if missing:
            problems.add(place, f"the header ({', '.join(self.header)}) names no column {' and no '.join(missing)}")

    def cells(self, place: Place, line: str, problems: Problems) -> dict[str, str] | None:
        """The wanted cells of a row; None where it has another number of columns, which is noted."""
        cells = line.split("\t")
        if len(cells) != self.count:
            problems.add(place, f"{len(cells)} columns instead of {self.count}")
            return None
        if any(name not in self.places for name in self.wanted):
            return None
        return {name: cells[column] for name, column in self.places.items()}


def columns_of(line: str, names: Mapping[str, Sequence[str]], order: Sequence[str]) -> Columns:
    """How to read a table by its first line: a header where it names one of the wanted columns, else `order`.

    Args:
        line: the first line.
        names: what a header may call each thing.
        order: the things that must be there, in the order that a table without a header has them.
    """
    cells = [cell.strip().lower() for cell in line.split("\t")]
    found = {
        thing: next(cells.index(name) for name in known if name in cells)
        for thing, known in names.items()
        if any(name in cells for name in known)
    }
    if any(thing in found for thing in order) and len(cells) > 1:
        return Columns(count=len(cells), places=found, wanted=tuple(order), is_header=True, header=cells)
    return Columns(
        count=len(order),
        places={thing: column for column, thing in enumerate(order)},
        wanted=tuple(order),
        is_header=False,
        header=(),
    )
