"""Settings of the sampler under names: a TOML file each in the user's configuration directory.

    balanced     the defaults
    careful      close to what is likely
    surprising   less likely words, and no passage twice

come with the program; one that is saved under such a name takes its place.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import platformdirs

from korformer.config import build, nearest, read_toml, to_toml
from korformer.errors import UsageError
from korformer.generation.settings import SamplingSettings
from korformer.storage import make_directory, write_text
from korformer.storage.failures import failure

BUILT_IN: Mapping[str, SamplingSettings] = MappingProxyType(
    {
        "balanced": SamplingSettings(),
        "careful": SamplingSettings(temperature=0.6, top_p=0.8, repetition_penalty=1.1),
        "surprising": SamplingSettings(
            temperature=1.1, top_p=0.98, min_p=0.02, dry_multiplier=0.8, xtc_probability=0.3
        ),
    }
)

_SUFFIX = ".toml"
_NAME_BYTES = 100


def presets_directory() -> Path:
    """Where presets are kept."""
    return platformdirs.user_config_path("korformer") / "presets"


def list_presets() -> list[str]:
    """The names, those that come with the program first."""
    try:
        own = {unicodedata.normalize("NFC", path.stem) for path in presets_directory().glob(f"*{_SUFFIX}")}
    except OSError:
        own = set()
    return [*BUILT_IN, *sorted(own - set(BUILT_IN))]


def load_preset(name: str) -> SamplingSettings:
    """The settings of that name.

    Raises:
        UsageError: there are none, with the nearest name, or their file has unknown keys or illegal values, all of
            which are told. PathError: it cannot be read.
    """
    name = _checked(name)
    path = presets_directory() / f"{name}{_SUFFIX}"
    if path.is_file():
        return build(SamplingSettings, read_toml(path), where=str(path))
    if name in BUILT_IN:
        return BUILT_IN[name]
    guess = nearest(name, list_presets())
    raise UsageError(f"no such preset: {name}", where="preset", hint=f"Did you mean {guess}?" if guess else None)


def save_preset(name: str, settings: SamplingSettings) -> Path:
    """Keep settings under a name, in place of those that had it; the file. The seed belongs to a text and is left out.

    Raises:
        UsageError: the name makes no file name. PathError, ResourceError: it cannot be written.
    """
    path = presets_directory() / f"{_checked(name)}{_SUFFIX}"
    make_directory(path.parent)
    write_text(path, to_toml(settings.model_copy(update={"seed": None})))
    return path


def delete_preset(name: str) -> None:
    """Forget the settings of that name; one that comes with the program is as it was then.

    Raises:
        UsageError: there are none of one's own. PathError: the file cannot be removed.
    """
    path = presets_directory() / f"{_checked(name)}{_SUFFIX}"
    try:
        path.unlink()
    except FileNotFoundError:
        raise UsageError(f"no preset of your own: {name}", where="preset") from None
    except OSError as error:
        raise failure(error, path, doing="remove") from error


def _checked(name: str) -> str:
    name = unicodedata.normalize("NFC", name).strip()
    usable = name and name.isprintable() and not name.startswith(".") and not set(name) & set('/\\:*?"<>|')
    if not usable or len(name.encode()) > _NAME_BYTES:
        raise UsageError(
            f"cannot be the name of a preset: {name[:80]!r}",
            where="preset",
            hint="Use letters, digits, spaces and hyphens; it becomes the name of a file.",
        )
    return name
