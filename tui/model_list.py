"""The model directories that a person may want to open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import korformer

WEIGHTS_NAME = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A folder that looks like a model directory.

    Attributes:
        path: the folder.
        weights_bytes: size of its weights.
        modified: when they were written, seconds since 1970.
    """

    path: Path
    weights_bytes: int
    modified: float


def usual_places() -> tuple[Path, ...]:
    """Where model directories lie: `checkpoints` here, and what this installation has."""
    return (Path("checkpoints"), Path(korformer.__file__).parent / "checkpoints")


def find_models(places: Iterable[Path]) -> list[FoundModel]:
    """The model directories in some folders, newest first, each once; what cannot be read is left out."""
    found: dict[Path, FoundModel] = {}
    for place in places:
        try:
            folders = sorted(place.iterdir())
        except OSError:
            continue
        for folder in folders:
            weights = folder / WEIGHTS_NAME
            try:
                facts = weights.stat()
                real = folder.resolve()
            except OSError:
                continue
            if (folder / "config.json").is_file():
                model = FoundModel(path=folder, weights_bytes=facts.st_size, modified=facts.st_mtime)
                found.setdefault(real, model)
    return sorted(found.values(), key=lambda model: -model.modified)
