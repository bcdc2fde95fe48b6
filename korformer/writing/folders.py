"""Where sessions lie, what is in their folders, and the list of them. A session is a folder that only its owner can
look into:

    session.jsonl        every action, see `journal`
    state.safetensors    what the model had read, see `snapshots`; may be missing
    summary.json         what lists show of it
    .lock                held while a process has it open

The folders lie under $XDG_STATE_HOME/korformer/sessions unless they are opened or made elsewhere by path.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from korformer.errors import KorformerError, PathError, UsageError
from korformer.storage import is_locked, lock_directory, read_json, remove_directory

JOURNAL, STATE, SUMMARY = "session.jsonl", "state.safetensors", "summary.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionInfo:
    """A session in a list.

    Attributes:
        path: its folder.
        title: the beginning of its text.
        modified: seconds since 1970.
        characters: length of its text.
        model: path of the checkpoint used last.
        file: the text file that it belongs to.
        in_use: whether a process has it open.
    """

    path: Path
    title: str
    modified: float
    characters: int
    model: str | None
    file: str | None
    in_use: bool


def sessions_directory() -> Path:
    """Where sessions are kept."""
    return platformdirs.user_state_path("korformer") / "sessions"


def is_session(path: Path) -> bool:
    """Whether there is a session at `path`: its folder, or the file in it."""
    return folder_of(path) is not None


def folder_of(path: Path) -> Path | None:
    if path.name == JOURNAL and path.is_file():
        return path.parent
    return path if (path / JOURNAL).is_file() else None


def list_sessions(directory: Path | None = None) -> list[SessionInfo]:
    """The sessions of a folder, the one changed last first; by default where they are kept."""
    directory = sessions_directory() if directory is None else directory
    try:
        folders = [folder for folder in directory.iterdir() if is_session(folder)]
    except OSError:
        return []
    found = []
    for folder in folders:
        with contextlib.suppress(OSError):
            found.append(info_of(folder))
    return sorted(found, key=lambda info: (-info.modified, info.path))


def info_of(folder: Path) -> SessionInfo:
    facts: Mapping[str, Any] = {}
    with contextlib.suppress(KorformerError):
        facts = read_json(folder, SUMMARY)
    characters = facts.get("characters")

    def name(key: str) -> str | None:
        value = facts.get(key)
        return value if isinstance(value, str) else None

    return SessionInfo(
        path=folder,
        title=name("title") or "",
        modified=(folder / JOURNAL).stat().st_mtime,
        characters=characters if isinstance(characters, int) else 0,
        model=name("model"),
        file=name("file"),
        in_use=is_locked(folder),
    )


def delete_session(path: Path) -> None:
    """Remove a session for good.

    Raises:
        PathError: there is none, or it cannot be removed. UsageError: a process has it open.
    """
    folder = folder_of(path)
    if folder is None:
        raise PathError("no session is there", where=str(path), hint="Give the folder that has its session.jsonl.")
    with locked(folder):
        remove_directory(folder)


def locked(folder: Path) -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    try:
        stack.enter_context(lock_directory(folder))
    except UsageError as error:
        raise UsageError(
            f"this session is {error.what}", where=str(folder), hint="Close it there, or open another one."
        ) from None
    return stack
