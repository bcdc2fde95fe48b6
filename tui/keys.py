"""Keys and colours that a person chose: `tui.toml` in the configuration folder.

theme = "light"

[keys]
generate = "f5,ctrl+g"
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from korformer.config import nearest, read_toml
from korformer.errors import KorformerError
from korformer.tui.actions import ACTIONS
from korformer.tui.widgets.page_keys import PAGE_BINDINGS

THEMES = {"dark": "korformer-dark", "light": "korformer-light"}


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a person chose.

    Attributes:
        keys: keys by the identifier of a command, as Textual's keymap wants them.
        theme: name of the theme.
        problems: what in the file could not be used, one sentence each.
    """

    keys: dict[str, str] = field(default_factory=dict)
    theme: str = THEMES["dark"]
    problems: tuple[str, ...] = ()


def key_file() -> Path:
    """Where the choices are kept."""
    return platformdirs.user_config_path("korformer") / "tui.toml"


def known_ids() -> set[str]:
    """The identifiers that a key can be given to."""
    page = {str(getattr(binding, "id", "")) for binding in PAGE_BINDINGS}
    return {action.id for action in ACTIONS} | page


def read_choices(path: Path) -> Choices:
    """The choices of a file; where there is none, or it cannot be read, those of the program."""
    if not path.exists():
        return Choices()
    try:
        values = read_toml(path)
    except KorformerError as error:
        return Choices(problems=(error.what,))
    problems: list[str] = []
    theme = values.pop("theme", "dark")
    if theme not in THEMES:
        problems.append(f"theme is {theme!r}, not dark or light")
    given = values.pop("keys", {})
    problems += [f"unknown key {name}" for name in values]
    keys: dict[str, str] = {}
    for name, key in (given if isinstance(given, dict) else {}).items():
        if name not in known_ids():
            guess = nearest(name, known_ids())
            problems.append(f"no such command: {name}" + (f" (did you mean {guess}?)" if guess else ""))
        elif not isinstance(key, str) or not key:
            problems.append(f"the key of {name} is not a text")
        else:
            keys[name] = key
    return Choices(keys=keys, theme=THEMES.get(theme, THEMES["dark"]), problems=tuple(problems))
