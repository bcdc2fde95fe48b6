"""Named starting points: one TOML file each under `presets/`, with the same sections as a run's configuration.

A preset may be for one objective alone; it names it. Others are shapes and budgets that suit any.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from korformer.config import nearest
from korformer.errors import UsageError


def preset_names() -> dict[str, str]:
    """Every preset with its one-line summary, in the order of size."""
    return {name: values["summary"] for name, values in _presets().items()}


def preset_objective(name: str) -> str | None:
    """The objective that a preset is for; None where it suits any. Errors as of `read_preset`."""
    _known(name)
    objective: str | None = _presets()[name].get("objective")
    return objective


def read_preset(name: str, objective: str | None = None) -> dict[str, Any]:
    """The values of a preset, without its summary.

    Args:
        name: which.
        objective: what it is to be used for.

    Raises:
        UsageError: there is none of that name, and the nearest is named; or it is for another objective, and the
            presets of its size that are not are named.
    """
    _known(name)
    presets = _presets()
    values = dict(presets[name])
    meant = values.pop("objective", None)
    del values["summary"]
    if objective is not None and meant not in {None, objective}:
        fitting = [other for other, its in presets.items() if its.get("objective", objective) == objective]
        order = list(presets)
        fitting.sort(key=lambda other: abs(order.index(other) - order.index(name)))
        raise UsageError(
            f"preset {name} is for objective {meant}, not {objective}",
            where="--preset",
            hint=f"Give --objective {meant}, or a preset such as {' or '.join(fitting[:2])}.",
        )
    return values


def _presets() -> dict[str, dict[str, Any]]:
    """Everything in every file, in the order of size."""
    found = []
    for file in resources.files("korformer.training").joinpath("presets").iterdir():
        if file.name.endswith(".toml"):
            values = tomllib.loads(file.read_text(encoding="utf-8"))
            model = values["model"]
            found.append((model["depth"] * model["dim"] ** 2, file.name.removesuffix(".toml"), values))
    return {name: values for _, name, values in sorted(found, key=lambda entry: entry[:2])}


def _known(name: str) -> None:
    known = preset_names()
    if name not in known:
        guess = nearest(name, known)
        hint = f"Did you mean {guess}?" if guess else f"There are: {', '.join(known)}."
        raise UsageError(f"unknown preset {name!r}", where="--preset", hint=hint)
