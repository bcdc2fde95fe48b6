"""KorQuAD 1.0 JSON: `{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text",
"answer_start"}]}]}]}]}`, where `answer_start` counts characters of the context. Long documents come in the same layout.
"""

from __future__ import annotations

import json
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from korformer.errors import InputError
from korformer.supervised.task import Example
from korformer.text.files import InputFile, expand, open_input
from korformer.text.reading import TextReader
from korformer.text.records import Place, Problems, text_fault

_SHOWN_CHARACTERS = 30


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A gold answer.

    Attributes:
        text: as it stands in the context.
        start: its first character there.
    """

    text: str
    start: int


@dataclass(frozen=True, kw_only=True)
class KorquadExample(Example):
    """A question about a text.

    Attributes:
        question: the question.
        context: the text that has the answer, as it came.
        answers: every answer that counts as right; empty for a question of one's own.
        article: what the text is a part of: questions of one article are not independent.
    """

    question: str
    context: str
    answers: tuple[Answer, ...] = ()
    article: str = ""


def read_questions(sources: Sequence[str], *, to_score: bool = False) -> list[KorquadExample]:
    """The questions of KorQuAD files, in their order.

    Args:
        sources: files, directories, globs or "-".
        to_score: they serve to score given answers only: places of answers do not matter, nor ids that come twice, and
            the official script takes them too.

    Raises:
        PathError: a file is missing or unreadable.
        DataError: bad places, all of them. InputError: a file is not text, or there are no questions.
    """
    problems = Problems()
    examples = []
    seen: dict[str, Place] = {}
    for file in expand(sources):
        reader = _FileReader(file, problems, to_score=to_score)
        for example in reader.questions():
            if not to_score and example.id in seen:
                problems.add(example.place, f"the same id as at {seen[example.id]}")
            seen.setdefault(example.id, example.place)
            examples.append(example)
    problems.refuse()
    if not examples:
        raise InputError("no questions in it", where=", ".join(sources))
    return examples


class _FileReader:
    """Reads one file; what is wrong with it goes to `problems`."""

    def __init__(self, file: InputFile, problems: Problems, *, to_score: bool) -> None:
        self._name = file.name
        self._problems = problems
        self._to_score = to_score
        with open_input(file) as stream:
            self._text = "".join(TextReader(stream).chunks())
        self._line_ends: list[int] | None = None
        self._searched = 0

    def questions(self) -> Iterator[KorquadExample]:
        """Every question that can be used."""
        whole = Place(file=self._name)
        if not self._text.strip():
            self._problems.add(whole, "is empty")
            return
        try:
            value = json.loads(self._text)
        except json.JSONDecodeError as error:
            place = Place(file=self._name, line=error.lineno)
            self._problems.add(place, f"not JSON: {error.msg[:1].lower()}{error.msg[1:]} (column {error.colno:,})")
            return
        except (ValueError, RecursionError):
            self._problems.add(whole, "not JSON: a number or a nesting beyond measure")
            return
        articles = value.get("data") if isinstance(value, dict) else None
        if not isinstance(articles, list):
            self._problems.add(whole, 'no KorQuAD file: it lacks the list "data"')
            return
        for number, article in enumerate(articles):
            yield from self._article(article, f"data[{number}]")

    def _article(self, article: Any, path: str) -> Iterator[KorquadExample]:
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            newer = isinstance(article, dict) and "qas" in article
            layout = "; KorQuAD 2 has its context and qas here: put them into one paragraph" if newer else ""
            self._problems.add(self._place(path), f'lacks the list "paragraphs"{layout}')
            return
        title = article.get("title")
        for number, paragraph in enumerate(paragraphs):
            here = f"{path}.paragraphs[{number}]"
            context = paragraph.get("context") if isinstance(paragraph, dict) else None
            questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
            if not isinstance(questions, list):
                self._problems.add(self._place(here), 'lacks the list "qas"')
                continue
            if not self._is_text(context, "context", self._place(here)):
                continue
            context = context if isinstance(context, str) else ""
            name = title if isinstance(title, str) else f"{self._name} {path}"
            for index, question in enumerate(questions):
                example = self._question(question, context, name, f"{here}.qas[{index}]")
                if example is not None:
                    yield example

    def _question(self, value: Any, context: str, article: str, path: str) -> KorquadExample | None:
        name = value.get("id") if isinstance(value, dict) else None
        if not isinstance(name, str) or not name:
            self._problems.add(self._place(path), 'lacks "id"')
            return None
        place = self._place(f"question {name}", find=name)
        before = len(self._problems.found)
        question = value.get("question")
        self._is_text(question, "question", place)
        answers = value.get("answers")
        if not isinstance(answers, list) or not answers:
            self._problems.add(place, "has no answers")
            return None
        checked = [self._answer(answer, context, place) for answer in answers]
        if len(self._problems.found) > before:
            return None
        return KorquadExample(
            given_id=name,
            id=name,
            place=place,
            question=question if isinstance(question, str) else "",
            context=context,
            answers=tuple(answer for answer in checked if answer is not None),
            article=article,
        )

    def _answer(self, value: Any, context: str, place: Place) -> Answer | None:
        text = value.get("text") if isinstance(value, dict) else None
        start = value.get("answer_start") if isinstance(value, dict) else None
        if not isinstance(text, str):
            self._problems.add(place, 'an answer lacks "text"')
            return None
        if self._to_score:
            return Answer(text=text, start=start if type(start) is int else -1)
        if not self._is_text(text, "text", place, of="an answer's "):
            return None
        if type(start) is not int:
            self._problems.add(place, 'an answer lacks "answer_start", or it is no whole number')
            return None
        if start < 0 or context[start : start + len(text)] != text:
            self._problems.add(place, _misplaced(text, start, context))
            return None
        return Answer(text=text, start=start)

    def _is_text(self, value: Any, name: str, place: Place, of: str = "") -> bool:
        """Whether a value is text with something in it; it need not be where answers alone are scored."""
        if self._to_score:
            return True
        fault = text_fault(value) if isinstance(value, str) else "is missing or not text"
        if fault is not None:
            self._problems.add(place, f'{of}"{name}" {fault}')
        return fault is None

    def _place(self, entry: str, find: str | None = None) -> Place:
        """A place by its name, with the line where `find` stands first if the file has more than one."""
        if self._line_ends is None:
            self._line_ends = [index for index, character in enumerate(self._text) if character == "\n"]
        line = None
        if find is not None and len(self._line_ends) > 1:
            # From where the one before was found: they come in order.
            spelt = (json.dumps(find, ensure_ascii=ascii_only) for ascii_only in (False, True))
            offset = max(self._text.find(name, self._searched) for name in spelt)
            if offset >= 0:
                line, self._searched = bisect_left(self._line_ends, offset) + 1, offset + 1
        return Place(file=self._name, line=line, entry=entry)


def _misplaced(text: str, start: int, context: str) -> str:
    """An answer is not where it is said to be: what is there instead, and where it is."""
    shown = _short(text)
    there = context[start : start + len(text)] if 0 <= start < len(context) else ""
    what = (
        f"the answer {shown} is not at character {start:,}, where {_short(there)} stands"
        if there
        else (f"the answer {shown} cannot begin at character {start:,} of {len(context):,}")
    )
    places = []
    found = context.find(text)
    while found >= 0:
        places.append(found)
        found = context.find(text, found + 1)
    if places:
        return f"{what}; the nearest is at {min(places, key=lambda place: abs(place - start)):,}"
    normal = unicodedata.normalize("NFC", text) in unicodedata.normalize("NFC", context)
    return f"{what}; the text has it in another Unicode normal form" if normal else f"{what}; the text does not have it"


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…")
