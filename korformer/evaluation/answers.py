"""Exact match and F1 of answers in words, as KorQuAD 1.0 defines them.

Both sides are normalised: twelve quotation marks and brackets become spaces, letters become lower-case, ASCII
punctuation goes, white space becomes single spaces. Exact match compares what is left, spaces included. F1 is over the
multiset of characters without spaces, and 0 without a common one. Of several gold answers the best counts; means are
over all questions, an unanswered one counting 0, and times 100.

The figures are those of the official evaluate-v1.0.py to the last digit: operations and their order are the same.
"""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_TO_SPACE = dict.fromkeys(map(ord, "'\"《》<>〈〉()‘’"), " ")
_DROPPED = dict.fromkeys(map(ord, string.punctuation))


def normalised(text: str) -> str:
    """A text as it is compared."""
    return " ".join(text.translate(_TO_SPACE).lower().translate(_DROPPED).split())


def exact_match(prediction: str, answers: Iterable[str]) -> bool:
    """Whether a prediction is one of the gold answers after normalisation."""
    wanted = normalised(prediction)
    return any(normalised(answer) == wanted for answer in answers)


def character_f1(prediction: str, answers: Iterable[str]) -> float:
    """The best F1 over characters against the gold answers, 0 to 1."""
    given = normalised(prediction).replace(" ", "")
    return max(_f1(given, normalised(answer).replace(" ", "")) for answer in answers)


def _f1(given: str, wanted: str) -> float:
    common = sum((Counter(given) & Counter(wanted)).values())
    if common == 0:
        return 0
    precision, recall = common / len(given), common / len(wanted)
    return (2 * precision * recall) / (precision + recall)


@dataclass(frozen=True, kw_only=True)
class AnswerScores:
    """Scores of each question, in the order of the data.

    Attributes:
        exact: whether the answer is right; False where there is none.
        f1: 0 to 1; 0 where there is none.
        answered: whether there is an answer.
    """

    exact: tuple[bool, ...]
    f1: tuple[float, ...]
    answered: tuple[bool, ...]

    @property
    def exact_match(self) -> float:
        """Share of right answers in percent."""
        return 100.0 * sum(self.exact) / len(self.exact)

    @property
    def mean_f1(self) -> float:
        """Mean F1 in percent."""
        total = 0.0
        for value in self.f1:  # one after the other: `sum` rounds less than the official script
            total += value
        return 100.0 * total / len(self.f1)


def score_answers(answers: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> AnswerScores:
    """Score predictions, None where there is none, against the gold answers of each question."""
    exact, f1 = [], []
    for wanted, given in zip(answers, predictions, strict=True):
        exact.append(given is not None and exact_match(given, wanted))
        f1.append(0.0 if given is None else character_f1(given, wanted))
    answered = tuple(given is not None for given in predictions)
    return AnswerScores(exact=tuple(exact), f1=tuple(f1), answered=answered)


def differ_in_form(answers: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> int:
    """How many predictions are wrong only because they are in another Unicode normal form than the gold answer.

    The official figures compare code points, so that a syllable and its jamo are different things to them.
    """
    return sum(
        given is not None
        and not exact_match(given, wanted)
        and exact_match(_nfc(given), [_nfc(answer) for answer in wanted])
        for wanted, given in zip(answers, predictions, strict=True)
    )


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
