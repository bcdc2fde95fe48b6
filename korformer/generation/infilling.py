"""Writing between two texts, with a model that was trained to fill in the middle.

stream = infill(model, vocabulary, "봄이 오면 ", "꽃이 핀다.", SamplingSettings(seed=7))
middle = "".join(token.text for token in stream)

The order is one of those of `korformer.data.infilling`, and so are the tokens: each text is encoded alone. Where the
model knows both orders the suffix comes first: the prefix then stands right before what is written, where attention to
near tokens sees it.

The model reads both texts as far as they fit into its window beside the middle: the tokens nearest to the gap, half of
the room for each text, and what one of them does not need for the other. [CLS] is read only with the whole of a prefix,
as in training. The middle gets at most half of the window, so nothing that was read is dropped while it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from korformer.errors import UsageError
from korformer.events import Listener, Notice, ignore
from korformer.generation.context import ContextWindow, IncrementalModel, never
from korformer.generation.sampler import Sampler, TokenTexts
from korformer.generation.settings import SamplingSettings
from korformer.generation.stream import SettingsSource, Stream, generate, prompt_ids, settings_source
from korformer.text.vocabulary import CLS_ID, MASK_ID

_MARKS = 2
"""[MASK] before the suffix and behind it."""


Order = Literal["suffix_first", "prefix_first"]


def order_of(config_json: Mapping[str, Any], *, where: str) -> Order:
    """The order in which a model is shown prefix and suffix.

    Args:
        config_json: the model directory's config.json.
        where: the model directory, for the message.

    Raises:
        UsageError: it was not trained to fill in the middle.
    """
    training = config_json.get("training")
    settings = training.get("objective") if isinstance(training, Mapping) else None
    rate = settings.get("fim_rate") if isinstance(settings, Mapping) else None
    if not isinstance(rate, int | float) or rate <= 0:
        raise UsageError(
            "was not trained to write between two texts (ar.fim_rate is 0)",
            where=where,
            hint="Leave the suffix out, or use a model trained with --set ar.fim_rate=0.5.",
        )
    assert isinstance(settings, Mapping)
    return "prefix_first" if settings.get("fim_spm_share") == 0 else "suffix_first"


def infill(
    model: IncrementalModel | ContextWindow,
    vocabulary: TokenTexts,
    prefix: str | Sequence[int],
    suffix: str | Sequence[int],
    settings: SettingsSource,
    *,
    order: Order = "suffix_first",
    sampler: Sampler | None = None,
    alternatives: int | Callable[[], int] = 0,
    chosen: int | None = None,
    whole_characters: bool = False,
    listen: Listener = ignore,
    cancelled: Callable[[], bool] = never,
) -> Stream:
    """Write what stands between `prefix` and `suffix`; [SEP] ends it, as the stop reason "end".

    Args:
        model: in evaluation mode, trained to fill in the middle; or a window on it.
        vocabulary: the model's.
        prefix, suffix: the texts before and after, or their tokens, those of the prefix with [CLS]; the prefix may be
            empty.
        settings: as in `generate`; `max_new_tokens` above half of the window count as that half.
        order: what the model reads first.
        sampler, alternatives, chosen, whole_characters: as in `generate`.
        listen: told besides of text that is not read, and of a shorter middle.
        cancelled: as in `generate`.

    Raises:
        UsageError: the suffix is empty.
    """
    if not suffix:
        raise UsageError("the suffix is empty", where="suffix", hint="Without one the text is simply written on.")
    window = model if isinstance(model, ContextWindow) else ContextWindow(model)
    limited = _Limited(settings, window.window_tokens // 2)
    middle_tokens = limited().max_new_tokens
    if limited.shortened:
        listen(Notice(text=f"at most {middle_tokens:,} tokens are written, half of the model's window"))
    prefix_ids = prompt_ids(vocabulary, prefix) if isinstance(prefix, str) else list(prefix)
    suffix_ids = prompt_ids(vocabulary, suffix)[1:] if isinstance(suffix, str) else list(suffix)
    unread = _shorten(prefix_ids, suffix_ids, window.window_tokens - middle_tokens - _MARKS)
    if any(unread):
        listen(
            Notice(
                text=f"the model reads {window.window_tokens:,} tokens: the first {unread[0]:,} of the text before "
                f"and the last {unread[1]:,} of the text after are not read"
            )
        )
    tokens = [*prefix_ids, MASK_ID, *suffix_ids, MASK_ID]
    if order == "suffix_first":
        start = prefix_ids[:1] if prefix_ids[:1] == [CLS_ID] else []
        tokens = [*start, MASK_ID, *suffix_ids, MASK_ID, *prefix_ids[len(start) :]]
    return generate(
        window,
        vocabulary,
        tokens,
        limited,
        sampler=sampler,
        alternatives=alternatives,
        chosen=chosen,
        whole_characters=whole_characters,
        listen=listen,
        cancelled=cancelled,
    )


class _Limited:
    """Settings of the moment with no more tokens than there is room for, those of a sentence's end included."""

    def __init__(self, settings: SettingsSource, most_tokens: int) -> None:
        self._settings = settings_source(settings)
        self._most = most_tokens
        self._given: SamplingSettings | None = None
        self._limited: SamplingSettings | None = None
        self.shortened = False

    def __call__(self) -> SamplingSettings:
        given = self._settings()
        if self._limited is None or given is not self._given:
            tokens = min(given.max_new_tokens, self._most)
            more = min(given.sentence_tokens, self._most - tokens)
            self.shortened = tokens < given.max_new_tokens
            changed = self.shortened or more < given.sentence_tokens
            update = {"max_new_tokens": tokens, "sentence_tokens": more}
            self._given, self._limited = given, given.model_copy(update=update) if changed else given
        return self._limited


def _shorten(prefix_ids: list[int], suffix_ids: list[int], room: int) -> tuple[int, int]:
    """Drop the tokens farthest from the gap until both have `room`; how many of the two texts went."""
    excess = len(prefix_ids) + len(suffix_ids) - room
    if excess <= 0:
        return 0, 0
    from_suffix = min(max(0, len(suffix_ids) - room // 2), excess)
    from_prefix = excess - from_suffix
    begins = prefix_ids[:1] == [CLS_ID]
    del prefix_ids[:from_prefix]
    del suffix_ids[len(suffix_ids) - from_suffix :]
    return from_prefix - int(begins and from_prefix > 0), from_suffix
