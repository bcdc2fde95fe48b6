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
from korformer.storage import (
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

    def check_settings(self, settings: RunSettings) -> None:
        """Refuse to go on with settings that would make it another run.

        Raises:
            UsageError: every difference, with the old and the new value.
        """
        settings_differences(read_toml(self.path / SETTINGS_NAME), settings, may_change=MAY_CHANGE, where=self.path)

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

    def newest(self) -> SavedStep | None:
        """The newest step that is whole, or None where there is none. Damaged ones are passed over."""
        sweep_orphans(self.path)
        if self._steps.is_dir():
            sweep_orphans(self._steps)
        for folder in self._saved():
            try:
                verify_manifest(folder, required=STEP_FILES)
                loop = read_json(folder, "loop.json")
                return SavedStep(
                    model=load_tensors(folder / "model.safetensors")[0],
                    optimizer=load_tensors(folder / "optimizer.safetensors")[0],
                    loop=LoopState(**loop),
                )
            except (KorformerError, TypeError):
                continue
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
    before: Mapping[str, Any], settings: Settings, *, may_change: frozenset[str], where: Path
) -> None:
    """Refuse settings that differ from those of a run where they may not.

    Args:
        before: what the run's `run.toml` has.
        settings: what is given now.
        may_change: dotted names that may differ.
        where: the run.

    Raises:
        UsageError: every difference, with the old and the new value.
    """
    old, new = _flat(before), _flat(settings.model_dump(mode="json"))
    # A run from before a setting existed had what is the default now.
    old = {**_flat(type(settings)().model_dump(mode="json")), **old}
    if old.keys() >= STEP_SIZE and new.keys() >= STEP_SIZE and _sequences(old) == _sequences(new):
        may_change |= STEP_SIZE
    differences = [
        f"{key} was {_shown(old.get(key))}, now {_shown(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if key not in may_change and old.get(key) != new.get(key)
    ]
    if differences:
        raise UsageError(
            "the run here has other settings: " + "; ".join(differences),
            where=str(where),
            hint="Give the old values to go on with it, or another -o to begin a new run.",
        )


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
