"""Options that several commands have, with the same meaning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from korformer.errors import UsageError

if TYPE_CHECKING:
    from korformer.model.decode import Precision

WEIGHTS = ("fp32", "bf16", "int8")
"""Precisions of the weights; `korformer.model.decode` has the same, but takes long to import."""

Hashes = Annotated[
    int | None, typer.Option("--hashes", min=1, help="Rounds of hashing instead of the model's own number.")
]
Weights = Annotated[
    str,
    typer.Option("--weights", help="Precision of the weights: fp32, bf16 or int8, each faster than the one before."),
]
Device = Annotated[
    str, typer.Option("--device", help="Where the model works: auto (a GPU where there is one), cpu or cuda.")
]
Window = Annotated[
    int | None,
    typer.Option("--window", min=2, help="Most tokens of context; by default as in training, or the model's."),
]
TaskSettings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the task, such as doc_stride=128."),
]
ModelOrShipped = Annotated[
    Path | None, typer.Option("-m", "--model", help="Model directory; by default the weights that ship.")
]


def task_settings(assignments: list[str] | None, task: str) -> dict[str, Any]:
    """The settings of a task that `--set` names, with the section's name before the key, as `finetune` has it, or bare.

    Raises:
        UsageError: one has no value, or is given twice.
    """
    from korformer.config import parse_assignments

    settings = parse_assignments(assignments or [])
    section = settings.pop(task, {})
    return {**settings, **section} if isinstance(section, dict) else {**settings, task: section}


def check_weights(weights: str) -> Precision:
    """The precision of that name.

    Raises:
        UsageError: there is none.
    """
    if weights not in WEIGHTS:
        raise UsageError(f"no such precision: {weights}", where="--weights", hint=f"Use {', '.join(WEIGHTS)}.")
    return cast("Precision", weights)
