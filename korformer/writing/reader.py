"""A model, what it has read of a text, and what can be asked of the two. Used by one thread.

Legend: T tokens that were read.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from korformer.errors import UsageError
from korformer.events import Listener, ignore
from korformer.generation.context import ContextWindow, never, window_start
from korformer.generation.infilling import Order, infill, order_of
from korformer.generation.sampler import Draw, Sampler
from korformer.generation.settings import SamplingSettings
from korformer.generation.stream import GeneratedToken, Stream, generate
from korformer.model.decode import Decoder, DecodeState, Precision
from korformer.model.directory import LoadedModel
from korformer.writing import snapshots
from korformer.writing.draft import Draft
from korformer.writing.gap import places_around_gap
from korformer.writing.messages import LARGEST_HASHES, ContextMeter, ModelInfo
from korformer.writing.records import Candidate, TokenRecord
from korformer.writing.tokenizing import DraftEncoder, TokenizedText


@dataclass(kw_only=True, eq=False)
class Writing:
    """A generation in progress.

    Attributes:
        stream: its tokens.
        window: what they are read into.
        between: whether it fills a gap.
        text: what the model was shown; `starts` and `ends` are places in it.
        at: where the generation stands in it.
        starts, ends: characters of each token of the window's text that was there before.
    """

    stream: Stream
    window: ContextWindow
    between: bool
    text: str
    at: int
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


class Reader:
    """Reads and writes texts with one model.

    Args:
        loaded: the model.
        weights: precision of the matrices in single steps.
        listen: called when the weights are ready and the tables of the vocabulary come next.
    """

    def __init__(
        self, loaded: LoadedModel, weights: Precision = "fp32", *, listen: Callable[[], None] = lambda: None
    ) -> None:
        self._loaded = loaded
        self._weights: Precision = weights
        self._decoder = Decoder(model=loaded.model, weights=weights)
        self.window = ContextWindow(self)
        self._gap: ContextWindow | None = None
        self._aside: ContextWindow | None = None
        listen()
        self._encoder = DraftEncoder(loaded.vocabulary)
        self.sampler = Sampler(loaded.vocabulary)
        self._shown = cache(loaded.vocabulary.display)
        try:
            self._order: Order | None = order_of(loaded.config_json, where=str(loaded.path))
        except UsageError:
            self._order = None

    def new_state(self) -> DecodeState:
        """A state that has read nothing, with the rounds of hashing of now: what windows ask a model for."""
        return self._decoder.new_state()

    @property
    def info(self) -> ModelInfo:
        """What is told of the model."""
        model, vocabulary = self._decoder.model, self._loaded.vocabulary
        return ModelInfo(
            path=self._loaded.path,
            name=self._loaded.path.resolve().name,
            device=str(model.device),
            weights=self._weights,
            window_tokens=self.window.window_tokens,
            parameters=sum(parameter.numel() for parameter in model.lm.parameters()),
            hashes=self.hashes,
            own_hashes=self._loaded.config_json.get("model", {}).get("n_hashes", self.hashes),
            vocabulary_size=vocabulary.size,
            vocabulary=vocabulary.fingerprint,
            fills_in_the_middle=self._order is not None,
        )

    # Reading

    def tokenize(self, draft: Draft) -> TokenizedText:
        """The tokens of the text up to the cursor."""
        return self._encoder.encode(draft.before, draft.runs)

    def tokenize_all(self, draft: Draft) -> TokenizedText:
        """The tokens of the whole text."""
        return self._encoder.encode(draft.text, draft.runs)

    @property
    def depth(self) -> int:
        """Layers of the model."""
        return self._decoder.model.config.depth

    @property
    def aside(self) -> ContextWindow:
        """A second window, for looking at places that the text is not written on from."""
        if self._aside is None:
            self._aside = ContextWindow(self)
        return self._aside

    def meter(self, tokenized: TokenizedText) -> ContextMeter:
        """How much of a text the model sees."""
        count = len(tokenized.ids)
        outside = window_start(count, self.window.window_tokens)
        return ContextMeter(
            window_tokens=self.window.window_tokens,
            text_tokens=count,
            read_tokens=count - outside,
            outside_tokens=outside,
            outside_characters=tokenized.start(outside),
        )

    def read(
        self, tokenized: TokenizedText, *, listen: Listener = ignore, cancelled: Callable[[], bool] = never
    ) -> None:
        """Read a text, as far as it is not read yet.

        Raises:
            Cancelled: on request.
        """
        start = window_start(len(tokenized.ids), self.window.window_tokens)
        if self.window.shared_with(tokenized.ids) < len(tokenized.ids) - start - 1:
            self.window.read(tokenized.ids, listen=listen, cancelled=cancelled)

    # Writing

    def write(
        self,
        draft: Draft,
        settings: Callable[[], SamplingSettings],
        *,
        candidates: Callable[[], int],
        chosen: int | None = None,
        listen: Listener = ignore,
        cancelled: Callable[[], bool] = never,
    ) -> Writing:
        """Begin to write at the cursor; the text is read when the first token is asked for.

        Text behind the cursor is filled up to by a model that was trained for it, and not seen by another.
        """
        if draft.cursor < len(draft.text) and self._order is not None:
            return self._fill(draft, settings, candidates, chosen, listen, cancelled)
        tokenized = self.tokenize(draft)
        stream = generate(
            self.window,
            self._loaded.vocabulary,
            tokenized.ids,
            settings,
            sampler=self.sampler,
            alternatives=candidates,
            space_owed=tokenized.space_owed,
            chosen=chosen,
            whole_characters=True,
            listen=listen,
            cancelled=cancelled,
        )
        starts = np.concatenate([[0], tokenized.ends[:-1]])
        return Writing(
            stream=stream,
            window=self.window,
            between=False,
            text=draft.before,
            at=draft.cursor,
            starts=starts,
            ends=tokenized.ends,
        )

    def _fill(
        self,
        draft: Draft,
        settings: Callable[[], SamplingSettings],
        candidates: Callable[[], int],
        chosen: int | None,
        listen: Listener,
        cancelled: Callable[[], bool],
    ) -> Writing:
        assert self._order is not None
        if self._gap is None:
            self._gap = ContextWindow(self)
        self._gap.watch = self.window.watch
        prefix = self.tokenize(draft)
        if prefix.space_owed:  # before a gap a space is read, as in training
            ids, ends = self._encoder.beginning(" ", 1)
            prefix = TokenizedText(
                ids=[*prefix.ids, *ids],
                ends=np.concatenate([prefix.ends, ends + draft.cursor - 1]),
                space_owed=False,
            )
        suffix, suffix_ends = self._encoder.beginning(draft.after, self.window.window_tokens)
        stream = infill(
            self._gap,
            self._loaded.vocabulary,
            prefix.ids,
            suffix,
            settings,
            order=self._order,
            sampler=self.sampler,
            alternatives=candidates,
            chosen=chosen,
            whole_characters=True,
            listen=listen,
            cancelled=cancelled,
        )
        starts, ends = places_around_gap(stream.prompt, prefix, suffix_ends + draft.cursor, self._order)
        return Writing(
            stream=stream, window=self._gap, between=True, text=draft.text, at=draft.cursor, starts=starts, ends=ends
        )

    def meter_of(self, writing: Writing) -> ContextMeter:
        """How much the model sees of a text that is being written."""
        start, count = writing.window.start, len(writing.window.tokens)
        return ContextMeter(
            window_tokens=writing.window.window_tokens,
            text_tokens=count,
            read_tokens=count - start,
            outside_tokens=start,
            outside_characters=int(writing.starts[start]) if start < len(writing.starts) else writing.at,
        )

    def record(self, token: GeneratedToken, *, chosen: bool, seconds: float) -> TokenRecord:
        """A token as a session remembers it."""
        draw = Draw(
            token_id=token.token_id, logprob=token.logprob, alternatives=token.alternatives, entropy=token.entropy
        )
        return self.record_of(draw, token.token_id, token.text, chosen=chosen, seconds=seconds)

    def record_of(
        self, draw: Draw, token_id: int, text: str, *, chosen: bool = False, seconds: float = 0.0
    ) -> TokenRecord:
        found = tuple(
            Candidate(
                token_id=alternative.token_id,
                text=self._shown(alternative.token_id),
                probability=alternative.probability,
                filtered_probability=alternative.filtered_probability,
                kept=alternative.kept,
            )
            for alternative in draw.alternatives
        )
        own = next((candidate for candidate in found if candidate.token_id == token_id), None)
        logprob = draw.logprob
        if own is not None and token_id != draw.token_id:
            logprob = float(np.log(max(own.probability, 1e-300)))
        return TokenRecord(
            token_id=token_id,
            text=text,
            logprob=logprob,
            filtered_probability=None if own is None else own.filtered_probability,
            entropy=draw.entropy,
            candidates=found,
            chosen=chosen,
            seconds=seconds,
        )

    # The model itself

    @property
    def hashes(self) -> int:
        """Rounds of hashing that it works with."""
        return self._decoder.model.config.n_hashes

    def check_hashes(self, hashes: int) -> None:
        """Refuse a number of hash rounds that no model can have.

        Raises:
            UsageError: it is one.
        """
        if not 1 <= hashes <= LARGEST_HASHES:
            raise UsageError(
                f"the number of hash rounds must be from 1 to {LARGEST_HASHES}, not {hashes}",
                where="hashes",
                hint=f"The nearest is {min(max(hashes, 1), LARGEST_HASHES)}.",
            )

    def rehash(self, hashes: int) -> None:
        """Use another number of hash rounds from now on, also in a text that is being written: it is read again with
        them before the next token.

        Raises:
            UsageError: there is no such number.
        """
        self.check_hashes(hashes)
        if hashes == self.hashes:
            return
        twin = copy.copy(self._decoder.model)  # the same weights; rotations of rounds are drawn by their number
        twin.config = twin.config.model_copy(update={"n_hashes": hashes})
        self._decoder = Decoder(model=twin, weights=self._weights)
        for window in (self.window, self._gap, self._aside):
            if window is not None:
                text = window.tokens
                window.adopt(self.new_state(), [], start=window.start)
                window.tokens = text

    def save_state(self, path: Path) -> int:
        """As `snapshots.save`."""
        return snapshots.save(path, self.window, self._decoder.model, self._weights)

    def restore_state(self, path: Path) -> int:
        """As `snapshots.restore`."""
        return snapshots.restore(path, self.window, self._decoder.model, self._weights)
