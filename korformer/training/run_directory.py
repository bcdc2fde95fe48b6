"""A run on disk: what it takes to go on from it, and a model directory that can be used at any moment.

RUN/
  run.toml                  the resolved settings
  metrics.jsonl             every step, validation, sample and resumption, one JSON object a line
  steps/00000200/           model, optimizer and loop state of a step, with a manifest: whole or not there
  config.json, …            the newest saved step as a model directory
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from korformer.config import Settings, read_toml, to_toml
from korformer.errors import KorformerError, ModelDirectoryError, UsageError
from korformer.events import Listener, Notice, ignore
from korformer.model.directory import MODEL_FILES
from korformer.model.found import WEIGHTS_NAME
from korformer.storage import (
    MANIFEST_NAME,
    read_json,
    remove_directory,
    staged_directory,
    sweep_orphans,
    verify_manifest,
    write_json,
    write_text,
)
from korformer.storage.tensors import load_tensors, save_tensors
from korformer.training.settings import RunSettings

SETTINGS_NAME = "run.toml"
METRICS_NAME = "metrics.jsonl"
STEPS_NAME = "steps"
STEP_FILES = ("model.safetensors", "optimizer.safetensors", "loop.json")

MAY_CHANGE = frozenset(
    f"training.{name}"
    for name in (
        "steps", "save_every", "eval_every", "eval_tokens", "sample_every", "sample_tokens", "sample_prompt", "keep",
        "device", "threads", "precision", "reversible", "micro_batch",
    )
)  # fmt: skip
"""Settings that a resumed run may have otherwise than before."""
COURSE = frozenset(
    f"training.{name}" for name in ("learning_rate", "warmup_steps", "schedule", "fall_share", "final_share", "clip")
)
"""Settings that it may have otherwise too, as one that diverged or has come to a halt needs; they change what it comes
to, which is told."""
STEP_SIZE = frozenset({"training.batch_size", "training.accumulate"})
"""Settings of which a resumed run keeps the product, the sequences of a step: how they are cut into passes changes
rounding only."""


@dataclass(frozen=True, kw_only=True)
class LoopState:
    """Where a run stands after a step, besides weights and optimizer.

    Attributes:
        step: steps finished.
        tokens: real (not padding) tokens consumed so far.
        sampler: the data sampler's state.
        weighted_loss, loss_weight: the running average of the loss.
        seconds: time spent training, over all sittings.
        corpus, vocabulary: identities of what the run trains on.
        environment: what bit-exactness hangs on (torch, threads, processor, device, precision).
        valid: identity of the held-out text; empty where there is none or nobody kept it.
        scaler: the state of loss scaling, where there is any.
        pending: what was due after the step when a signal came, and is still to be done: "validation", "sample".
    """

    step: int
    tokens: int
    sampler: Mapping[str, int]
    weighted_loss: float
    loss_weight: float
    seconds: float
    corpus: str
    vocabulary: str
    environment: Mapping[str, str]
    valid: str = ""
    scaler: Mapping[str, float] = field(default_factory=dict)
    pending: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SavedStep:
    """A verified step as read from disk."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    loop: LoopState


class RunDirectory:
    """Saves and finds the steps of one run.

    Args:
        path: the run's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics_path = path / METRICS_NAME
        self._steps = path / STEPS_NAME

    def holds_run(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / SETTINGS_NAME).exists()

    def begin(self, settings: RunSettings) -> None:
        """Write the settings of a new run, or those with which an old one goes on."""
        write_text(self.path / SETTINGS_NAME, to_toml(settings))

    def check_settings(self, settings: RunSettings) -> list[str]:
        """Refuse to go on with settings that would make it another run.

        Returns:
            What changes its course, each with the old and the new value.

        Raises:
            UsageError: every difference that it may not have, likewise.
        """
        before = read_toml(self.path / SETTINGS_NAME)
        return settings_differences(before, settings, may_change=MAY_CHANGE, told=COURSE, where=self.path)

    def require_new(self) -> None:
        """Refuse a folder that holds a run.

        Raises:
            UsageError: it does.
        """
        if self.holds_run():
            raise UsageError("holds a run already", where=str(self.path), hint="Choose another -o, or resume it.")

    def require_unused(self) -> None:
        """Refuse a folder that holds a model, or anything else whose name a run's file has, and no run.

        Raises:
            UsageError: it does.
        """
        names = (*MODEL_FILES, MANIFEST_NAME, METRICS_NAME, STEPS_NAME)
        taken = [name for name in names if (self.path / name).exists()]
        if taken and not self.holds_run():
            raise UsageError(
                f"holds no run, but {', '.join(taken)}, which a run would overwrite",
                where=str(self.path),
                hint="Choose another -o.",
            )

    def require_steps(self) -> None:
        """Refuse a run whose steps were taken away: going on would begin it anew, over its model.

        Raises:
            ModelDirectoryError: it has a model and no saved step.
        """
        if self.holds_run() and (self.path / WEIGHTS_NAME).exists() and not self._saved():
            raise ModelDirectoryError(
                "the run has a model, and no saved step to go on from",
                where=str(self._steps),
                hint="Put back its steps, or begin a new run with another -o.",
            )

    def held_bytes(self) -> int:
        """What the run takes on disk already, without its curves."""
        files = [*self._steps.glob("*/*"), self.path / WEIGHTS_NAME]
        return sum(file.stat().st_size for file in files if file.is_file())

    def save(self, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], loop: LoopState, *, keep: int) -> Path:
        """Write a step durably, then let old ones go until `keep` are left."""
        target = self._steps / f"{loop.step:08d}"
        with staged_directory(target, replace=True) as folder:
            save_tensors(folder / "model.safetensors", model, {"format": "pt"})
            save_tensors(folder / "optimizer.safetensors", optimizer)
            write_json(folder / "loop.json", asdict(loop))
        self._let_go(keep)
        return target

    def _let_go(self, keep: int) -> None:
        """Remove steps behind the newest `keep` whole ones; damaged ones count for nothing."""
        whole = 0
        for folder in self._saved():
            if whole == keep:
                remove_directory(folder)
            elif _is_whole(folder):
                whole += 1

    def newest(self, listen: Listener = ignore) -> SavedStep | None:
        """The newest step that is whole, or None where none was ever saved.

        Args:
            listen: hears a Notice of each damaged step that is passed over.

        Raises:
            ModelDirectoryError: there are steps, and all are damaged. PathError, ResourceError: one cannot be read.
        """
        sweep_orphans(self.path)
        if self._steps.is_dir():
            sweep_orphans(self._steps)
        folders = self._saved()
        for folder in folders:
            try:
                verify_manifest(folder, required=STEP_FILES)
                loop = read_json(folder, "loop.json")
                return SavedStep(
                    model=load_tensors(folder / "model.safetensors")[0],
                    optimizer=load_tensors(folder / "optimizer.safetensors")[0],
                    loop=LoopState(**loop),
                )
            except (ModelDirectoryError, TypeError) as error:
                listen(Notice(text=f"a saved step is passed over: {error}", level="warning"))
        if folders:
            raise ModelDirectoryError(
                f"none of the {len(folders)} saved steps is whole",
                where=str(self._steps),
                hint="Put back a copy of one, or begin a new run with another -o.",
            )
        return None

    def _saved(self) -> list[Path]:
        """Folders of saved steps, newest first."""
        if not self._steps.is_dir():
            return []
        return sorted((folder for folder in self._steps.iterdir() if folder.name.isdigit()), reverse=True)


def _is_whole(folder: Path) -> bool:
    try:
        verify_manifest(folder, required=STEP_FILES)
    except KorformerError:
        return False
    return True


def settings_differences(
    before: Mapping[str, Any],
    settings: Settings,
    *,
    may_change: frozenset[str],
    told: frozenset[str] = frozenset(),
    where: Path,
) -> list[str]:
    """Refuse settings that differ from those of a run where they may not.

    Args:
        before: what the run's `run.toml` has.
        settings: what is given now.
        may_change: dotted names that may differ.
        told: others that may, and are returned.
        where: the run.

    Returns:
        Every difference of `told`, with the old and the new value.

    Raises:
        UsageError: every difference that may not be, likewise.
    """
    old, new = _flat(before), _flat(settings.model_dump(mode="json"))
    # A run from before a setting existed had what is the default now.
    old = {**_flat(type(settings)().model_dump(mode="json")), **old}
    if old.keys() >= STEP_SIZE and new.keys() >= STEP_SIZE and _sequences(old) == _sequences(new):
        may_change |= STEP_SIZE
    found = {
        key: f"{key} was {_shown(old.get(key))}, now {_shown(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if key not in may_change and old.get(key) != new.get(key)
    }
    differences = [difference for key, difference in found.items() if key not in told]
    if differences:
        raise UsageError(
            "the run here has other settings: " + "; ".join(differences),
            where=str(where),
            hint="Give the old values to go on with it, or another -o to begin a new run.",
        )
    return [difference for key, difference in found.items() if key in told]


def read_saved_step(path: Path) -> SavedStep:
    """The newest whole step of the run at `path`.

    Raises:
        ModelDirectoryError: there is none.
    """
    saved = RunDirectory(path).newest()
    if saved is None:
        raise ModelDirectoryError("holds no saved step", where=str(path))
    return saved


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat


def _sequences(settings: Mapping[str, Any]) -> int:
    return math.prod(int(settings[name]) for name in STEP_SIZE)


def _shown(value: object) -> str:
    return "not given" if value is None else repr(value)
