"""A continuation, token by token.

stream = generate(model, vocabulary, "옛날 옛적에", SamplingSettings(seed=7))
for token in stream:
    print(token.text, end="", flush=True)
print(stream.summary.stop_reason)
"""

from __future__ import annotations

import codecs
import secrets
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from korformer.events import Listener, ignore
from korformer.generation.context import Cancelled, ContextWindow, IncrementalModel, never
from korformer.generation.sampler import Alternative, Draw, Sampler, TokenTexts
from korformer.generation.sentences import TAIL_CHARACTERS, ends_sentence
from korformer.generation.settings import SamplingSettings
from korformer.generation.stops import StopQueue
from korformer.text.vocabulary import CLS_ID, SEP_ID

StopReason = Literal["end", "stop", "sentence", "length", "cancelled"]
"""The document ended, a stop string came, the sentence ended behind the limit, the limit was reached, somebody asked to
stop."""

SettingsSource = SamplingSettings | Callable[[], SamplingSettings]
"""Settings, or what gives the settings of the moment: it is asked once for every token."""


@dataclass(frozen=True, kw_only=True)
class GeneratedToken:
    """One token of a continuation.

    Attributes:
        token_id: which; [SEP] where the document ends.
        text: the characters that this token completes, possibly none. Those of all tokens are the final text.
        logprob: natural log of the token's probability at temperature 1, before filters, bans and biases.
        position: tokens before it in the whole text, [CLS] included.
        alternatives: the likeliest candidates and the token itself, if asked for.
        entropy: of the model's distribution in nats, if alternatives are asked for.
    """

    token_id: int
    text: str
    logprob: float
    position: int
    alternatives: tuple[Alternative, ...] = ()
    entropy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A continuation as a whole, so far.

    Attributes:
        text: what was written, stop string excluded.
        seed: of the first draw; with the same prompt and settings it gives the same text.
        tokens: how many were drawn, [SEP] and those of a stop string included.
        tokens_per_second: pace from the first token on; a single token counts the reading of the prompt.
        stop_reason: why it ended, or None where it has not.
        prompt_tokens: tokens of the text before it, [CLS] included.
    """

    text: str
    seed: int
    tokens: int
    tokens_per_second: float
    stop_reason: StopReason | None
    prompt_tokens: int


def draw_seed() -> int:
    """A seed for those who gave none: random, and short enough to be typed."""
    return secrets.randbits(32)


def prompt_ids(vocabulary: TokenTexts, prompt: str) -> list[int]:
    """The beginning of a document as token ids: [CLS] and the text in NFC. Names of special tokens in it are text."""
    return [CLS_ID, *vocabulary.encode(unicodedata.normalize("NFC", prompt), add_special_tokens=False)]


def generate(
    model: IncrementalModel | ContextWindow,
    vocabulary: TokenTexts,
    prompt: str | Sequence[int],
    settings: SettingsSource,
    *,
    sampler: Sampler | None = None,
    alternatives: int | Callable[[], int] = 0,
    space_owed: bool = False,
    chosen: int | None = None,
    whole_characters: bool = False,
    listen: Listener = ignore,
    cancelled: Callable[[], bool] = never,
) -> Stream:
    """Write on from `prompt`; nothing happens before the first token is asked for.

    The token at a place depends on the text before it, the settings of the moment, the seed and the place, and on
    nothing else: a text that is stopped and continued with its token ids and its seed comes out the same.

    Args:
        model: a model in evaluation mode, or a window on one that is kept between generations and knows a text already.
        vocabulary: the model's.
        prompt: a text, or token ids that begin with [CLS]; of any length.
        settings: settings, or a function that gives those of the moment, read once a token.
        sampler: one of this vocabulary kept from an earlier call, which saves building its tables.
        alternatives: how many candidates to tell with each token, or a function that gives the number.
        space_owed: a space follows the token ids of `prompt`, which the first token has to bring; with a text that is
            found out from its end.
        chosen: the first token, instead of a drawn one.
        whole_characters: where a limit falls inside of a character, go on to its end.
        listen: told of progress while the prompt is read, and when the text outgrows the window.
        cancelled: asked between tokens and while the prompt is read; once it says yes the stream ends.

    Returns:
        An iterator of GeneratedToken with a `summary`.
    """
    window = model if isinstance(model, ContextWindow) else ContextWindow(model)
    if isinstance(prompt, str):
        space_owed = vocabulary.scheme == "lossless" and ends_in_one_space(prompt)
        prompt = prompt_ids(vocabulary, prompt[:-1] if space_owed else prompt)
    tokens = list(prompt)
    if not tokens:
        raise ValueError("a text has at least one token, [CLS]")
    return Stream(
        window,
        sampler if sampler is not None else Sampler(vocabulary),
        tokens,
        settings_source(settings),
        drop_first_space=vocabulary.scheme == "bert",
        space_owed=space_owed,
        chosen=chosen,
        whole_characters=whole_characters,
        alternatives=_count(alternatives),
        listen=listen,
        cancelled=cancelled,
    )


def ends_in_one_space(prompt: str) -> bool:
    """Whether a space at the end belongs to the word that is to come.

    In a lossless vocabulary a space is part of the word after it. Read as a token of its own it would be followed by
    what training has hardly shown, so it is kept back and the first token has to bring it.
    """
    return len(prompt) > 1 and prompt[-1] == " " and not prompt[-2].isspace()


def settings_source(settings: SettingsSource) -> Callable[[], SamplingSettings]:
    """A function that gives the settings of the moment."""
    if isinstance(settings, SamplingSettings):
        fixed = settings
        return lambda: fixed
    return settings


def _count(number: int | Callable[[], int]) -> Callable[[], int]:
    if isinstance(number, int):
        fixed = number
        return lambda: fixed
    return number


class Stream(Iterator[GeneratedToken]):
    """The tokens of a continuation as they are drawn. Made by `generate`."""

    def __init__(
        self,
        window: ContextWindow,
        sampler: Sampler,
        tokens: Sequence[int],
        settings: Callable[[], SamplingSettings],
        *,
        drop_first_space: bool,
        space_owed: bool,
        chosen: int | None,
        whole_characters: bool,
        alternatives: Callable[[], int],
        listen: Listener,
        cancelled: Callable[[], bool],
    ) -> None:
        self._window = window
        self._sampler = sampler
        self._prompt = list(tokens)
        self._settings = settings
        self._alternatives = alternatives
        self._listen = listen
        self._cancelled = cancelled
        self._queue: StopQueue[GeneratedToken] = StopQueue()
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._decoder.decode(sampler.table.unfinished(tokens))
        self._tail = b"".join(sampler.pieces[token] for token in tokens[-TAIL_CHARACTERS // 2 :]).decode(
            errors="ignore"
        )
        self._chosen = chosen
        self._whole_characters = whole_characters
        # Words of a bert vocabulary bring the space before them; the first word of a document has none.
        self._at_start = drop_first_space and not any(sampler.pieces[token] for token in tokens)
        if space_owed:
            self._at_start = True
        self._only = sampler.begins_with_space if space_owed else None
        self._random_seed = draw_seed()
        self._seed: int | None = None
        self._texts: list[str] = []
        self._drawn = 0
        self._stop_reason: StopReason | None = None
        self._clock = _Clock()
        self._tokens = self._run()

    def __next__(self) -> GeneratedToken:
        """The next token."""
        with self._clock:
            token = next(self._tokens)
        self._texts.append(token.text)
        return token

    @property
    def prompt(self) -> list[int]:
        """Tokens of the text before it, [CLS] included."""
        return list(self._prompt)

    @property
    def summary(self) -> Summary:
        """What has been written so far."""
        return Summary(
            text="".join(self._texts),
            seed=self._random_seed if self._seed is None else self._seed,
            tokens=self._drawn,
            tokens_per_second=self._clock.rate(self._drawn),
            stop_reason=self._stop_reason,
            prompt_tokens=len(self._prompt),
        )

    def _run(self) -> Iterator[GeneratedToken]:
        try:
            scores = self._window.read(self._prompt, listen=self._listen, cancelled=self._cancelled)
            while True:
                settings = self._settings()
                self._check(settings)
                if self._stop_reason is not None:
                    break
                draw = self._draw(scores, settings)
                yield from self._released(draw, settings)
                self._check(settings)
                if self._stop_reason is not None:
                    break
                scores = self._window.push(draw.token_id, listen=self._listen, cancelled=self._cancelled)
        except Cancelled:
            self._stop_reason = "cancelled"
        for token, text in self._queue.flush():
            yield replace(token, text=text)

    def _check(self, settings: SamplingSettings) -> None:
        """Find out whether it is time to stop, if nothing in the text said so already."""
        if self._stop_reason is None and self._drawn >= settings.max_new_tokens and self._at_place_to_stop():
            if self._drawn >= settings.max_new_tokens + settings.sentence_tokens:
                self._stop_reason = "length"
            elif ends_sentence(self._tail):
                self._stop_reason = "sentence"
        if self._stop_reason is None and self._cancelled():
            self._stop_reason = "cancelled"

    def _at_place_to_stop(self) -> bool:
        """Whether the text does not end inside of a character, or nobody minds."""
        return not self._whole_characters or not self._decoder.getstate()[0]

    def _draw(self, scores: Tensor, settings: SamplingSettings) -> Draw:
        seed = self._random_seed if settings.seed is None else settings.seed
        draw = self._sampler.draw(
            scores,
            self._window.tokens,
            settings,
            seed=seed,
            alternatives=max(0, self._alternatives()),
            only=self._only,
            chosen=None if self._drawn else self._chosen,
        )
        # A first token that is the owed space alone may not be followed by a second one.
        alone = self._only is self._sampler.begins_with_space and self._sampler.pieces[draw.token_id] == b" "
        self._only = ~self._sampler.begins_with_space if alone else None
        if self._seed is None:
            self._seed = seed
            self._clock.mark()
        self._drawn += 1
        return draw

    def _released(self, draw: Draw, settings: SamplingSettings) -> Iterator[GeneratedToken]:
        """The tokens whose text is certain now that `draw` came."""
        token = GeneratedToken(
            token_id=draw.token_id,
            text="",
            logprob=draw.logprob,
            position=len(self._window.tokens),
            alternatives=draw.alternatives,
            entropy=draw.entropy,
        )
        if draw.token_id == SEP_ID:
            self._stop_reason = "end"
        released, stopped = self._queue.push(token, self._text(draw.token_id), settings.stop)
        if stopped:
            self._stop_reason = "stop"
        for decided, text in released:
            yield replace(decided, text=text)

    def _text(self, token: int) -> str:
        """The characters that a token completes."""
        text = self._decoder.decode(self._sampler.pieces[token])
        self._tail = (self._tail + text)[-TAIL_CHARACTERS:]
        if text and self._at_start:
            self._at_start = False
            return text.removeprefix(" ")
        return text


class _Clock:
    """Counts the time spent inside a stream, not what its reader does between tokens."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._began = 0.0
        self._first: float | None = None

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *details: object) -> None:
        self._seconds += time.perf_counter() - self._began

    def mark(self) -> None:
        """The first token was drawn; called while the clock runs."""
        self._first = self._seconds + time.perf_counter() - self._began

    def rate(self, tokens: int) -> float:
        """Tokens a second after the first; that of the first where there is no other."""
        if tokens == 0 or self._first is None:
            return 0.0
        seconds = self._seconds - self._first if tokens > 1 else self._seconds
        return max(1, tokens - 1) / seconds if seconds > 0 else 0.0
