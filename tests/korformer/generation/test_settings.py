from __future__ import annotations

import unicodedata

import pytest
from pydantic import ValidationError

from korformer.config import build, to_toml
from korformer.errors import UsageError
from korformer.generation.settings import SamplingSettings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_k", -1),
        ("top_p", 1.01),
        ("top_p", -0.1),
        ("min_p", 2),
        ("typical_p", -1),
        ("repetition_penalty", 0),
        ("presence_penalty", float("nan")),
        ("penalty_range", -1),
        ("dry_multiplier", -1),
        ("dry_base", 0.5),
        ("dry_allowed_length", 0),
        ("dry_sequence_breakers", ("",)),
        ("xtc_probability", 1.5),
        ("xtc_threshold", -0.1),
        ("logit_bias", {-1: 1.0}),
        ("logit_bias", {1: float("inf")}),
        ("banned_tokens", (-3,)),
        ("seed", -1),
        ("seed", 2**63),
        ("max_new_tokens", 0),
        ("stop", ("끝", "")),
    ],
)
def test_values_out_of_range_are_refused(key: str, value: object) -> None:
    with pytest.raises(UsageError, match=key):
        build(SamplingSettings, {key: value})


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        build(SamplingSettings, {"top_p": 3, "temperatur": 1, "top_k": -4})
    assert "top_p" in str(caught.value)
    assert "did you mean temperature" in str(caught.value)
    assert "top_k" in str(caught.value)


def test_a_snapshot_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SamplingSettings().top_p = 0.5


def test_stop_strings_are_compared_in_nfc() -> None:
    assert SamplingSettings(stop=(unicodedata.normalize("NFD", "끝"),)).stop == ("끝",)


def test_every_setting_is_documented_and_can_be_written_as_toml() -> None:
    assert all(field.description for field in SamplingSettings.model_fields.values())
    assert "top_p = 0.9" in to_toml(SamplingSettings(logit_bias={7: -1.0}))
