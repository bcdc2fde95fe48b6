"""The model directories that a person may want to open. torch is not imported for this."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import korformer

CONFIG_NAME = "config.json"
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
            folders = [place, *sorted(place.iterdir())]
        except OSError:
            continue
        for folder in folders:
            try:
                facts = (folder / WEIGHTS_NAME).stat()
                real = folder.resolve()
                described = (folder / CONFIG_NAME).is_file()
            except OSError:
                continue
            if described:
                model = FoundModel(path=folder, weights_bytes=facts.st_size, modified=facts.st_mtime)
                found.setdefault(real, model)
    return sorted(found.values(), key=lambda model: -model.modified)
