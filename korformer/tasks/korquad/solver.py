"""KorQuAD as a model meets it: a head that points at an answer's ends, and figures of what it pointed at.

Legend: W windows, L tokens of the longest, D model width.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from korformer.config import Settings
from korformer.evaluation.answers import AnswerScores, differ_in_form, score_answers
from korformer.evaluation.bootstrap import mean_interval
from korformer.evaluation.report import Predictions, Table
from korformer.model.heads import HeadSpec
from korformer.objectives import BatchLoss, Term
from korformer.supervised.batches import Batch, Window
from korformer.supervised.task import Reader, Solver
from korformer.tasks.korquad.figures import by_size
from korformer.tasks.korquad.reading import KorquadExample
from korformer.tasks.korquad.spans import Span, best_spans, merged, outputs_of, span_loss, span_scores
from korformer.tasks.korquad.windows import WindowMaker
from korformer.text.normal import NormalText
from korformer.text.records import Problems

if TYPE_CHECKING:
    from torch import Tensor

    from korformer.model.backbone import ReformerModel

HEAD = "span"
Count = Annotated[int, Field(ge=1)]

_AROUND = 40
"""Characters of a text that are shown before and after an answer."""


class KorquadSettings(Settings):
    """How questions are read and answers chosen."""

    doc_stride: Count | None = None
    """Tokens from one window of a text to the next, where it does not fit into one; half of the room for the text if it
    is not given (BERT took 128)."""
    max_question_tokens: Count = 96
    """A longer question loses its end."""
    max_answer_tokens: Count = 30
    """Longer answers are not given."""
    n_best: Count = 20
    """Possible answers that a prediction lists with their probabilities."""
    longest_cut: Annotated[int, Field(ge=0, le=64)] = 8
    """Most characters that an answer may leave out of its first and of its last token, such as a particle."""
    impossible_windows: Annotated[int, Field(ge=0)] = 2
    """Training: windows without the answer that a question brings at most, besides those with it."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A possible answer in the text as it came."""

    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True, kw_only=True)
class KorquadPrediction:
    """Possible answers, best first; none where a file of predictions leaves the question out."""

    candidates: tuple[Candidate, ...]

    @property
    def text(self) -> str | None:
        """The answer, if there is one."""
        return self.candidates[0].text if self.candidates else None


class KorquadSolver(Solver[KorquadExample, KorquadPrediction]):
    """Answers questions with a stretch of a text.

    Args:
        settings: of the task.
        reader: None where answers are scored alone.
    """

    headline = "f1"

    def __init__(self, settings: KorquadSettings, reader: Reader | None) -> None:
        self.settings = settings
        self.reader = reader

    @property
    def heads(self) -> Mapping[str, HeadSpec]:
        """One, which sees each token."""
        return {HEAD: HeadSpec(reads="tokens", outputs=outputs_of(self.settings.longest_cut))}

    def windows(self, examples: Sequence[KorquadExample]) -> list[Window]:
        """As `korformer.tasks.korquad.windows` says."""
        assert self.reader is not None
        maker = WindowMaker(
            self.reader,
            doc_stride=self.settings.doc_stride,
            max_question_tokens=self.settings.max_question_tokens,
            longest_cut=self.settings.longest_cut,
        )
        return maker.windows(examples)

    def training_windows(self, examples: Sequence[KorquadExample]) -> list[Window]:
        """Those with the answer, and of the others the nearest to it, `impossible_windows` at most."""
        windows = self.windows(examples)
        with_answer: dict[int, list[int]] = {}
        for place, window in enumerate(windows):
            if window.target is not None and window.target.has_answer:
                with_answer.setdefault(window.example, []).append(place)
        others: dict[int, list[int]] = {}
        for place, window in enumerate(windows):
            places = with_answer.get(window.example)
            if places and place not in places:
                others.setdefault(window.example, []).append(place)
        kept = {place for places in with_answer.values() for place in places}
        for example, places in others.items():
            answers = with_answer[example]
            places.sort(key=lambda place: (min(abs(place - answer) for answer in answers), place))
            kept.update(places[: self.settings.impossible_windows])
        return [windows[place] for place in sorted(kept)]

    def loss(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> BatchLoss:
        """Cross-entropy of the answer's ends and of what is cut off there."""
        scores = span_scores(model.heads[HEAD](hidden_WLD), batch)
        return BatchLoss(terms={"windows": Term(mean=span_loss(scores, batch), count=len(batch.windows))})

    def outputs(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> list[list[Span]]:
        """The likeliest spans of each window."""
        return best_spans(
            span_scores(model.heads[HEAD](hidden_WLD), batch),
            batch,
            longest_tokens=self.settings.max_answer_tokens,
            n_best=self.settings.n_best,
        )

    def predictions(
        self, examples: Sequence[KorquadExample], windows: Sequence[Window], outputs: Sequence[list[Span]]
    ) -> list[KorquadPrediction]:
        """The likeliest spans of all windows of a question, in the text as it came."""
        found: list[list[list[Span]]] = [[] for _ in examples]
        for window, spans in zip(windows, outputs, strict=True):
            found[window.example].append(spans)
        normal: dict[str, NormalText] = {}
        made = []
        for example, spans_of_windows in zip(examples, found, strict=True):
            if example.context not in normal:
                normal[example.context] = NormalText(example.context)
            text = normal[example.context]
            spans = merged(spans_of_windows, n_best=self.settings.n_best)
            made.append(KorquadPrediction(candidates=tuple(_candidate(text, span) for span in spans)))
        return made

    def scored(self, examples: Sequence[KorquadExample], predictions: Sequence[KorquadPrediction]) -> AnswerScores:
        """The official scores."""
        answers, texts = _compared(examples, predictions)
        return score_answers(answers, texts)

    def metrics(self, examples: Sequence[KorquadExample], predictions: Sequence[KorquadPrediction]) -> dict[str, float]:
        """The official figures, in percent."""
        scores = self.scored(examples, predictions)
        return {"f1": scores.mean_f1, "exact_match": scores.exact_match}

    def details(self, examples: Sequence[KorquadExample], predictions: Sequence[KorquadPrediction]) -> dict[str, Any]:
        """How many questions have an answer."""
        return {"answered": sum(prediction.text is not None for prediction in predictions)}

    def scores(self, examples: Sequence[KorquadExample], predictions: Sequence[KorquadPrediction]) -> list[float]:
        """F1 of each, halved where the match is not exact."""
        scores = self.scored(examples, predictions)
        return [f1 if exact else f1 / 2 for exact, f1 in zip(scores.exact, scores.f1, strict=True)]

    def intervals(
        self,
        examples: Sequence[KorquadExample],
        predictions: Sequence[KorquadPrediction],
        *,
        resamples: int,
        seed: int,
    ) -> dict[str, tuple[float, float] | None]:
        """Of both figures; articles are drawn, as their questions are not independent."""
        scores = self.scored(examples, predictions)
        groups = [example.article for example in examples]
        values = {"f1": scores.f1, "exact_match": scores.exact}
        return {
            name: mean_interval([100.0 * one for one in value], resamples=resamples, seed=seed, groups=groups)
            for name, value in values.items()
        }

    def remarks(self, examples: Sequence[KorquadExample], predictions: Sequence[KorquadPrediction]) -> list[str]:
        """What the figures do not tell."""
        answers, texts = _compared(examples, predictions)
        missing = sum(text is None for text in texts)
        other_form = differ_in_form(answers, texts)
        told = []
        if missing:
            told.append(
                f"{missing:,} of {len(texts):,} questions have no answer and count 0, as in the official script"
            )
        decomposed = sum(not unicodedata.is_normalized("NFC", answer) for wanted in answers for answer in wanted)
        if decomposed:
            told.append(
                f"{decomposed:,} gold answers are not NFC; F1 counts the letters of their syllables one by one, so it "
                "is not that of the same data in NFC"
            )
        if other_form:
            told.append(
                f"{other_form:,} answers are wrong only by their Unicode normal form (NFC and NFD), which the official "
                "script compares as it stands; bring both files to NFC to count them as right"
            )
        return told

    def tables(self, examples: Sequence[KorquadExample], predictions: Sequence[KorquadPrediction]) -> tuple[Table, ...]:
        """Figures by the length of the text, and by the place of the answer in it."""
        scores = self.scored(examples, predictions)
        lengths = np.array([len(example.context) for example in examples])
        starts = np.array([example.answers[0].start if example.answers else 0 for example in examples])
        return (
            by_size("By length of the text", "characters", lengths, scores),
            by_size("By place of the answer", "characters before", np.maximum(starts, 0), scores),
        )

    def describe(self, example: KorquadExample, prediction: KorquadPrediction) -> dict[str, Any]:
        """The answer, its place in the text as it came, its probability, and what else is possible."""
        best = prediction.candidates[0] if prediction.candidates else None
        return {
            "question": example.question,
            "answer": best.text if best else None,
            "start": best.start if best else None,
            "end": best.end if best else None,
            "probability": best.probability if best else None,
            "n_best": [vars(candidate) for candidate in prediction.candidates],
        }

    def context(self, example: KorquadExample, prediction: KorquadPrediction) -> str:
        """Question, gold answer in its context, and what was answered."""
        lines = [f"question: {example.question}"]
        if example.answers:
            answer = example.answers[0]
            end = answer.start + len(answer.text)
            lines.append(f"gold:     {_in_context(example.context, answer.start, end, answer.text)}")
        best = prediction.candidates[0] if prediction.candidates else None
        given = _in_context(example.context, best.start, best.end, best.text) if best else "nothing"
        chance = f" ({best.probability:.2f})" if best and best.start >= 0 else ""
        lines.append(f"answered: {given}{chance}")
        return "\n".join(lines)

    def predictions_file(
        self, examples: Sequence[KorquadExample], predictions: Sequence[KorquadPrediction]
    ) -> Predictions:
        """The official `{id: answer}`."""
        pairs = zip(examples, predictions, strict=True)
        return Predictions(layout="json", value={example.id: prediction.text or "" for example, prediction in pairs})

    def read_predictions(
        self, examples: Sequence[KorquadExample], records: Mapping[str, Any], problems: Problems
    ) -> list[KorquadPrediction]:
        """Answers by id; ids that the data does not have do not count."""
        made = []
        for example in examples:
            text = records.get(example.id)
            if example.id in records and not isinstance(text, str):
                problems.add(example.place, f"the answer in the predictions is {type(text).__name__}, not text")
            given = (Candidate(text=text, start=-1, end=-1, probability=1.0),) if isinstance(text, str) else ()
            made.append(KorquadPrediction(candidates=given))
        return made


def _candidate(text: NormalText, span: Span) -> Candidate:
    start, end = text.to_original(span.begin, span.end)
    return Candidate(text=text.original[start:end], start=start, end=end, probability=span.probability)


def _compared(
    examples: Sequence[KorquadExample], predictions: Sequence[KorquadPrediction]
) -> tuple[list[list[str]], list[str | None]]:
    answers = [[answer.text for answer in example.answers] for example in examples]
    return answers, [prediction.text for prediction in predictions]


def _in_context(context: str, start: int, end: int, text: str) -> str:
    """A piece of a text in brackets with what stands around it; the piece alone where its place is not known."""
    if start < 0:
        return f"[{text}]"
    before, after = context[max(0, start - _AROUND) : start], context[end : end + _AROUND]
    more_before, more_after = "…" * (start > _AROUND), "…" * (end + _AROUND < len(context))
    return f"{more_before}{before}[{context[start:end]}]{after}{more_after}"
