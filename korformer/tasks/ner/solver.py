"""Named entities as a model meets them: tags of characters, alone or as a sequence, and figures of the entities.

Legend: W windows, L tokens of the longest, D model width, M characters that a token tells of, K tags, U units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from korformer.config import Settings, nearest
from korformer.evaluation.entities import Entity
from korformer.evaluation.report import Table
from korformer.model.crf import FORBIDDEN, TagTransitions, best_tags
from korformer.model.heads import HeadSpec
from korformer.objectives import BatchLoss, Term
from korformer.supervised.batches import Batch, Window
from korformer.supervised.task import Reader, Solver
from korformer.tasks.ner import figures
from korformer.tasks.ner.reading import Layout, NerExample, read_sentences
from korformer.tasks.ner.units import Part, WindowMaker, entities_of, forbidden_transitions, to_original
from korformer.text.records import Problems

if TYPE_CHECKING:
    from torch import Tensor

    from korformer.model.backbone import ReformerModel

TAG_HEAD, CRF_HEAD = "tag", "crf"
_NO_TAG = -100
_AROUND, _SHOWN = 60, 400
"""Characters of a long text that are shown before the first mistake, and in all."""


class NerSettings(Settings):
    """How entities are read and found."""

    head: Literal["crf", "linear"] = "crf"
    """crf: tags are scored as a sequence (a conditional random field); linear: each by itself. Either way only
    sequences that make sense are given."""
    characters_per_token: Annotated[int, Field(ge=1, le=32)] = 8
    """Characters of a token that get a tag each; those behind them go on as the last. 1 gives a token the tag of its
    first character, so that an entity ends where a token does."""
    layout: Layout = "auto"
    """How the data is laid out: json, characters (KLUE), numbered (Naver), morphemes (KMOU), words (CoNLL), sentences;
    auto: each file's beginning tells."""
    lenient: bool = False
    """A tag I without its B begins an entity instead of being a fault of the data."""


@dataclass(frozen=True, kw_only=True)
class NerPrediction:
    """The entities found in a text as it came; `given` is False where a file of predictions leaves it out."""

    entities: tuple[Entity, ...]
    given: bool = True


class NerSolver(Solver[NerExample, NerPrediction]):
    """Finds named entities.

    Args:
        settings: of the task.
        labels: the classes of entities.
        reader: None where predictions are scored alone.
    """

    headline = "entity_f1"

    def __init__(self, settings: NerSettings, labels: Sequence[str], reader: Reader | None) -> None:
        self.settings = settings
        self.labels = tuple(labels)
        self.reader = reader
        self._tags = 1 + 2 * len(self.labels)

    @property
    def heads(self) -> Mapping[str, HeadSpec]:
        """One that sees each token, and for `crf` one for what follows what."""
        heads = {TAG_HEAD: HeadSpec(reads="tokens", outputs=self.settings.characters_per_token * self._tags)}
        if self.settings.head == "crf":
            heads[CRF_HEAD] = HeadSpec(reads="tags", outputs=self._tags)
        return heads

    def check(self, examples: Sequence[NerExample], problems: Problems) -> None:
        """Note labels that the training data does not have."""
        for example in examples:
            for label in dict.fromkeys(entity.label for entity in example.entities):
                if label not in self.labels:
                    guess = nearest(label, self.labels)
                    meant = f"; did you mean {guess}?" if guess else f" ({', '.join(self.labels)})"
                    problems.add(example.place, f"the label {label!r} is not one of the training data{meant}")

    def windows(self, examples: Sequence[NerExample]) -> list[Window]:
        """As `korformer.tasks.ner.units` says."""
        assert self.reader is not None
        return WindowMaker(self.reader, self.labels, self.settings.characters_per_token).windows(examples)

    def training_windows(self, examples: Sequence[NerExample]) -> list[Window]:
        """Those that have a character to tag."""
        return [window for window in self.windows(examples) if len(window.target)]

    def counts(self, windows: Sequence[Window]) -> Mapping[str, int]:
        """Characters that have a tag."""
        return {"characters": sum(len(window.target) for window in windows)}

    def loss(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> BatchLoss:
        """Mean over characters of the negative log-probability of their tags, alone or as a sequence."""
        emissions_WUK, lengths_W = self._emissions(model, hidden_WLD, batch)
        tags_WU = np.full(emissions_WUK.shape[:2], _NO_TAG, dtype=np.int64)
        for row, window in zip(tags_WU, batch.windows, strict=True):
            row[: len(window.target)] = window.target
        tags = torch.from_numpy(tags_WU).to(emissions_WUK.device)
        count = int(lengths_W.sum())
        if self.settings.head == "crf":
            crf = model.heads[CRF_HEAD]
            assert isinstance(crf, TagTransitions)
            mean = -crf.log_likelihood(emissions_WUK, tags, lengths_W).sum() / max(1, count)
        else:
            mean = torch.nn.functional.cross_entropy(
                emissions_WUK.flatten(0, 1), tags.flatten(), ignore_index=_NO_TAG, reduction="sum"
            ) / max(1, count)
        return BatchLoss(terms={"characters": Term(mean=mean, count=count)})

    def _emissions(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scores (W, U, K) float32 of the tags of each window's units, and how many units each has, (W,) int64."""
        scores = model.heads[TAG_HEAD](hidden_WLD).float()
        scores_WLMK = scores.unflatten(-1, (self.settings.characters_per_token, self._tags))
        parts: list[Part] = [window.origin for window in batch.windows]
        U = max(1, *(len(part.tokens) for part in parts))
        places = np.zeros((2, len(parts), U), dtype=np.int64)
        for number, part in enumerate(parts):
            places[0, number, : len(part.tokens)] = part.tokens
            places[1, number, : len(part.tokens)] = part.slots
        tokens_WU, slots_WU = torch.from_numpy(places).to(scores.device)
        windows_W1 = torch.arange(len(parts), device=scores.device)[:, None]
        lengths = torch.tensor([len(part.tokens) for part in parts], device=scores.device)
        return scores_WLMK[windows_W1, tokens_WU, slots_WU], lengths

    def outputs(self, model: ReformerModel, hidden_WLD: Tensor, batch: Batch) -> list[Any]:
        """The emissions (n, K) of each window, with the scores of what follows what."""
        emissions, lengths = self._emissions(model, hidden_WLD, batch)
        chain = self._chain(model)
        arrays = emissions.detach().cpu().numpy()
        return [(row[:length].copy(), chain) for row, length in zip(arrays, lengths.tolist(), strict=True)]

    def _chain(self, model: ReformerModel) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Transitions (K, K), start (K,) and end (K,), with what makes no sense forbidden."""
        after, first = forbidden_transitions(len(self.labels))
        arrays = [np.zeros(shape, dtype=np.float32) for shape in (after.shape, first.shape, first.shape)]
        if self.settings.head == "crf":
            crf = model.heads[CRF_HEAD]
            assert isinstance(crf, TagTransitions)
            arrays = [
                parameter.detach().float().cpu().numpy() for parameter in (crf.transitions_KK, crf.start_K, crf.end_K)
            ]
        transitions, start, end = arrays
        return transitions + FORBIDDEN * after, start + FORBIDDEN * first, end

    def predictions(
        self, examples: Sequence[NerExample], windows: Sequence[Window], outputs: Sequence[Any]
    ) -> list[NerPrediction]:
        """The likeliest sequence of tags of each text, as entities of the text as it came."""
        of_example: list[list[int]] = [[] for _ in examples]
        for place, window in enumerate(windows):
            of_example[window.example].append(place)
        made = []
        for places in of_example:
            part: Part = windows[places[0]].origin
            if not len(part.units):
                made.append(NerPrediction(entities=()))
                continue
            emissions = self._joined([(windows[place].origin, outputs[place][0]) for place in places])
            tags = best_tags(emissions, *outputs[places[0]][1])
            found = entities_of(part.units, tags, self.labels)
            made.append(NerPrediction(entities=tuple(to_original(entity, part.normal) for entity in found)))
        return made

    def _joined(self, pieces: Sequence[tuple[Part, NDArray[np.float32]]]) -> NDArray[np.float32]:
        """Emissions (U, K) of a whole text: of each unit where it stands most in the middle."""
        if len(pieces) == 1:
            return pieces[0][1]
        size = len(pieces[0][0].units)
        joined = np.zeros((size, self._tags), dtype=np.float32)
        best = np.full(size, -1, dtype=np.int64)
        for part, emissions in pieces:
            span = slice(part.first, part.first + len(part.tokens))
            better = part.centrality > best[span]
            joined[span][better] = emissions[better]
            best[span] = np.maximum(best[span], part.centrality)
        return joined

    def metrics(self, examples: Sequence[NerExample], predictions: Sequence[NerPrediction]) -> dict[str, float]:
        """Of whole entities, strictly; then of their characters."""
        return figures.metrics(*_both(examples, predictions), texts=[example.text for example in examples])

    def scores(self, examples: Sequence[NerExample], predictions: Sequence[NerPrediction]) -> list[float]:
        """F1 of the entities of each text, 1 where there are none on either side."""
        return figures.scores(*_both(examples, predictions))

    def intervals(
        self, examples: Sequence[NerExample], predictions: Sequence[NerPrediction], *, resamples: int, seed: int
    ) -> dict[str, tuple[float, float] | None]:
        """Of both figures of whole entities; sentences are drawn."""
        return figures.intervals(*_both(examples, predictions), resamples=resamples, seed=seed)

    def details(self, examples: Sequence[NerExample], predictions: Sequence[NerPrediction]) -> dict[str, Any]:
        """Figures of each class, and what was taken for what."""
        return figures.details(*_both(examples, predictions))

    def tables(self, examples: Sequence[NerExample], predictions: Sequence[NerPrediction]) -> tuple[Table, ...]:
        """The same."""
        return figures.tables(*_both(examples, predictions))

    def remarks(self, examples: Sequence[NerExample], predictions: Sequence[NerPrediction]) -> list[str]:
        """What the figures do not tell."""
        missing = sum(not prediction.given for prediction in predictions)
        edged = sum(
            example.text[entity.start : entity.end] != example.text[entity.start : entity.end].strip()
            for example in examples
            for entity in example.entities
        )
        told = []
        if missing:
            told.append(
                f"{missing:,} of {len(examples):,} texts have no prediction and count as texts without entities"
            )
        if edged:
            told.append(f"{edged:,} entities of the data begin or end with white space; a model does not give such")
        return told

    def describe(self, example: NerExample, prediction: NerPrediction) -> dict[str, Any]:
        """The text and its entities, with their places in it as it came."""
        return {"text": example.text, "entities": [_described(entity, example.text) for entity in prediction.entities]}

    def context(self, example: NerExample, prediction: NerPrediction) -> str:
        """The text with the data's entities marked in it, and with those that were found; of a long one the part around
        the first difference.
        """
        different = {*example.entities} ^ {*prediction.entities}
        begin = max(0, min((entity.start for entity in different), default=0) - _AROUND)
        end = begin + _SHOWN
        if len(example.text) <= _SHOWN + _AROUND:
            begin, end = 0, len(example.text)
        gold, found = (_marked(example.text, side, begin, end) for side in (example.entities, prediction.entities))
        return f"data:  {gold}\nfound: {found}"

    def prediction_records(self, source: str, examples: Sequence[NerExample]) -> Mapping[str, Any]:
        """Sentences in any layout, by id where they have one, else in the order of the data."""
        found = read_sentences([source], lenient=self.settings.lenient, to_score=True)
        if all(example.given_id for example in found):
            return {example.id: example for example in found}
        if len(found) != len(examples):
            problems = Problems()
            problems.add(found[-1].place, f"{len(found):,} sentences without ids, where the data has {len(examples):,}")
            problems.refuse("Give each an id, or give all of them in the order of the data.")
        return {example.id: given for example, given in zip(examples, found, strict=True)}

    def read_predictions(
        self, examples: Sequence[NerExample], records: Mapping[str, Any], problems: Problems
    ) -> list[NerPrediction]:
        """Entities by id; the text must be the data's."""
        made = []
        for example in examples:
            record: NerExample | None = records.get(example.id)
            if record is not None and record.text != example.text:
                problems.add(record.place, f"its text is not that of {example.id} in the data")
            made.append(NerPrediction(entities=record.entities if record is not None else (), given=record is not None))
        return made


def _both(
    examples: Sequence[NerExample], predictions: Sequence[NerPrediction]
) -> tuple[list[tuple[Entity, ...]], list[tuple[Entity, ...]]]:
    return [example.entities for example in examples], [prediction.entities for prediction in predictions]


def _described(entity: Entity, text: str) -> dict[str, Any]:
    return {
        "start": entity.start,
        "end": entity.end,
        "label": entity.label,
        "text": text[entity.start : entity.end],
    }


def _marked(text: str, entities: Sequence[Entity], begin: int, end: int) -> str:
    """`<한강:LC>은 흐른다`, from `begin` to `end` but for entities that cross these."""
    parts, done = ["…" * (begin > 0)], begin
    for entity in sorted(entities):
        if begin <= entity.start and entity.end <= end:
            parts += [text[done : entity.start], f"<{text[entity.start : entity.end]}:{entity.label}>"]
            done = entity.end
    return "".join([*parts, text[done:end], "…" * (end < len(text))])
