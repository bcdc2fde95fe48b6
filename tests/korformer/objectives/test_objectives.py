import math
from pathlib import Path

import pytest

import korformer.objectives
from korformer.errors import InputError
from korformer.objectives import objective_named, objectives
from korformer.objectives._encoder import perplexity
from korformer.training.settings import run_settings


def test_an_objective_is_one_file() -> None:
    """Each is found by its presence, and no other file of the package names it."""
    package = Path(korformer.objectives.__file__).parent
    files = {path.stem for path in package.glob("[!_]*.py")}
    assert {objective_named(name).name for name in objectives()} == files
    assert "ar" in files
    text = (package / "__init__.py").read_text(encoding="utf-8")
    assert not any(f'"{name}"' in text or f".{name} " in text for name in files)


def test_each_says_what_it_does() -> None:
    assert all(10 < len(objective.summary) < 80 for objective in objectives().values())


def test_every_setting_is_documented() -> None:
    for name, objective in objectives().items():
        for field, its in objective.settings.model_fields.items():
            assert its.description, f"{name}.{field}"
        run_settings(name, {})


def test_the_perplexity_of_a_model_gone_astray_is_a_number() -> None:
    assert perplexity(20.0, 10) == pytest.approx(math.exp(2.0))
    assert 1e300 < perplexity(1e6, 10) < math.inf
    with pytest.raises(InputError, match="no text to measure"):
        perplexity(0.0, 0)
