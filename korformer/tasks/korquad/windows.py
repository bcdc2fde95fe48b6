"""From questions to what the model reads: `[CLS] question [SEP] text [SEP]`, and where the answer is in that.

A text that fits stands in one window. One that does not is read in several, each with the question; of a window
without the answer the right answer is "not here", which the model gives by pointing at [CLS].

A token may begin before an answer or end behind it: `▁노아는` holds the space before the answer 노아 and the particle
는 after it. White space at a token's ends never belongs to an answer; of the other characters the model tells how many
to cut off, so every answer can be given exactly whatever the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from korformer.supervised.batches import Window
from korformer.supervised.stretches import stretches
from korformer.supervised.task import Reader
from korformer.tasks.korquad.reading import KorquadExample
from korformer.text.normal import NormalText
from korformer.text.special import CLS_ID, SEP_ID

NO_CUT = -100
"""Target of a cut that is not learnt."""

_SPECIAL = 3
"""[CLS] and two [SEP]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stretch:
    """The part of a text that a window shows.

    Attributes:
        first: place of its first token in the window.
        begins, ends: (n,) first character of each token that is no white space, and the one after its last such
            character, in the NFC of the text; equal where a token has none.
    """

    first: int
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SpanTarget:
    """What the model is to say of a window.

    Attributes:
        start, end: places in the window of the answer's first and last token; 0, that of [CLS], where it has none.
        cut_start, cut_end: characters of these tokens to leave out; `NO_CUT` where it has none.
    """

    start: int
    end: int
    cut_start: int
    cut_end: int

    @property
    def has_answer(self) -> bool:
        """Whether the answer is in this window."""
        return self.start > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Text:
    """A text in tokens."""

    normal: NormalText
    tokens: NDArray[np.int64]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]


class WindowMaker:
    """Cuts texts into windows; a text that several questions are about is encoded once.

    Args:
        reader: vocabulary and length.
        doc_stride: tokens from the beginning of a window's text to that of the next; half of the room if None.
        max_question_tokens: a longer question loses its end.
        longest_cut: most characters that can be left out of a token at either end.
    """

    def __init__(self, reader: Reader, *, doc_stride: int | None, max_question_tokens: int, longest_cut: int) -> None:
        self._reader = reader
        self._doc_stride = doc_stride
        self._longest_cut = longest_cut
        self._max_question_tokens = min(max_question_tokens, max(1, (reader.max_tokens - _SPECIAL) // 2))
        self._texts: dict[str, _Text] = {}

    def windows(self, examples: Sequence[KorquadExample]) -> list[Window]:
        """Every window of every question; those of a question are neighbours, in the order of the text."""
        self._encode(list(dict.fromkeys(example.context for example in examples)))
        questions = self._reader.vocabulary.encode_batch([example.question for example in examples])
        made = []
        for number, (example, question) in enumerate(zip(examples, questions, strict=True)):
            made += self._of_question(number, example, question[: self._max_question_tokens])
        self._texts.clear()
        return made

    def _encode(self, contexts: list[str]) -> None:
        encoded = self._reader.vocabulary.encode_offsets(contexts)
        for context, (ids, offsets) in zip(contexts, encoded, strict=True):
            normal = NormalText(context)
            places = np.array(offsets, dtype=np.int64).reshape(-1, 2)
            begins, ends = _without_space(normal.normal, places)
            self._texts[context] = _Text(normal=normal, tokens=np.array(ids, dtype=np.int64), begins=begins, ends=ends)

    def _of_question(self, number: int, example: KorquadExample, question: list[int]) -> list[Window]:
        text = self._texts[example.context]
        head = np.array([CLS_ID, *question, SEP_ID], dtype=np.int64)
        room = self._reader.max_tokens - len(head) - 1
        span = self._answer_tokens(example, text)
        made = []
        for begin, end in stretches(len(text.tokens), room, self._doc_stride):
            tokens = np.concatenate([head, text.tokens[begin:end], [SEP_ID]])
            segments = np.zeros(len(tokens), dtype=np.int64)
            segments[len(head) :] = 1
            origin = Stretch(first=len(head), begins=text.begins[begin:end], ends=text.ends[begin:end])
            target = None if span is None else self._target(span, begin, end, origin, example, text)
            made.append(Window(example=number, tokens=tokens, segments=segments, target=target, origin=origin))
        return made

    def _answer_tokens(self, example: KorquadExample, text: _Text) -> tuple[int, int] | None:
        """First and last token of the first gold answer in the whole text; None for a question without one."""
        if not example.answers:
            return None
        begin, end = self._answer_characters(example, text)
        covering = np.flatnonzero((text.ends > begin) & (text.begins < end) & (text.ends > text.begins))
        return (int(covering[0]), int(covering[-1])) if len(covering) else None

    @staticmethod
    def _answer_characters(example: KorquadExample, text: _Text) -> tuple[int, int]:
        """Where the first gold answer stands in the NFC of the text, without white space at its ends."""
        answer = example.answers[0]
        begin, end = text.normal.to_normal(answer.start, answer.start + len(answer.text))
        piece = text.normal.normal[begin:end]
        begin += len(piece) - len(piece.lstrip())
        return begin, begin + len(piece.strip())

    def _target(
        self, span: tuple[int, int], begin: int, end: int, origin: Stretch, example: KorquadExample, text: _Text
    ) -> SpanTarget:
        start, last = span
        if start < begin or last >= end:
            return SpanTarget(start=0, end=0, cut_start=NO_CUT, cut_end=NO_CUT)
        first_character, after_last = self._answer_characters(example, text)
        cut_start = max(0, first_character - int(text.begins[start]))
        cut_end = max(0, int(text.ends[last]) - after_last)
        return SpanTarget(
            start=origin.first + start - begin,
            end=origin.first + last - begin,
            cut_start=cut_start if cut_start <= self._longest_cut else NO_CUT,
            cut_end=cut_end if cut_end <= self._longest_cut else NO_CUT,
        )


def _without_space(text: str, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Begins and ends of tokens, (n, 2), without the white space at their ends."""
    begins, ends = places[:, 0].copy(), places[:, 1].copy()
    space = np.fromiter((character.isspace() for character in text), dtype=np.bool_, count=len(text))
    for index in np.flatnonzero(space[np.minimum(begins, len(text) - 1)] if len(text) else []):
        while begins[index] < ends[index] and space[begins[index]]:
            begins[index] += 1
    for index in np.flatnonzero(space[np.maximum(ends - 1, 0)] if len(text) else []):
        while begins[index] < ends[index] and space[ends[index] - 1]:
            ends[index] -= 1
    return begins, ends
