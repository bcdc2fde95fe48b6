"""Sentences with named entities, out of every layout that Korean data comes in.

| layout | a sentence |
|---|---|
| `json` | a JSON line `{"text", "entities": [[start, end, label], …]}`, places in characters; our own predictions too |
| `characters` | `## id<TAB>…`, then `character<TAB>tag` a line, spaces too, then a blank line (KLUE-NER) |
| `numbered` | `number<TAB>word<TAB>tag` a line, then a blank line (Naver NER) |
| `morphemes` | `## number`, `## text`, `## tagged`, then `morpheme<TAB>lemma<TAB>class<TAB>tag` a line (KMOU-NER) |
| `words` | `word<TAB>tag` a line, in CoNLL files more columns between, then a blank line |
| `sentences` | `words<TAB>tags`, as many of the one as of the other, parted by spaces |
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from korformer.errors import InputError
from korformer.evaluation.entities import Entity
from korformer.supervised.columns import by_file
from korformer.supervised.names import id_of, with_ids
from korformer.supervised.task import Example
from korformer.tasks.ner.tags import Tag, entities, faults, parse_tag
from korformer.text.records import Place, Problems, parse_record, text_fault

Layout = Literal["auto", "json", "characters", "numbered", "morphemes", "words", "sentences"]

_LOOKED_AT = 200
"""Lines of a file that tell its layout."""
_COLUMNS = {"characters": 2, "numbered": 3, "morphemes": 4}
_LENIENT = "or give --set lenient=true, which takes it for a beginning"


@dataclass(frozen=True, kw_only=True)
class NerExample(Example):
    """A text and its entities.

    Attributes:
        text: as it came.
        entities: in the order of the text, without overlap; empty for a text of one's own.
    """

    text: str
    entities: tuple[Entity, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One line of a sentence."""

    place: Place
    columns: list[str]


def read_sentences(
    sources: Sequence[str], *, layout: Layout = "auto", lenient: bool = False, to_score: bool = False
) -> list[NerExample]:
    """The sentences of files.

    Args:
        sources: files, directories, globs or "-".
        layout: of all of them; by default each file's beginning tells.
        lenient: an I without its B begins an entity instead of being a fault.
        to_score: they are predictions: an I without its B is no entity and no fault, as in seqeval's strict mode.

    Raises:
        PathError: a file is missing or unreadable.
        DataError: bad places, all of them. InputError: a file is not text, or there are no sentences.
    """
    problems = Problems()
    found: list[NerExample] = []
    for lines in by_file(sources):
        found += _FileReader(problems, lenient=lenient, to_score=to_score).sentences(lines, layout)
    problems.refuse()
    if not found:
        raise InputError("no sentences in it", where=", ".join(sources))
    return with_ids(found)


def read_record(place: Place, record: dict[str, Any], problems: Problems) -> NerExample | None:
    """A sentence out of a JSON object; None where it cannot be used, which is noted."""
    text = record.get("text")
    fault = text_fault(text) if isinstance(text, str) else "is missing or not text"
    if fault is not None or not isinstance(text, str):
        problems.add(place, f'"text" {fault}')
        return None
    given = record.get("entities", [])
    if not isinstance(given, list):
        problems.add(place, '"entities" is not a list')
        return None
    found = []
    for number, value in enumerate(given, 1):
        entity, what = _entity(value, text)
        if entity is None:
            problems.add(place, f"entity {number}: {what}")
        else:
            found.append(entity)
    found.sort()
    for before, after in itertools.pairwise(found):
        if after.start < before.end:
            problems.add(place, f"entities overlap: {_shown(before, text)} and {_shown(after, text)}")
    return NerExample(given_id=id_of(record, "id"), place=place, text=text, entities=tuple(found))


def _entity(value: Any, text: str) -> tuple[Entity | None, str]:
    """An entity as `[start, end, label]` or `{"start", "end", "label"}`, or what is wrong with it."""
    if isinstance(value, dict):
        value = [value.get("start"), value.get("end"), value.get("label", value.get("type"))]
    if not isinstance(value, list) or len(value) != 3:
        return None, "is not [start, end, label]"
    start, end, label = value
    if type(start) is not int or type(end) is not int:
        return None, "start and end are not whole numbers"
    if not isinstance(label, str) or not label.strip() or any(character.isspace() for character in label):
        return None, "its label is missing or has white space"
    if not 0 <= start < end <= len(text):
        return None, f"characters {start:,} to {end:,} are not in a text of {len(text):,}"
    return Entity(start=start, end=end, label=label), ""


def _shown(entity: Entity, text: str) -> str:
    return f"{text[entity.start : entity.end][:30]!r} ({entity.start:,} to {entity.end:,})"


class _FileReader:
    """Reads one file; what is wrong goes to `problems`."""

    def __init__(self, problems: Problems, *, lenient: bool, to_score: bool) -> None:
        self._problems = problems
        self._lenient = lenient
        self._to_score = to_score

    def sentences(self, lines: Iterable[tuple[Place, str]], layout: Layout) -> Iterator[NerExample]:
        """Every sentence that can be used."""
        every = iter(lines)
        first = list(itertools.islice(every, _LOOKED_AT))
        kind = layout if layout != "auto" else _layout_of([line for _, line in first])
        both = itertools.chain(first, every)
        if kind == "json":
            yield from self._json(both)
        elif kind == "sentences":
            yield from self._one_a_line(both)
        else:
            for comments, rows in _blocks(both):
                example = self._sentence(kind, comments, rows)
                if example is not None:
                    yield example

    def _json(self, lines: Iterable[tuple[Place, str]]) -> Iterator[NerExample]:
        for place, line in lines:
            if line.strip():
                record = parse_record(place, line, self._problems)
                example = read_record(place, record, self._problems) if record is not None else None
                if example is not None:
                    yield example

    def _one_a_line(self, lines: Iterable[tuple[Place, str]]) -> Iterator[NerExample]:
        for place, line in lines:
            if not line.strip():
                continue
            columns = line.split("\t")
            words, tags = columns[0].split(), columns[-1].split()
            if len(columns) != 2 or len(words) != len(tags):
                what = (
                    f"{len(words):,} words and {len(tags):,} tags" if len(columns) == 2 else f"{len(columns)} columns"
                )
                self._problems.add(place, f"{what}: a line has as many words as tags, a tab between them")
                continue
            rows = [_Row(place=place, columns=[word, tag]) for word, tag in zip(words, tags, strict=True)]
            example = self._sentence("words", [], rows)
            if example is not None:
                yield example

    def _sentence(self, kind: str, comments: list[str], rows: list[_Row]) -> NerExample | None:
        """A sentence out of its lines."""
        wanted = _COLUMNS.get(kind)
        tags: list[Tag] = []
        tokens: list[str] = []
        before = len(self._problems.found)
        for row in rows:
            if len(row.columns) != wanted if wanted is not None else len(row.columns) < 2:
                least = f"{wanted}" if wanted is not None else "2 or more"
                self._problems.add(row.place, f"{len(row.columns)} columns instead of {least}")
                continue
            tag = parse_tag(row.columns[-1].strip())
            token = row.columns[1] if kind == "numbered" else row.columns[0]
            if kind == "morphemes" and token == "_" and row.columns[2] == "_":
                token = " "
            if tag is None:
                self._problems.add(
                    row.place, f"{row.columns[-1][:30]!r} is no tag: O, B-LABEL, I-LABEL, LABEL_B, LABEL_I, -"
                )
            if not token:
                self._problems.add(row.place, "the token is empty")
            if tag is not None and token:
                tags.append(tag)
                tokens.append(token)
        if len(self._problems.found) > before:
            return None
        if not (self._lenient or self._to_score):
            for fault in faults(tags):
                self._problems.add(rows[fault.index].place, f"{fault.what}; mend it, {_LENIENT}")
        joint = "" if kind in {"characters", "morphemes"} else " "
        text = joint.join(tokens)
        if not text.strip():
            self._problems.add(rows[0].place, "a sentence without text")
            return None
        places, start = [], 0
        for token in tokens:
            places.append((start, start + len(token)))
            start += len(token) + len(joint)
        found = entities(tags, places, repair=self._lenient)
        return NerExample(given_id=_name(kind, comments), place=rows[0].place, text=text, entities=tuple(found))


def _blocks(lines: Iterable[tuple[Place, str]]) -> Iterator[tuple[list[str], list[_Row]]]:
    """The comments before a sentence and its rows, of each sentence."""
    comments: list[str] = []
    rows: list[_Row] = []
    for place, line in lines:
        comment = line.startswith("## ") and not rows
        if comment:
            comments.append(line[3:])
        elif line.strip() or "\t" in line:
            rows.append(_Row(place=place, columns=_columns(line)))
        elif rows:
            yield comments, rows
            comments, rows = [], []
    if rows:
        yield comments, rows


def _columns(line: str) -> list[str]:
    """Parted by tabs, or where there are none by spaces."""
    return line.split("\t") if "\t" in line else line.split()


def _name(kind: str, comments: list[str]) -> str:
    """The id that the comments before a sentence give, if they do."""
    if kind == "morphemes":
        return comments[-3].strip() if len(comments) >= 3 else ""
    return comments[-1].split("\t")[0].strip() if comments and "\t" in comments[-1] else ""


def _layout_of(lines: Sequence[str]) -> str:  # noqa: PLR0911
    """What the beginning of a file says."""
    data = [line for line in lines if (line.strip() or "\t" in line) and not line.startswith("## ")]
    if any(line.startswith("{") for line in data[:1]):
        return "json"
    rows = [_columns(line) for line in data]
    if not rows:
        return "words"

    def most(right: Iterable[bool]) -> bool:
        """All but a few that may be what is wrong with the file."""
        answers = list(right)
        return 10 * sum(answers) > 9 * len(answers)

    if most(len(row) == 3 and row[0].isdecimal() for row in rows):
        return "numbered"
    if most(len(row) == 4 for row in rows) and any(row[0] == "_" and row[2] == "_" for row in rows if len(row) == 4):
        return "morphemes"
    if most(len(unicodedata.normalize("NFC", row[0])) == 1 for row in rows):
        return "characters"
    if most(len(row) == 2 and len(row[0].split()) == len(row[1].split()) for row in rows) and any(
        len(row[0].split()) > 1 for row in rows if len(row) == 2
    ):
        return "sentences"
    return "words"
