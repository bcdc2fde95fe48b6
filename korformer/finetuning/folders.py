"""What may lie where a run is to be written: nothing, or the same run. Another model is never written over.

One seed: the folder has the run (run.toml) and is its model directory. Several: it has a folder for the run of each
(seed-0/run.toml) and is the model directory of the best.
"""

from __future__ import annotations

from pathlib import Path

from korformer.config import read_toml
from korformer.errors import UsageError
from korformer.finetuning.settings import FinetuneSettings
from korformer.training.run_directory import SETTINGS_NAME, RunDirectory, settings_differences

MAY_CHANGE = frozenset(f"training.{name}" for name in ("device", "threads", "precision", "reversible"))
"""Settings that a run which goes on may have otherwise than before."""

DATA = "set of training and validation data"
"""What a person calls it, in messages."""

_SEED = frozenset({"training.seed"})
_HINT = "Choose another -o."


def run_folders(path: Path, first_seed: int, seeds: int) -> list[Path]:
    """The folder of each seed's run: `path` itself for a single one."""
    return [path] if seeds == 1 else [path / f"seed-{seed}" for seed in range(first_seed, first_seed + seeds)]


def check_output(path: Path, settings: FinetuneSettings, base: Path | None, *, seeds: int, resume: bool) -> None:
    """Refuse what must not be written over, before anything is read or trained.

    Args:
        path: what was asked for with -o.
        settings: of the run.
        base: the model directory it begins with, or None.
        seeds: how many runs.
        resume: whether runs that are there may go on.

    Raises:
        UsageError: `path` is the base, has a model or other files that no such run made, a run of another kind or of
            other settings, or a run where `resume` is False.
    """
    folders = run_folders(path, settings.training.seed, seeds)
    may_change = MAY_CHANGE if seeds == 1 else MAY_CHANGE | _SEED  # which is in the folders' names
    others = [folder for folder in sorted(path.glob("seed-*")) if _holds_run(folder)]
    if seeds == 1 and others:
        raise UsageError(f"holds runs of several seeds, such as {others[0].name}", where=str(path), hint=_HINT)
    for folder in dict.fromkeys([path, *folders, *others]):
        if base is not None and folder.resolve() == base.resolve():
            raise UsageError("is the model to begin with, which would be written over", where=str(folder), hint=_HINT)
        if not resume and folder in folders and _holds_run(folder):
            raise UsageError("holds a run already", where=str(folder), hint="Choose another -o, or resume it.")
        check_run(folder, settings, may_change=may_change)
        if folder != path or not others:
            RunDirectory(folder).require_unused()
    if seeds > 1 and _holds_run(path):
        raise UsageError("holds the run of a single seed", where=str(path), hint=_HINT)


def check_run(folder: Path, settings: FinetuneSettings, *, may_change: frozenset[str] = MAY_CHANGE) -> None:
    """Refuse a folder that holds another run than one of these settings.

    Raises:
        UsageError: it does; every difference is named.
    """
    if not _holds_run(folder):
        return
    before = read_toml(folder / SETTINGS_NAME)
    if "task" not in before:
        raise UsageError("holds a run of pretraining", where=str(folder), hint=_HINT)
    settings_differences(before, settings, may_change=may_change, where=folder)


def require_same_data(before: str, now: str, folder: Path) -> None:
    """Refuse a finished run that was of other data, told apart by their identities.

    Raises:
        UsageError: it was.
    """
    if before != now:
        raise UsageError(
            f"the run here had another {DATA}",
            where=str(folder),
            hint=f"Give the same {DATA} to have its results, or another -o to begin a new run.",
        )


def _holds_run(folder: Path) -> bool:
    return (folder / SETTINGS_NAME).exists()
