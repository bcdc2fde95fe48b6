"""Controls as they are shown, typed and stepped."""

from __future__ import annotations

import pytest

from korformer.errors import UsageError
from korformer.generation.settings import SamplingSettings
from korformer.tui import words
from korformer.tui.fields import FIELDS, Field, field_names, read, show, spell, stepped


def field(name: str) -> Field:
    return next(field for field in FIELDS if field.name == name)


def test_every_setting_has_a_control() -> None:
    assert set(SamplingSettings.model_fields) <= set(field_names())


@pytest.mark.parametrize("name", [name for name in field_names() if name != "hashes"])
def test_what_is_spelt_is_read_as_the_same(name: str) -> None:
    settings = SamplingSettings(
        stop=("끝", "\n"), logit_bias={5: -2.5}, banned_tokens=(3, 4), seed=9, dry_sequence_breakers=("a, b", '"')
    )
    assert read(field(name), spell(getattr(settings, name)), settings) == settings


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "1.25", 1.25),
        ("top_k", "40", 40),
        ("max_new_tokens", "1,024", 1024),
        ("seed", "", None),
        ("stop", "그리고", ("그리고",)),
        ("stop", "\\n\\n", ("\n\n",)),
        ("stop", '"가", "나"', ("가", "나")),
        ("stop", "null", ("null",)),
        ("stop", "true", ("true",)),
        ("stop", "1.50", ("1.50",)),
        ("stop", '"가", 1.50', ('"가", 1.50',)),
        ("banned_tokens", "12 13,14", (12, 13, 14)),
        ("logit_bias", "5=-2, 6=1.5", {5: -2.0, 6: 1.5}),
    ],
)
def test_typed_values(name: str, text: str, value: object) -> None:
    assert getattr(read(field(name), text, SamplingSettings()), name) == value


@pytest.mark.parametrize(
    ("name", "text", "words_of_it"),
    [
        ("temperature", "warm", "is not a number"),
        ("top_p", "1.5", "less than or equal to 1"),
        ("top_k", "2.5", "integer"),
        ("banned_tokens", "eins", "token ids"),
        ("logit_bias", "5", "ID=BIAS"),
    ],
)
def test_what_is_not_legal_is_refused_with_what_is(name: str, text: str, words_of_it: str) -> None:
    with pytest.raises(UsageError, match=words_of_it):
        read(field(name), text, SamplingSettings())


def test_steps_end_at_the_last_legal_value() -> None:
    settings = SamplingSettings(top_p=0.995, top_k=3, max_new_tokens=5)
    assert stepped(field("top_p"), settings, 1).top_p == 1.0
    assert stepped(field("top_k"), settings, -1).top_k == 0
    assert stepped(field("top_k"), stepped(field("top_k"), settings, -1), -1).top_k == 0
    assert stepped(field("max_new_tokens"), settings, -1).max_new_tokens == 1
    assert stepped(field("max_new_tokens"), settings, 1).max_new_tokens == 16
    assert stepped(field("seed"), settings, 1).seed == 1
    assert stepped(field("stop"), settings, 1) == settings


def test_steps_go_there_and_back() -> None:
    settings = SamplingSettings()
    for name in ("temperature", "min_p", "presence_penalty", "xtc_probability", "dry_base"):
        assert stepped(field(name), stepped(field(name), settings, 1), -1) == settings


def test_what_is_off_says_so() -> None:
    settings = SamplingSettings()
    assert show(field("top_k"), settings.top_k) == "off"
    assert show(field("seed"), None) == "random"
    assert show(field("dry_range"), 0) == "all"
    words.choose_language("ko")
    assert show(field("top_k"), 0) == "끔"
    assert field("temperature").label == "온도"
