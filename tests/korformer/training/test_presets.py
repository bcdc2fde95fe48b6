from pathlib import Path

import pytest

import korformer.training
from korformer.errors import UsageError
from korformer.objectives import objectives
from korformer.training.presets import preset_names, preset_objective, read_preset
from korformer.training.settings import RunSettings, run_settings


def settings_of(name: str) -> RunSettings:
    return run_settings(preset_objective(name) or "ar", read_preset(name))


def test_the_sizes_people_look_for() -> None:
    shapes = {name: (settings_of(name).model.depth, settings_of(name).model.dim) for name in preset_names()}
    expected = {
        "tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "medium": (8, 512), "base": (12, 768),
        "reformer-mlm": (6, 512), "gpt3-small": (12, 768), "gpt3-medium": (24, 1024),
    }  # fmt: skip
    assert {name: shapes[name] for name in expected} == expected
    gpt = settings_of("gpt3-small").model
    assert (gpt.heads, gpt.max_seq_len, gpt.axial_shape) == (12, 5120, (80, 64))


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_legal_and_says_what_it_is(name: str) -> None:
    settings_of(name)
    if preset_objective(name) is None:
        for objective in objectives():
            run_settings(objective, read_preset(name, objective))
    assert 20 < len(preset_names()[name]) < 100


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown preset 'gpt3-smal'. Did you mean gpt3-small"):
        read_preset("gpt3-smal")
    with pytest.raises(UsageError, match="There are: tiny"):
        read_preset("../../secret")


def test_each_objective_has_a_preset_of_its_own_or_any() -> None:
    meant = {preset_objective(name) for name in preset_names()}
    assert {None, "ar", "mlm", "rtd"} == meant
    rtd = settings_of("reformer-rtd")
    assert (rtd.model.depth, rtd.model.dim, rtd.model.causal) == (12, 768, False)


def test_a_preset_for_another_objective_names_what_fits() -> None:
    with pytest.raises(
        UsageError,
        match=r"reformer-mlm is for objective mlm, not ar. Give --objective mlm, or .* such as cpu-medium or medium",
    ):
        read_preset("reformer-mlm", "ar")
    with pytest.raises(UsageError, match=r"cpu-small-rtd is for objective rtd, not mlm. .* such as cpu-small"):
        read_preset("cpu-small-rtd", "mlm")
    with pytest.raises(UsageError, match="unknown preset"):
        preset_objective("nothing")


def test_a_preset_is_one_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing but the file itself knows of a preset."""
    package = Path(korformer.training.__file__).parent
    (tmp_path / "presets").mkdir()
    text = (package / "presets" / "tiny.toml").read_text(encoding="utf-8")
    (tmp_path / "presets" / "another.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr("korformer.training.presets.resources.files", lambda name: tmp_path)
    assert list(preset_names()) == ["another"]
    assert read_preset("another")["model"]["depth"] == 2
    mentions = [
        source.name
        for source in package.parent.rglob("*.py")
        if any(
            f'"{name}"' in source.read_text(encoding="utf-8")
            for name in ("gpt3-small", "cpu-small", "reformer-mlm", "reformer-rtd")
        )
    ]
    assert mentions == []
