"""Model directories as things to look at, check, and copy for others to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from korformer.errors import ModelDirectoryError, UsageError
from korformer.events import Listener, ignore
from korformer.model.directory import (
    CARD_NAME,
    MODEL_FILES,
    load_model,
    parameters_to_save,
)
from korformer.model.found import CONFIG_NAME, WEIGHTS_NAME
from korformer.storage import read_inside, read_json, staged_directory, verify_manifest, write_bytes, write_text
from korformer.storage.tensors import load_tensors, save_tensors

StoredWeights = Literal["fp32", "bf16"]
STORED_WEIGHTS: tuple[StoredWeights, ...] = get_args(StoredWeights)
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model directory says of itself; nothing in it was verified but that it can be read.

    Attributes:
        path: the folder.
        objective: what it was trained for.
        task: what it was fine-tuned for, or None.
        parameters: numbers in its weights.
        stored: dtype of the weights on disk, "fp32".
        weights_bytes: their size on disk.
        model: the `model` section of its configuration.
        vocabulary: size, scheme and fingerprint of its vocabulary.
        card: the model card, Markdown.
    """

    path: Path
    objective: str
    task: str | None
    parameters: int
    stored: str
    weights_bytes: int
    model: Mapping[str, Any]
    vocabulary: Mapping[str, Any]
    card: str


def facts_of(path: Path) -> ModelFacts:
    """Read what a model directory says of itself.

    Raises:
        ModelDirectoryError: it is none, or a file of it is malformed. PathError: it may not be read.
    """
    config = read_json(path, CONFIG_NAME)
    if config.get("format") != "korformer" or not isinstance(config.get("model"), dict):
        raise ModelDirectoryError("is not the configuration of a korformer model", where=str(path / CONFIG_NAME))
    tensors, _ = load_tensors(path / WEIGHTS_NAME)
    dtypes = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    names = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
    task, vocabulary = config.get("task"), config.get("vocabulary")
    return ModelFacts(
        path=path,
        objective=str(config.get("objective", "")),
        task=str(task.get("name")) if isinstance(task, dict) else None,
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        stored=", ".join(names.get(dtype, dtype) for dtype in dtypes),
        weights_bytes=(path / WEIGHTS_NAME).stat().st_size,
        model=config["model"],
        vocabulary=vocabulary if isinstance(vocabulary, dict) else {},
        card=read_inside(path, CARD_NAME).decode("utf-8", "replace") if (path / CARD_NAME).is_file() else "",
    )


def verify(path: Path, listen: Listener = ignore) -> None:
    """Check a model directory as opening it does: every file against the manifest, and that its parts fit.

    Raises:
        ModelDirectoryError: what is wrong with it. PathError: it does not exist or may not be read.
    """
    verify_manifest(path, required=MODEL_FILES, listen=listen)
    load_model(path)


def pack(source: Path, target: Path, *, weights: StoredWeights = "bf16", card: str | None = None) -> Path:
    """Copy the model of a run for others to use: the model's own files and nothing of its training.

    Args:
        source: a model directory; a run's steps and metrics are left out.
        target: a folder that does not exist yet, or is empty.
        weights: dtype of the weights on disk. bf16 takes half the room; a model in use has fp32 either way.
        card: the model card to give it; the source's own where it is not given.

    Raises:
        ModelDirectoryError: the source is damaged. PathError: the target exists or cannot be made. UsageError: there is
            no such dtype.
    """
    if weights not in STORED_WEIGHTS:
        raise UsageError(f"no such dtype: {weights}", where="weights", hint=f"Use {', '.join(STORED_WEIGHTS)}.")
    loaded = load_model(source)
    tensors = {name: tensor.to(_DTYPES[weights]) for name, tensor in parameters_to_save(loaded.model).items()}
    with staged_directory(target) as folder:
        for name in MODEL_FILES:
            if name != WEIGHTS_NAME:
                write_bytes(folder / name, read_inside(source, name))
        if card is not None:
            write_text(folder / CARD_NAME, card)
        save_tensors(folder / WEIGHTS_NAME, tensors, {"format": "pt"})
    return target
