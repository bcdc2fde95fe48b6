"""Tables of labelled texts: tab-separated, with a header that names the columns or in a known order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from korformer.text.records import Place, Problems, read_lines


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


def labelled_lines(
    sources: Sequence[str],
    names: Mapping[str, Sequence[str]],
    order_of: Callable[[str], Sequence[str]],
    problems: Problems,
) -> Iterator[tuple[Place, str, Columns | None]]:
    """The lines of tables and JSON lines that hold something, headers apart: where, what, and the columns of the table.

    The first line of a file tells what the file is: the columns are None where it is JSON.

    Args:
        sources: files, directories, globs or "-".
        names: what a header may call each thing.
        order_of: from the first line of a table to the things that must be there, as `columns_of` takes them.
        problems: takes what a header lacks.
    """
    for lines in by_file(sources):
        columns: Columns | None = None
        begun = False
        for place, line in lines:
            if not line.strip():
                continue
            if not begun:
                begun = True
                columns = None if line.lstrip().startswith("{") else columns_of(line, names, order_of(line))
                if columns is not None and columns.is_header:
                    columns.require(place, problems)
                    continue
            yield place, line, columns


def by_file(sources: Sequence[str]) -> Iterator[Iterator[tuple[Place, str]]]:
    """The lines of each file by itself, with their places; a file that is named twice comes twice.

    Args:
        sources: files, directories, globs or "-".

    Raises:
        PathError, InputError: as of `read_lines`.
    """
    begun = 0

    def number_of(line: tuple[Place, str]) -> int:
        nonlocal begun
        begun += line[0].line == 1
        return begun

    for _, lines in itertools.groupby(read_lines(sources), key=number_of):
        yield lines
