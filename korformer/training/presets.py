"""Named starting points: one TOML file each under `presets/`, with the same sections as a run's configuration."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from korformer.config import nearest
from korformer.errors import UsageError


def preset_names() -> dict[str, str]:
    """Every preset with its one-line summary, in the order of size."""
    found = []
    for file in resources.files("korformer.training").joinpath("presets").iterdir():
        if file.name.endswith(".toml"):
            values = tomllib.loads(file.read_text(encoding="utf-8"))
            model = values["model"]
            found.append((model["depth"] * model["dim"] ** 2, file.name.removesuffix(".toml"), values["summary"]))
    return {name: summary for _, name, summary in sorted(found)}


def read_preset(name: str) -> dict[str, Any]:
    """The values of a preset, without its summary.

    Raises:
        UsageError: there is none of that name; the nearest is named.
    """
    known = preset_names()
    if name not in known:
        guess = nearest(name, known)
        hint = f"Did you mean {guess}?" if guess else f"There are: {', '.join(known)}."
        raise UsageError(f"unknown preset {name!r}", where="--preset", hint=hint)
    file = resources.files("korformer.training").joinpath("presets", f"{name}.toml")
    values = tomllib.loads(file.read_text(encoding="utf-8"))
    del values["summary"]
    return values
