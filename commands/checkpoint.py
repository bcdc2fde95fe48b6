"""Which model directory a command works with."""

from __future__ import annotations

from pathlib import Path

from korformer.errors import ModelDirectoryError, PathError, UsageError

SHIPPED = "ko-mini"
"""Folder under `korformer/checkpoints` of the weights that ship."""


def shipped() -> Path | None:
    """The weights that ship with this installation, or None where there are none."""
    import korformer

    directory = Path(korformer.__file__).parent / "checkpoints" / SHIPPED
    return directory if (directory / "config.json").is_file() else None


def resolve(model: Path | None) -> Path:
    """The model directory to use: `model`, or the weights that ship where it is None.

    Only tells a directory from what is none; whether it holds a model is for `load_model` to say.

    Raises:
        UsageError: no model is given and none ships.
        PathError: there is nothing at that path, or it cannot be looked at.
        ModelDirectoryError: it is a file.
    """
    if model is None:
        found = shipped()
        if found is None:
            raise UsageError(
                "needed, because this installation has no weights of its own",
                where="-m",
                hint="Give a model directory, such as one that `korformer pretrain` has written under checkpoints/.",
            )
        return found
    try:
        if model.is_dir():
            return model
        if model.exists():
            raise ModelDirectoryError(
                "a file, not a model directory", where=str(model), hint="Give the folder that has its config.json."
            )
    except OSError as error:
        raise PathError(f"cannot be read ({error.strerror})", where=str(model)) from error
    elsewhere = Path("checkpoints") / model
    hint = f"Did you mean {elsewhere}?" if not model.is_absolute() and elsewhere.is_dir() else None
    raise PathError("no such model directory", where=str(model), hint=hint)
