from __future__ import annotations

import pytest

from korformer.errors import UsageError
from korformer.generation.settings import SamplingSettings
from korformer.writing.presets import (
    BUILT_IN,
    delete_preset,
    list_presets,
    load_preset,
    presets_directory,
    save_preset,
)


def test_settings_under_names() -> None:
    settings = SamplingSettings(temperature=0.7, stop=("끝",), logit_bias={12: -3.5}, seed=4)
    path = save_preset("느린 글 1", settings)
    assert path.parent == presets_directory()
    assert "temperature = 0.7" in path.read_text(encoding="utf-8")
    assert load_preset("느린 글 1") == settings.model_copy(update={"seed": None})
    assert list_presets() == [*BUILT_IN, "느린 글 1"]
    delete_preset("느린 글 1")
    assert list_presets() == list(BUILT_IN)


def test_those_that_come_with_the_program() -> None:
    assert load_preset("balanced") == SamplingSettings()
    save_preset("careful", SamplingSettings(temperature=0.1))
    assert load_preset("careful").temperature == 0.1
    assert list_presets() == list(BUILT_IN)
    delete_preset("careful")
    assert load_preset("careful") == BUILT_IN["careful"]
    with pytest.raises(UsageError, match="of your own"):
        delete_preset("careful")


def test_what_is_not_there_or_not_right() -> None:
    with pytest.raises(UsageError, match="no such preset: carefull. Did you mean careful"):
        load_preset("carefull")
    path = save_preset("eigen", SamplingSettings())
    path.write_text("temperature = -1\ntop_q = 3\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"eigen.toml.*temperature.*top_q \(did you mean top_p"):
        load_preset("eigen")
    path.write_text("temperature = ", encoding="utf-8")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_preset("eigen")


@pytest.mark.parametrize("name", ["", " ", "../x", "a/b", ".hidden", "a\nb", "가" * 40, "a:b"])
def test_names_that_make_no_file(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        save_preset(name, SamplingSettings())
    assert not presets_directory().exists()
