import pytest

from korformer.config import build, read_toml, to_toml
from korformer.errors import UsageError
from korformer.training.run_directory import MAY_CHANGE
from korformer.training.settings import TrainingSettings, run_settings


def test_every_section_is_checked_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        run_settings("ar", {"modle": {}, "training": {"stepz": 3, "batch_size": 0}, "data": {"pack_tokens": -1}})
    message = str(caught.value)
    for part in (
        "unknown key modle (did you mean model?)",
        "unknown key training.stepz (did you mean training.steps?)",
        "training.batch_size: input should be greater than or equal to 1 (given: 0)",
        "data.pack_tokens: input should be greater than or equal to 1 (given: -1)",
    ):
        assert part in message


def test_sequences_fit_the_window() -> None:
    with pytest.raises(UsageError, match=r"data.pack_tokens = 6000 is longer .* at most model.max_seq_len = 5120"):
        run_settings("ar", {"data": {"pack_tokens": 6000}})
    assert run_settings("ar", {}).pack_tokens == 5120
    assert run_settings("ar", {"data": {"pack_tokens": 100}}).pack_tokens == 100


def test_the_objective_has_a_section_of_its_own() -> None:
    settings = run_settings("ar", {"ar": {}})
    assert type(settings.objective_settings).__name__ == "ArSettings"
    with pytest.raises(UsageError, match="unknown key ar.mask"):
        run_settings("ar", {"ar": {"mask": 0.15}})
    with pytest.raises(UsageError, match="unknown objective 'arr'. Did you mean ar"):
        run_settings("arr", {})


def test_what_a_run_writes_is_what_it_reads(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "run.toml"
    settings = run_settings(
        "ar", {"model": {"dim": 64}, "training": {"learning_rate": 2e-3, "sample_prompt": "옛날에"}}
    )
    path.write_text(to_toml(settings), encoding="utf-8")
    assert build(type(settings), read_toml(path)) == settings


def test_settings_that_may_change_exist() -> None:
    assert {name.removeprefix("training.") for name in MAY_CHANGE} <= set(TrainingSettings.model_fields)


def test_every_field_is_documented() -> None:
    settings = run_settings("ar", {})
    for section in (settings, settings.model, settings.data, settings.training):
        for name, field in type(section).model_fields.items():
            assert field.description or name == "ar", name


@pytest.mark.parametrize(
    ("objective", "section", "said"),
    [
        ("mlm", {}, "needs sequences of at least 8 tokens, not 4"),
        ("rtd", {}, "needs sequences of at least 8 tokens, not 4"),
        ("mlm", {"sentence_pair": "sop"}, "mlm.sentence_pair = 'sop' needs sequences of at least 16 tokens, not 4"),
    ],
)
def test_sequences_that_are_too_short_for_the_objective_are_told_at_once(
    objective: str, section: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        run_settings(objective, {"data": {"pack_tokens": 4}, "training": {"clip": -1}, objective: section})
    assert said in str(caught.value)
    assert "training.clip" in str(caught.value)
