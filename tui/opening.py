"""What is opened when the program starts or a path is typed, and what has to be said of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from korformer.errors import KorformerError, PathError
from korformer.storage.failures import failure
from korformer.tui.words import say
from korformer.writing import store
from korformer.writing.journal import Damaged

if TYPE_CHECKING:
    from korformer.model.decode import Precision
    from korformer.writing.store import SessionFile


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How models are opened.

    Attributes:
        weights: precision of the matrices in single steps.
        device: where to put them: auto, cpu or cuda.
    """

    weights: Precision = "fp32"
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The session to begin with.

    Attributes:
        file: it.
        problem: why a newer one, or the one that was asked for, was not opened; None where nothing was in the way.
    """

    file: SessionFile
    problem: KorformerError | None = None

    @property
    def damage(self) -> Damaged | None:
        """The problem, where it is a damage before which something can be read."""
        return self.problem if isinstance(self.problem, Damaged) and self.problem.lines > 1 else None


def open_first(path: Path | None) -> Opened:
    """The session at a path, or the one that was changed last where there is none; in place of a damaged one another.

    Raises:
        KorformerError: there is a path, and it cannot be opened for another reason than damage.
    """
    if path is None:
        return open_latest()
    try:
        return Opened(file=open_any(path))
    except Damaged as damage:
        return Opened(file=open_latest().file, problem=damage)


def open_any(path: Path) -> SessionFile:
    """The session at a path: one that is there, or that of a text file."""
    return store.open_session(path) if store.is_session(path) else store.open_text_file(path)


def open_latest() -> Opened:
    """The session that was changed last and is not open elsewhere; a new one where there is none."""
    problem: KorformerError | None = None
    for info in store.list_sessions():
        if not info.in_use:
            try:
                return Opened(file=store.open_session(info.path), problem=problem)
            except KorformerError as error:
                problem = problem or error
    return Opened(file=store.create_session(), problem=problem)


def typed_path(text: str) -> Path:
    """The path that a person typed, `~` for a home folder; there need be nothing.

    Raises:
        PathError: no file can have it, or the system does not let one look.
    """
    try:
        text.encode("utf-8")  # sessions are, and remember it
        path = Path(text).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        raise failure(error, Path(text), doing="read") from error
    except RuntimeError as error:
        raise PathError("there is no such home folder", where=text, hint="Write out the whole path.") from error
    except ValueError as error:
        raise PathError("is not the path of a file", where=ascii(text), hint="Choose another name.") from error
    return path


def model_of(path: str | None) -> Path | None:
    """The model that a session was written with, where it is still there."""
    return Path(path) if path is not None and Path(path).is_dir() else None


def changed_notice(file: SessionFile) -> str:
    """What to say of a session whose text file another program changed; nothing where none did."""
    return say("changed outside", path=file.session.file) if file.changed_outside else ""
