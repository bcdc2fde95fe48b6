"""The controls beside the page: how each is named, shown, typed and stepped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from korformer.config import build
from korformer.errors import UsageError
from korformer.generation.settings import SamplingSettings
from korformer.tui.words import chosen_language, say


@dataclass(frozen=True, kw_only=True)
class Field:
    """One control.

    Attributes:
        name: of the field of SamplingSettings, or `hashes`.
        english, korean: what it is called.
        step: how far one press of an arrow goes; 0 for what can only be typed.
        off: the value that switches it off.
        off_word: key of the phrase for that value.
    """

    name: str
    english: str
    korean: str
    step: float = 0.0
    off: Any = None
    off_word: str = "off"

    @property
    def label(self) -> str:
        """What it is called in the language of the screen."""
        return self.korean if chosen_language() == "ko" else self.english


FIELDS = (
    Field(name="temperature", english="temperature", korean="온도", step=0.05),
    Field(name="top_p", english="top-p", korean="top-p", step=0.01, off=1.0),
    Field(name="top_k", english="top-k", korean="top-k", step=5, off=0),
    Field(name="min_p", english="min-p", korean="min-p", step=0.01, off=0.0),
    Field(name="typical_p", english="typical", korean="typical", step=0.01, off=1.0),
    Field(name="repetition_penalty", english="repetition", korean="되풀이 벌점", step=0.05, off=1.0),
    Field(name="presence_penalty", english="presence", korean="나온 말 벌점", step=0.1, off=0.0),
    Field(name="frequency_penalty", english="frequency", korean="잦은 말 벌점", step=0.1, off=0.0),
    Field(name="penalty_range", english="penalty range", korean="벌점 범위", step=64, off=0, off_word="all"),
    Field(name="dry_multiplier", english="DRY", korean="DRY", step=0.1, off=0.0),
    Field(name="dry_base", english="DRY base", korean="DRY 밑", step=0.05),
    Field(name="dry_allowed_length", english="DRY length", korean="DRY 길이", step=1),
    Field(name="dry_range", english="DRY range", korean="DRY 범위", step=128, off=0, off_word="all"),
    Field(name="dry_sequence_breakers", english="DRY breakers", korean="DRY 경계", off=()),
    Field(name="xtc_probability", english="XTC chance", korean="XTC 확률", step=0.05, off=0.0),
    Field(name="xtc_threshold", english="XTC threshold", korean="XTC 문턱", step=0.01),
    Field(name="logit_bias", english="token bias", korean="토큰 가중", off={}, off_word="none"),
    Field(name="banned_tokens", english="banned tokens", korean="금지 토큰", off=(), off_word="none"),
    Field(name="stop", english="stop strings", korean="멈춤 글", off=(), off_word="none"),
    Field(name="seed", english="seed", korean="씨앗", step=1, off_word="random"),
    Field(name="max_new_tokens", english="tokens to write", korean="쓸 토큰 수", step=16),
    Field(name="sentence_tokens", english="to sentence end", korean="문장 끝까지", step=16, off=0),
    Field(name="hashes", english="hash rounds", korean="해시 횟수", step=1, off_word="model's own"),
)
"""In the order of the panel, which is that of the filters."""


def field_names() -> tuple[str, ...]:
    """The controls that this library's settings have, and the number of hashes."""
    return tuple(
        field.name for field in FIELDS if field.name in SamplingSettings.model_fields or field.name == "hashes"
    )


def show(field: Field, value: Any) -> str:
    """A value as the panel shows it."""
    if value == field.off and (value is not None or field.off_word != "off"):
        return say(field.off_word)
    return spell(value)


def spell(value: Any) -> str:
    """A value as it is typed."""
    match value:
        case None:
            return ""
        case float():
            return f"{value:.4g}"
        case dict():
            return ", ".join(f"{token}={bias:g}" for token, bias in value.items())
        case tuple() if value and isinstance(value[0], str):
            return ", ".join(json.dumps(text, ensure_ascii=False) for text in value)
        case tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def read(field: Field, text: str, settings: SamplingSettings) -> SamplingSettings:
    """The settings with what a person typed for one of them.

    Raises:
        UsageError: it is no legal value; the message says what is.
    """
    return with_value(settings, field, _parsed(field, text.strip()))


def stepped(field: Field, settings: SamplingSettings, direction: int) -> SamplingSettings:
    """The settings with one of them a step up (1) or down (-1), as far as is legal."""
    before = getattr(settings, field.name)
    if not field.step:
        return settings
    base = 0 if before is None else before
    after: Any = round(base + direction * field.step, 6)
    if isinstance(field.step, int) or float(field.step).is_integer():
        after = int(after)
        if before is not None and before % field.step and field.step > 1:  # land on whole steps
            after = int((before // field.step + (direction > 0)) * field.step)
    for value in (after, *_limits(field, base, direction)):
        try:
            return with_value(settings, field, value)
        except UsageError:
            continue
    return settings


def _limits(field: Field, base: float, direction: int) -> tuple[float, ...]:
    """Where the range of a control may end between `base` and a whole step."""
    limits = (0, 1) if isinstance(field.step, int) else (0.0, 1.0)
    return tuple(limit for limit in limits if (limit - base) * direction > 0)


def with_value(settings: SamplingSettings, field: Field, value: Any) -> SamplingSettings:
    """The settings with another value, checked."""
    return build(SamplingSettings, {**settings.model_dump(), field.name: value}, where=field.label)


def _parsed(field: Field, text: str) -> Any:
    parse = _PARSERS.get(field.name, _number)
    return parse(field, text)


def _number(field: Field, text: str) -> Any:
    if not text or text == say(field.off_word):
        return field.off
    plain = text.replace(",", "")
    try:
        return int(plain) if plain.lstrip("+-").isdigit() else float(plain)
    except ValueError:
        raise UsageError(f"{text!r} is not a number", where=field.label) from None


def _strings(field: Field, text: str) -> tuple[str, ...]:
    if not text:
        return ()
    try:
        values = json.loads(f"[{text}]")
    except json.JSONDecodeError:
        values = [None]
    quoted = all(isinstance(value, str) for value in values)
    return tuple(values) if quoted else (text.replace("\\n", "\n"),)


def _ids(field: Field, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise UsageError(f"{text!r} is not a list of token ids", where=field.label) from None


def _biases(field: Field, text: str) -> dict[int, float]:
    biases: dict[int, float] = {}
    for part in text.replace(",", " ").split():
        token, _, bias = part.partition("=")
        try:
            biases[int(token)] = float(bias)
        except ValueError:
            raise UsageError(f"{part!r} is not ID=BIAS", where=field.label, hint="For example 812=-5.") from None
    return biases


_PARSERS: dict[str, Callable[[Field, str], Any]] = {
    "stop": _strings,
    "dry_sequence_breakers": _strings,
    "banned_tokens": _ids,
    "logit_bias": _biases,
}
